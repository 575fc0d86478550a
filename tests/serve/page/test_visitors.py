"""Events of the page are done for the client that sent them, though Gradio does them in tasks of its own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytest.importorskip("gradio", reason="gradio is not installed (extra serve)")

import httpx

from sacl.conversation import Conversation
from sacl.recognizer import EmotionRecognizer
from sacl.serve.app import create_app
from sacl.serve.client import CLIENT
from sacl.serve.limits import Limits
from sacl.serve.service import Service

pytestmark = pytest.mark.slow  # Gradio takes seconds to load


def test_each_visitor_is_the_client_whose_address_it_has(
    recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, asked = Service(recognizer, None, Limits()), list[tuple[str, str]]()
    encode, predict = service.encode, service.predict

    async def encoded(conversation: Conversation) -> Conversation:
        asked.append((conversation.utterances[0].text or "", CLIENT.get()))
        return await encode(conversation)

    async def predicted(conversation: Conversation) -> Any:
        asked.append((conversation.utterances[0].text or "", CLIENT.get()))
        return await predict(conversation)

    monkeypatch.setattr(service, "encode", encoded)
    monkeypatch.setattr(service, "predict", predicted)
    app = create_app(service)

    async def visit(number: int) -> None:
        transport = httpx.ASGITransport(app, client=(f"10.0.0.{number}", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            config = (await client.get("/config")).json()
            [read] = [
                one["id"]
                for one in config["dependencies"]
                if len(one["inputs"]) == 2
                and len(one["outputs"]) == 4
                and any(event == "click" for _, event in one["targets"])
            ]
            event = {"data": [f"Ann: cake {number}", 0.5], "fn_index": read, "session_hash": f"s{number}"}
            assert (await client.post("/gradio_api/queue/join", json=event)).status_code == 200
            async with client.stream("GET", f"/gradio_api/queue/data?session_hash=s{number}") as outcomes:
                async for line in outcomes.aiter_lines():
                    if line.startswith("data:") and json.loads(line[5:])["msg"] == "process_completed":
                        break

    async def main() -> None:
        async with app.router.lifespan_context(app):
            await asyncio.wait_for(asyncio.gather(visit(1), visit(2), visit(3)), 60)

    asyncio.run(main())
    assert sorted(asked) == sorted((f"cake {n}", f"10.0.0.{n}") for n in (1, 2, 3) for _ in range(2))
