"""`sacl serve` as a process: starting, stopping, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

import httpx

from sacl.training.trained import TrainedModel

pytestmark = pytest.mark.slow  # PyTorch is loaded anew in every process
ROOT = Path(__file__).parents[2]
SLOW = Path(__file__).parents[1] / "fixtures" / "slow_server.py"
CHAT = {"utterances": [{"speaker": "Zebedee", "text": "hooray it was xylophone"}, {"speaker": "Bo", "text": "late"}]}
PATIENCE = 240


class Running(NamedTuple):
    process: subprocess.Popen[str]
    address: str
    folder: Path

    def stop(self) -> tuple[int, str]:
        """Exit code and stderr after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, err


@contextmanager
def running(command: list[str], folder: Path, **environment: str) -> Iterator[Running]:
    """A server in a folder of its own, which holds its working, temporary and cache folders."""
    places = {name: str(folder / name) for name in ("TMPDIR", "SACL_CACHE", "XDG_CACHE_HOME", "HF_HOME")}
    for place in ("cwd", *places):
        (folder / place).mkdir(parents=True)
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    env = {k: v for k, v in os.environ.items() if k != "SACL_TOKEN"} | places | {"PYTHONPATH": path} | environment
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder / "cwd", env=env
    )
    assert process.stdout is not None
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    try:
        line = process.stdout.readline()
        guard.cancel()
        port = re.search(r"(\d+)(?: \(|\s*$)", line)
        assert port, (line, process.communicate(timeout=PATIENCE))
        yield Running(process, f"http://127.0.0.1:{port[1]}", folder)
    finally:
        guard.cancel()
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, trained: Callable[..., TrainedModel]) -> Path:
    folder = tmp_path_factory.mktemp("models")
    trained().save(folder / "model.safetensors")
    trained(causal=True).save(folder / "causal.safetensors")
    return folder


