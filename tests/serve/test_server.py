"""How the server ends where a client does not let it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

import uvicorn

from sacl.recognizer import EmotionRecognizer
from sacl.serve import server
from sacl.serve.app import create_app
from sacl.serve.client import Proxies
from sacl.serve.connection import Connections
from sacl.serve.limits import Limits
from sacl.serve.service import Service


def test_a_client_that_does_not_go_is_cut_off_and_nothing_is_logged_as_a_failure(
    recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("_STREAMS", "_SLOW"):
        monkeypatch.setattr(server, name, 0.05)
    monkeypatch.setattr(server, "_GONE", 30)
    left = []

    async def main() -> None:
        service = Service(recognizer, None, Limits())
        app, begun = create_app(service, page=False), asyncio.Event()

        async def waiting(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            begun.set()
            while (message := await receive())["type"] != "http.disconnect":
                pass
            left.append(message)

        with server.bound("127.0.0.1", 0) as listening:
            config = uvicorn.Config(waiting, log_config=None, lifespan="on")
            served = server._Server(config, app, service, Connections(Limits(), Proxies()))
            serving = asyncio.create_task(served.serve(sockets=[listening]))
            _, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(b"GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await begun.wait()
            served.should_exit = True
            await serving
            writer.close()

    asyncio.run(asyncio.wait_for(main(), 20))
    assert len(left) == 1
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
