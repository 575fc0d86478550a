"""`sacl serve` under load, from another process on this machine: batched across clients beside one after another.

    python benchmarks/serve.py 10        so many seconds a line

Every client sends its next request when the last one is answered: a conversation of 6 turns to /v1/predict, or the
next turn of a live session of its own. No text comes twice, since an encoder encodes a repeated text once a batch. The
models are of the size of the recipe `meld` on MiniLM, with random weights; one thread, as OMP_NUM_THREADS says.

Prints a Markdown table: requests a second, and the median and 99th percentile of their milliseconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TURNS = 6
SAID = (
    "the a my your it this that is was will can not very so then again please thank order ticket screen bill "
    "late broken lovely great sorry wait call answer nobody everybody morning week shop letter meeting page"
)


class Client:
    """One connection that is kept open."""

    def __init__(self, port: int, seed: int) -> None:
        self.port, self.draw = port, random.Random(seed)
        self.milliseconds: list[float] = []

    def turn(self) -> dict[str, str]:
        return {"speaker": self.draw.choice("AB"), "text": " ".join(self.draw.choices(SAID.split(), k=12))}

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def post(self, path: str, content: Any) -> Any:
        body = json.dumps(content).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        answered = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(answered.partition("content-length:")[2].split()[0])
        answer = json.loads(await self.reader.readexactly(length))
        assert answered.split()[1] in ("200", "201"), answer
        return answer

    async def ask(self, kind: str, seconds: float) -> None:
        await self.open()
        path = "/v1/predict"
        if kind == "live turn":
            path = f"/v1/sessions/{(await self.post('/v1/sessions', {}))['session']}/turns"
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            turns = [self.turn() for _ in range(1 if kind == "live turn" else TURNS)]
            await self.post(path, turns[0] if kind == "live turn" else {"utterances": turns})
            self.milliseconds.append(1000 * (time.perf_counter() - begun))
        self.writer.close()


async def load(port: int, kind: str, clients: int, seconds: float) -> str:
    """A line of the table."""
    warm = [Client(port, -1 - i) for i in range(clients)]
    await asyncio.gather(*(client.ask(kind, 1) for client in warm))
    asking = [Client(port, i) for i in range(clients)]
    begun = time.perf_counter()
    await asyncio.gather(*(client.ask(kind, seconds) for client in asking))
    took = time.perf_counter() - begun
    all_of_them = list(itertools.chain.from_iterable(client.milliseconds for client in asking))
    median, late = np.percentile(all_of_them, [50, 99])
    return f"{len(all_of_them) / took:.0f} | {median:.0f} | {late:.0f}"


def write_model(folder: Path, **settings: Any) -> None:
    """The size of the recipe `meld` on MiniLM, with random weights."""
    from sacl.conversation import LabelSet
    from sacl.features.encoder import Encoder
    from sacl.model.build import build_model
    from sacl.settings import FeatureSettings, ModelSettings
    from sacl.training.trained import MODEL_FILE, TrainedModel

    chosen, labels = ModelSettings(**settings), LabelSet(tuple("abcdefg"))
    network, encoder = build_model(chosen, 384, len(labels)), Encoder.load().identity
    folder.mkdir()
    trained = TrainedModel(network, chosen, labels, 384, FeatureSettings(), encoder, None, {})
    trained.save(folder / MODEL_FILE)


def serve(folder: Path, together: int) -> None:
    """The server, in a process of its own; its port goes to stdout."""
    from sacl.recognizer import EmotionRecognizer
    from sacl.serve.app import create_app
    from sacl.serve.client import Proxies
    from sacl.serve.limits import Limits
    from sacl.serve.readers import Readers
    from sacl.serve.server import bound, run

    whole, live = (EmotionRecognizer.from_pretrained(folder / name) for name in ("whole", "live"))
    service = Readers(whole, live, Limits(together=together, requests_per_minute=10**9))
    app = create_app(service, page=False)
    service.warm_up()
    with bound("127.0.0.1", 0) as listening:
        print(listening.getsockname()[1], flush=True)
        run(app, service, listening, Proxies())


def main(seconds: float) -> None:
    """Both kinds of requests, by some clients and by many."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "whole")
        write_model(folder / "live", bidirectional=False, min_speaker_utterances=1)
        print(f"Load of the machine before it: {os.getloadavg()[0]:.1f}; {os.cpu_count()} processors.\n")
        print("| request | clients | batches | requests a second | median ms | 99th percentile ms |")
        print("|---|---|---|---|---|---|")
        for kind, clients in itertools.product(("conversation", "live turn"), (1, 8, 32)):
            for together, title in ((64, "across clients"), (1, "none")):
                command = [sys.executable, __file__, "--serve", name, str(together)]
                server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                try:
                    assert server.stdout is not None
                    port = int(server.stdout.readline())
                    figures = asyncio.run(load(port, kind, clients, seconds))
                    print(f"| {kind} | {clients} | {title} | {figures} |", flush=True)
                finally:
                    server.terminate()
                    server.wait(60)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