def sacl(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-c", "from sacl.cli import main; main()", *map(str, arguments)]


def files(folder: Path) -> set[tuple[str, int]]:
    return {(str(p.relative_to(folder)), p.stat().st_size) for p in folder.rglob("*")}


def test_a_server_from_start_to_stop(models: Path, tmp_path: Path) -> None:
    """One process for all of it, since it takes seconds to start."""
    serve = sacl("serve", models / "model.safetensors", "--causal", models / "causal.safetensors", "--no-page")
    with (
        running([*serve, "--port", "0"], tmp_path / "first", SACL_TOKEN="sesame") as server,
        httpx.Client(base_url=server.address, timeout=PATIENCE) as client,
    ):
        assert client.get("/ready").status_code == 401
        client.headers["authorization"] = "Bearer sesame"
        assert client.get("/ready").json() == {"status": "ready"}
        # The process for long requests has its model now, and nothing in its temporary folder.
        assert client.post("/v1/influence", json={"conversation": CHAT, "utterance": 0}).status_code == 200
        before = files(server.folder)
        answer = client.post("/v1/predict", json=CHAT)
        assert [u["speaker"] for u in answer.json()["utterances"]] == ["Zebedee", "Bo"]
        assert "server" not in answer.headers
        assert client.post("/v1/influence", json={"conversation": CHAT, "utterance": 0}).status_code == 200
        session = client.post("/v1/sessions").json()["session"]
        assert client.post(f"/v1/sessions/{session}/turns", json=CHAT["utterances"][0]).status_code == 200
        assert client.get("/", headers={"host": "evil.example"}).status_code == 403
        assert client.get("/", headers={"x-forwarded-for": "10.1.1.1"}).status_code == 404
        assert files(server.folder) == before

        # The port is taken now.
        port = server.address.rpartition(":")[2]
        second = subprocess.run(
            [*serve, "--port", port], capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path
        )
        assert (second.returncode, second.stdout) == (2, "")
        assert second.stderr.startswith(f"sacl: 127.0.0.1, port {port}: the port is in use.")

        code, err = server.stop()
        assert code == 0
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", int(port)), timeout=5)
        lines = [json.loads(line) for line in err.splitlines()]
        assert {line["event"] for line in lines} == {"request"}
        for secret in ("Zebedee", "xylophone", "sesame", session, "10.1.1.1"):
            assert secret not in err

    # Started anew it knows no session, and has its token from a file.
    (tmp_path / "token").write_text("other\n")
    again = [*serve, "--port", "0", "--token-file", str(tmp_path / "token")]
    with running(again, tmp_path / "second") as server:
        turn = CHAT["utterances"][0]
        headers = {"authorization": "Bearer other"}
        answer = httpx.post(
            f"{server.address}/v1/sessions/{session}/turns", json=turn, headers=headers, timeout=PATIENCE
        )
        assert answer.status_code == 410
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(PATIENCE) == 0


def test_on_sigterm_what_was_accepted_is_answered_and_nothing_more_is_taken(models: Path, tmp_path: Path) -> None:
    with (
        running([sys.executable, str(SLOW), str(models)], tmp_path / "slow") as server,
        ThreadPoolExecutor(4) as pool,
        httpx.Client(base_url=server.address, timeout=PATIENCE) as client,
    ):
        asked = [pool.submit(httpx.post, f"{server.address}/v1/predict", json=CHAT, timeout=PATIENCE) for _ in range(4)]
        wait_for(lambda: "sacl_waiting_requests 4.0" in client.get("/metrics").text)
        assert not any(request.done() for request in asked)
        code, err = server.stop()
        assert [request.result().status_code for request in asked] == [200] * 4
        assert all(len(request.result().json()["utterances"]) == 2 for request in asked)
        assert code == 0, err


def test_on_sigterm_a_long_request_that_another_process_reads_is_answered(models: Path, tmp_path: Path) -> None:
    serve = sacl("serve", models / "model.safetensors", "--no-page", "--port", "0")
    long = {"utterances": [{"speaker": "A", "text": f"table {i} " * 40} for i in range(3_000)]}
    with running(serve, tmp_path / "long") as server, ThreadPoolExecutor(1) as pool:
        one = {"conversation": CHAT, "utterance": 0}
        assert httpx.post(f"{server.address}/v1/influence", json=one, timeout=PATIENCE).status_code == 200
        asked = pool.submit(httpx.post, f"{server.address}/v1/predict", json=long, timeout=PATIENCE)
        wait_for(lambda: "sacl_waiting_requests 1.0" in httpx.get(f"{server.address}/metrics", timeout=PATIENCE).text)
        code, _ = server.stop()
        assert code == 0
        assert len(asked.result().json()["utterances"]) == 3_000


def test_a_client_that_hangs_up_has_its_work_dropped(models: Path, tmp_path: Path) -> None:
    with (
        running([sys.executable, str(SLOW), str(models)], tmp_path / "slow") as server,
        httpx.Client(base_url=server.address, timeout=PATIENCE) as client,
    ):
        body = json.dumps(CHAT).encode()
        host, port = server.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as hanging:
            head = f"POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
            hanging.sendall(head.encode() + body)
            wait_for(lambda: "sacl_waiting_requests 1.0" in client.get("/metrics").text)
        wait_for(lambda: "sacl_waiting_requests 0.0" in client.get("/metrics").text)
        assert 'path="/v1/predict",status="499"} 1.0' in client.get("/metrics").text
        assert server.stop()[0] == 0


def test_a_request_that_is_half_sent_does_not_hold_up_the_end(models: Path, tmp_path: Path) -> None:
    serve = sacl("serve", models / "causal.safetensors", "--no-page", "--port", "0")
    with running(serve, tmp_path / "half") as server:
        host, port = server.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as half:
            head = f"POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
            half.sendall(head.encode())
            assert half.recv(1000).startswith(b"HTTP/1.1 100")  # its body is waited for
            half.sendall(b"{")
            code, err = server.stop()
            answer = half.recv(1000)
        assert code == 0
        assert answer.startswith(b"HTTP/1.1 503")
        [line] = [json.loads(line) for line in err.splitlines()]
        assert (line["event"], line["status"]) == ("request", 503)


def wait_for(happens: Callable[[], Any]) -> None:
    end = monotonic() + PATIENCE
    while not happens():
        assert monotonic() < end
        sleep(0.02)
