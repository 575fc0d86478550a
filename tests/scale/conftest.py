"""A Ray that only this machine can reach and that can reach nothing: in a network of its own, loopback alone.

Ray asks for the addresses where clouds keep their metadata at every start, whatever its settings.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

# It ends when the pipe to it is closed, however whoever has the other end of it ends.
HOLDER = """
import fcntl, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lo:
    up = struct.pack("16sh14x", b"lo", 1)
    fcntl.ioctl(lo, 0x8914, up)
print("up", flush=True)
sys.stdin.read()
"""
STARTED = "Ray runtime started"


class Namespace:
    """Commands that run in a network of their own, with a head of Ray in it."""

    head = "127.0.0.1:6379"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        user = [] if os.geteuid() == 0 else ["-r"]
        self._enter = [] if os.geteuid() == 0 else ["-U", "--preserve-credentials"]
        command = ["unshare", "-n", *user, sys.executable, "-c", HOLDER]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        self._network = ""
        self._rays: list[subprocess.Popen[str]] = []
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "code"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_TMPDIR": str(folder),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_enable_worker_prestart": "false",
        }
        if self._holder.stdout.readline() != "up\n":
            self.close()
            pytest.skip("this machine does not let a process have a network of its own (unshare -n, or unshare -rn)")
        self._network = network(self._holder.pid)
        assert self._network != network(os.getpid())

    def popen(self, *command: str | Path) -> subprocess.Popen[str]:
        entered = ["nsenter", "-t", str(self._holder.pid), "-n", *self._enter, *map(str, command)]
        return subprocess.Popen(
            entered,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str | Path) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        process = self.popen(*command)
        out, err = process.communicate()
        return process.returncode, out, err

    def until(self, what: str, happens: Callable[[], object], seconds: float = 240) -> None:
        """Waits until that gives something true."""
        end = time.monotonic() + seconds
        while not happens():
            assert time.monotonic() < end, f"not within {seconds} s: {what}"
            time.sleep(0.05)

    def start(self, *options: str) -> None:
        """A node of Ray, two attempts: on a machine with much to do it may not be up in the time that Ray gives it."""
        for _ in range(2):
            node = self.popen("ray", "start", "--block", "--node-ip-address=127.0.0.1", *options)
            assert node.stdout is not None
            for line in node.stdout:
                if STARTED in line:
                    self._rays.append(node)
                    return
            _, told = node.communicate()
        raise AssertionError(told)

    def close(self) -> None:
        """Ends at once all that runs in the network: of what Ray started some takes half a minute to end by itself."""
        while self._network and (within := [one for one in processes() if network(one) == self._network]):
            for process in within:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.05)
        for node in self._rays:
            node.communicate()
        self._holder.communicate("")


def processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def network(process: int) -> str:
    """The network that it is in; none of one that has ended."""
    try:
        return str(Path(f"/proc/{process}/ns/net").readlink())
    except OSError:
        return ""


@pytest.fixture(scope="session")
def ray() -> Iterator[Namespace]:
    """Two processors of this machine as a cluster of one node."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # a socket's path may not be long
    namespace = Namespace(folder)
    (folder / "code").mkdir()
    try:
        # Without what need not run: a start is mostly Python's, several times over.
        spared = ("--include-dashboard=false", "--no-monitor", "--include-log-monitor=false")
        room = ("--num-cpus=2", f"--object-store-memory={200 * 2**20}")
        namespace.start("--head", "--port=6379", *spared, *room)
        yield namespace
    finally:
        namespace.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def recipe(ray: Namespace) -> str:
    """A recipe that is trained in a second, on conversations of 5 numbers an utterance."""
    draw = random.Random(0)
    (ray.folder / "data").mkdir()
    for split, size in (("train", 8), ("valid", 3), ("test", 4)):
        lines = []
        for i in range(size):
            turns = [
                {"speaker": draw.choice("AB"), "vector": [draw.gauss(0, 1) for _ in range(5)], "emotion": emotion}
                for emotion in draw.choices(["calm", "cross", "glad"], k=i + 1)
            ]
            lines.append(json.dumps({"id": f"{split}-{i}", "utterances": turns}))
        (ray.folder / "data" / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (ray.folder / "tiny.yaml").write_text(
        "name: tiny\ndescription: a few conversations\ndata: {name: data}\nmodel: {hidden_size: 4}\n"
        "training: {batch_size: 3, epochs: 4, learning_rate: 0.02}\nseeds: [0, 1, 2]\n",
        encoding="utf-8",
    )
    return "tiny.yaml"
