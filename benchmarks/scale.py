"""Prediction over files on Ray beside one process, in a network of its own: loopback alone.

    python benchmarks/scale.py UTTERANCES NODES [--kill]

Starts so many nodes of Ray with one processor each, and prints one JSON document: seconds until Ray is up; seconds of
`sacl predict` in one process and on Ray, each from its start to its end; and how many conversations have no result, or
more than one. With --kill a worker is killed halfway. The encoder has no part in it: utterances come with vectors of 16
numbers, the same thousand conversations again and again.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

FILES, TURNS, WIDTH = 8, 10, 16
LO = "import fcntl,socket,struct;s=socket.socket();fcntl.ioctl(s,0x8914,struct.pack('16sh14x',b'lo',1));s.close()"
BIN = Path(sys.executable).parent


def prepare(folder: Path, utterances: int) -> int:
    """Writes a model and the files, and one file of all of them; how many conversations there are."""

    from sacl.conversation import LabelSet
    from sacl.model.build import build_model
    from sacl.settings import FeatureSettings, ModelSettings
    from sacl.training.trained import TrainedModel

    settings, labels = ModelSettings(hidden_size=128), LabelSet(("calm", "cross", "glad"))
    network = build_model(settings, WIDTH, len(labels)).eval()
    TrainedModel(network, settings, labels, WIDTH, FeatureSettings(), None, None, {}).save(folder / "model.safetensors")
    draw = random.Random(0)

    def turn() -> dict[str, Any]:
        return {"speaker": draw.choice("AB"), "vector": [round(draw.gauss(0, 1), 3) for _ in range(WIDTH)]}

    chats = [json.dumps({"utterances": [turn() for _ in range(TURNS)]}) + "\n" for _ in range(1000)]
    each = utterances // TURNS // FILES
    (folder / "chats").mkdir()
    with gzip.open(folder / "all.jsonl.gz", "wt", compresslevel=1) as whole:
        for i in range(FILES):
            with gzip.open(folder / "chats" / f"{i}.jsonl.gz", "wt", compresslevel=1) as file:
                for n in range(each):
                    file.write(chats[n % 1000])
                    whole.write(chats[n % 1000])
    return each * FILES


def main() -> None:
    utterances, nodes, kills = int(sys.argv[1]), int(sys.argv[2]), "--kill" in sys.argv
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as name:
        folder = Path(name)
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": name}
        environment = os.environ | token | {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        conversations = prepare(folder, utterances)

        def timed(*command: str | Path, during: Any = None) -> float:
            start = time.monotonic()
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
            if during is not None:
                during()
            assert process.wait() == 0, command
            return round(time.monotonic() - start, 1)

        def kill_a_worker() -> None:
            while len(list(folder.glob("out/parts/*/*.jsonl"))) < conversations // 256 // 2:
                time.sleep(0.2)
            mine = [p for p in Path("/proc").glob("[0-9]*") if b"_Worker" in _read(p / "cmdline")]
            inside = [p for p in mine if name.encode() in _read(p / "environ")]
            os.kill(int(inside[0].name), signal.SIGKILL)

        figures: dict[str, Any] = {"utterances": utterances, "nodes": nodes}
        figures["one process"] = timed(
            BIN / "sacl", "predict", "model.safetensors", "all.jsonl.gz", "--out", "all.jsonl"
        )
        rays = []
        try:
            start = time.monotonic()
            for i in range(nodes):
                where = ["--head", "--port=6379"] if i == 0 else ["--address=127.0.0.1:6379"]
                spared = ["--no-monitor", "--include-dashboard=false"] if i == 0 else []
                command = [str(BIN / "ray"), "start", "--block", "--node-ip-address=127.0.0.1", "--num-cpus=1", *where]
                rays.append(_until_up([*command, *spared, f"--object-store-memory={300 * 2**20}"], environment))
            figures["Ray is up"] = round(time.monotonic() - start, 1)
            ask = ("predict", "model.safetensors", "chats/*", "--ray", "127.0.0.1:6379", "--out", "out")
            figures["on Ray"] = timed(BIN / "sacl", *ask, during=kill_a_worker if kills else None)
            figures["again, nothing to do"] = timed(BIN / "sacl", *ask)
        finally:
            for ray in reversed(rays):
                ray.terminate()
                ray.wait()
        found = Counter[tuple[str, int]]()
        for path in folder.glob("out/parts/*/*.jsonl"):
            with path.open(encoding="utf-8") as file:
                found.update((one["source"], one["line"]) for one in map(json.loads, file))
        figures["missing"] = conversations - len(found)
        figures["twice"] = sum(count > 1 for count in found.values())
        print(json.dumps(figures))


def _until_up(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    ray = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert ray.stdout is not None
    assert any("Ray runtime started" in line for line in ray.stdout)
    return ray


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or is another's
        return b""


if __name__ == "__main__":
    if os.environ.get("SACL_BENCHMARK_ALONE") != "yes":
        os.environ["SACL_BENCHMARK_ALONE"] = "yes"
        alone = ["unshare", "-n", *([] if os.geteuid() == 0 else ["-r"])]
        os.execvp(
            "unshare",
            [*alone, "sh", "-c", f'"{sys.executable}" -c "{LO}" && exec "$@"', "sh", sys.executable, *sys.argv],
        )
    main()
