"""Events of the page are done for the client that sent them, though Gradio does them in tasks of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="gradio is not installed (extra serve)")

pytestmark = pytest.mark.slow  # Gradio takes seconds to load, and leaves loops and sockets behind: hence a process
VISITS = """
import asyncio, json
import httpx
from sacl.recognizer import EmotionRecognizer
from sacl.serve.app import create_app
from sacl.serve.client import CLIENT
from sacl.serve.limits import Limits
from sacl.serve.service import Service

asked = []

class Noting(Service):
    async def encode(self, conversation):
        asked.append([conversation.utterances[0].text, CLIENT.get()])
        return await super().encode(conversation)

    async def predict_all(self, conversations, threshold=None):
        asked.append([conversations[0].utterances[0].text, CLIENT.get()])
        return await super().predict_all(conversations, threshold)

app = create_app(Noting(EmotionRecognizer.from_pretrained(), None, Limits()))

async def visit(number):
    transport = httpx.ASGITransport(app, client=(f"10.0.0.{number}", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        config = (await client.get("/config")).json()
        [read] = [
            one["id"] for one in config["dependencies"]
            if len(one["inputs"]) == 2 and len(one["outputs"]) == 4 and ["click"] == [e for _, e in one["targets"]][:1]
        ]
        event = {"data": [f"Ann: cake {number}", 0.5], "fn_index": read, "session_hash": f"s{number}"}
        assert (await client.post("/gradio_api/queue/join", json=event)).status_code == 200
        answer = await client.get(f"/gradio_api/queue/data?session_hash=s{number}")
        assert "process_completed" in answer.text

async def main():
    async with app.router.lifespan_context(app):
        await asyncio.gather(visit(1), visit(2), visit(3))

asyncio.run(main())
print(json.dumps(sorted(asked)), flush=True)
"""


def test_each_visitor_is_the_client_whose_address_it_has() -> None:
    path = os.pathsep.join([str(Path(__file__).parents[3] / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", VISITS],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    asked = json.loads(done.stdout.splitlines()[-1])
    assert asked == sorted([f"cake {n}", f"10.0.0.{n}"] for n in (1, 2, 3) for _ in range(2))
