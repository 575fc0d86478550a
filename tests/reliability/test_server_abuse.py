"""`sacl serve` while others abuse it: a client that behaves is answered, and the server stays as large as it was."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

if not hasattr(os, "sched_setaffinity"):
    pytest.skip("the attacker cannot be kept to one core here", allow_module_level=True)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
ABUSE = Path(__file__).with_name("abuse.py")
PATIENCE = 60
CHAT = json.dumps({"utterances": [{"speaker": "Zebedee", "text": "A xylophone!"}, {"speaker": "Bo", "text": "Late."}]})
LONG = json.dumps({"utterances": [{"speaker": "Zebedee", "text": f"xylophone {i}"} for i in range(200)]})
KINDS = (
    "silent",
    "half",
    "drip",
    "endless",
    "deaf",
    "churn",
    "flood",
    "pipeline",
    "talks",
    "heavy",
    "why",
    "oversize",
    "broken",
)
KINDS += ("sessions", "wrong", "page")
CROWDS = ("silent", "half", "drip")
LARGE = ("heavy", "why")
ALLOWED = {200, 201, 400, 403, 404, 405, 408, 410, 413, 422, 429, 503}
FIELDS = {"time", "level", "logger", "event", "method", "path", "status", "ms", "turns"}
PATHS = {
    "other",
    "/v1/predict",
    "/v1/influence",
    "/v1/sessions",
    "/v1/sessions/{session_id}/turns",
    "/health",
    "/ready",
}
PATHS |= {"/metrics", "/version", "/openapi.json", "/v1/sessions/{session_id}"}
SOAK_SECONDS = float(os.environ.get("SACL_SOAK_SECONDS", "900"))
ROUNDS = 4


class Server(NamedTuple):
    process: subprocess.Popen[str]
    port: int
    log: Path

    def ask(self, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def memory(self) -> float:
        """Resident, of its processes together, in MiB; what they share counts once in each."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found = [re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{one}/status").read_text()) for one in (pid, *children)]
        assert len(found) == 3
        return sum(int(one[1]) / 1024 for one in found if one)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The command itself, with the models that ship and the page, in a process of its own."""
    with serving(tmp_path) as started:
        yield started


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    command = [sys.executable, "-c", "from sacl.cli import main; main()", "serve", "--port", "0"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(folder)},
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            port = re.search(r":(\d+) ", line)
            assert port, (folder / "log").read_text()
            yield Server(process, int(port[1]), folder / "log")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def behave(server: Server, seconds: float) -> tuple[list[float], Counter[int]]:
    """A client that asks for a conversation, reads the answer and pauses: seconds of each, and statuses."""
    took, statuses, end = list[float](), Counter[int](), monotonic() + seconds
    while monotonic() < end or not took:
        begun = perf_counter()
        statuses[server.ask("POST", "/v1/predict", CHAT)[0]] += 1
        took.append(perf_counter() - begun)
        sleep(0.05)
    return took, statuses


def attacked(
    server: Server, kind: str, seconds: float, connections: int = 0
) -> tuple[list[float], Counter[int], Counter[str]]:
    """What that client meets while others abuse the server, and what these do; 0 is as many as the kind has."""
    command = [sys.executable, str(ABUSE), kind, str(server.port), str(seconds), str(connections)]
    attack = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        sleep(0.3)  # in which it starts
        took, statuses = behave(server, seconds)
        out, _ = attack.communicate(timeout=PATIENCE)
    finally:
        attack.kill()
        attack.wait()
    assert attack.returncode == 0, kind
    return took, statuses, Counter(json.loads(out))


def check(kind: str, statuses: Counter[int], seen: Counter[str]) -> None:
    assert set(statuses) == {200}, (kind, statuses)
    assert not [name for name in seen if name.startswith("bad")], (kind, seen)
    assert {int(name) for name in seen if name.isdigit()} <= ALLOWED, (kind, seen)


def check_log(server: Server) -> None:
    """Nothing but requests, and of these nothing but what is counted."""
    for line in server.log.read_text().splitlines():
        record = json.loads(line)
        assert record["event"] == "request", line
        assert set(record) == FIELDS, line
        assert record["path"] in PATHS, line


def test_whatever_others_do_a_client_that_behaves_is_answered(server: Server) -> None:
    behave(server, 0.5)
    assert server.ask("POST", "/v1/predict", LONG)[0] == 200  # both processes have their models now
    for kind in LARGE:  # what they take once is kept for the next
        attacked(server, kind, 2)
    before = server.memory()
    for kind in KINDS:
        _, statuses, seen = attacked(server, kind, 2, 500 if kind in CROWDS else 0)
        check(kind, statuses, seen)
        assert seen["connected"] > 0, kind
    sleep(0.5)
    assert server.ask("GET", "/ready")[0] == server.ask("GET", "/health")[0] == 200
    assert server.memory() < before + 400
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
    check_log(server)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_a_quarter_of_an_hour_of_abuse_costs_others_little_time_and_no_memory(server: Server) -> None:
    """SACL_SOAK_SECONDS says how long; the table goes to stdout. On two cores, of which nothing else has any."""
    behave(server, 5)
    seconds = max(2.0, SOAK_SECONDS / ROUNDS / (len(KINDS) + 1) - 1)
    quiet, during = list[float](), dict[str, list[float]]()
    memory = list[list[float]]()
    saw = dict[str, Counter[str]]()
    for round in range(ROUNDS):
        quiet += behave(server, seconds)[0]
        memory.append([])
        for kind in KINDS:
            took, statuses, seen = attacked(server, kind, seconds)
            check(kind, statuses, seen)
            during.setdefault(kind, []).extend(took)
            saw.setdefault(kind, Counter()).update(seen)
            memory[-1].append(server.memory())
            print(f"round {round + 1} {kind:9} {memory[-1][-1]:5.0f} MiB", flush=True)
    usual = float(np.percentile(quiet, 95))
    print(f"\n{'kind':9} {'asked':>6} {'median':>8} {'95 %':>8} {'of quiet':>8}  what the attackers met")
    print(f"{'quiet':9} {len(quiet):6} {1e3 * np.median(quiet):5.0f} ms {1e3 * usual:5.0f} ms {1:8.1f}")
    times = dict[str, float]()  # of quiet
    for kind, took in during.items():
        late = float(np.percentile(took, 95))
        times[kind] = late / usual
        print(
            f"{kind:9} {len(took):6} {1e3 * np.median(took):5.0f} ms {1e3 * late:5.0f} ms {times[kind]:8.1f}  "
            f"{dict(saw[kind])}"
        )
    grown = float(np.median(np.subtract(memory[-1], memory[-2])))  # from one round to the next, kind by kind
    print(f"memory: {memory[-1][-1]:.0f} MiB in the end, {grown:+.1f} MiB in the last round of {len(KINDS)} kinds")
    check_log(server)
    assert all(seen["connected"] > 0 for seen in saw.values())
    assert grown < 10
    assert {kind: late for kind, late in times.items() if late > 3} == {}
