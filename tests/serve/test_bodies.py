"""Bodies that do not arrive: too slow, too many at once, given up by the client or by a server that stops."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from sacl.recognizer import EmotionRecognizer
from sacl.serve.app import create_app
from sacl.serve.limits import Limits
from sacl.serve.service import Service

PATHS = ["/upload", "/swallow", "/v1/predict"]
BODY = json.dumps({"utterances": [{"speaker": "Ann", "text": "we had cake"}]}).encode()


class Asked:
    """A request whose body a test sends as it likes."""

    def __init__(self, app: Any, path: str) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: list[Any] = []
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
        }
        self.task = asyncio.ensure_future(app(scope, self.messages.get, self._note))

    async def _note(self, message: Any) -> None:
        self.sent.append(message)

    async def send(self, body: bytes, more: bool = True) -> None:
        """A part of the body, and waits until it is taken."""
        await self.messages.put({"type": "http.request", "body": body, "more_body": more})
        while not self.messages.empty():
            await asyncio.sleep(0)
        for _ in range(20):  # what is done with it
            await asyncio.sleep(0)

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Status, headers, error."""
        await asyncio.wait_for(self.task, 30)
        start, *parts = self.sent
        headers = {key.decode(): value.decode() for key, value in start["headers"]}
        body = b"".join(part["body"] for part in parts)
        return start["status"], headers, json.loads(body)["error"] if start["status"] >= 400 else None


Work = Callable[[Any, Callable[[str], Asked]], Awaitable[Any]]


@pytest.fixture
def during(recognizer: EmotionRecognizer, caplog: pytest.LogCaptureFixture) -> Callable[..., Any]:
    """during(work, **limits): what `await work(app, asked)` gives; nothing is logged as a fault."""

    async def upload(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    async def swallow(request: Request) -> PlainTextResponse:
        for _ in range(3):
            try:
                await request.receive()
            except Exception:
                continue
        return PlainTextResponse("swallowed")

    def run(work: Work, **limits: Any) -> Any:
        async def main() -> Any:
            app = create_app(Service(recognizer, None, Limits(**limits)), page=False)
            routes = [Route("/upload", upload, methods=["POST"]), Route("/swallow", swallow, methods=["POST"])]
            app.router.routes.append(Mount("/", Starlette(routes=routes)))
            async with app.router.lifespan_context(app):
                found = await asyncio.wait_for(work(app, lambda path: Asked(app, path)), 30)
            assert app.state.bodies.held == 0
            return found

        caplog.set_level(logging.INFO)
        found = asyncio.run(main())
        assert {record.levelname for record in caplog.records} <= {"INFO", "DEBUG"}
        return found

    return run


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_does_not_arrive_in_time_is_refused(during: Any, path: str) -> None:
    async def work(_: Any, asked: Any) -> Any:
        one = asked(path)
        await one.send(BODY[:9])
        return await one.answer()

    status, headers, error = during(work, body_seconds=0.05)
    assert (status, headers["connection"]) == (408, "close")
    assert "0.05 s" in error["found"]
    assert error["remedy"]


def test_the_time_is_of_the_whole_body_and_ends_with_it(during: Any, recognizer: EmotionRecognizer) -> None:
    async def work(_: Any, asked: Any) -> Any:
        dripping, whole = asked("/upload"), asked("/v1/predict")
        recognizer.encoder.gate.clear()  # type: ignore[union-attr]
        await whole.send(BODY, more=False)
        while not dripping.task.done():
            await dripping.messages.put({"type": "http.request", "body": b"x", "more_body": True})
            await asyncio.sleep(0.01)
        recognizer.encoder.gate.set()  # type: ignore[union-attr]
        return [(await one.answer())[0] for one in (dripping, whole)]

    assert during(work, body_seconds=0.2) == [408, 200]


@pytest.mark.parametrize("path", PATHS)
def test_what_arrives_at_once_is_bounded_and_small_requests_are_taken_still(during: Any, path: str) -> None:
    large = b" " * 190_000  # of which 124,464 bytes are counted

    async def work(app: Any, asked: Any) -> None:
        first = asked("/upload")
        await first.send(large)
        held = app.state.bodies.held
        assert 0 < held <= 200_000
        second, small = asked(path), asked("/v1/predict")
        await second.send(large)
        await second.send(b"}", more=False)
        status, headers, error = await second.answer()
        assert (status, headers["connection"], error["found"]) == (
            503,
            "close",
            "the requests that are arriving hold too much",
        )
        assert int(headers["retry-after"]) > 0
        assert app.state.bodies.held == held
        await small.send(BODY[:9])
        await small.send(BODY[9:], more=False)
        assert (await small.answer())[0] == 200
        await first.send(b"", more=False)
        assert (await first.answer())[0] == 200
        again = asked("/upload")
        await again.send(large)
        await again.send(b"", more=False)
        assert (await again.answer())[0] == 200

    during(work, body_bytes=200_000, arriving=1)


@pytest.mark.parametrize("path", ["/upload", "/v1/predict"])
def test_a_client_that_goes_away_while_it_sends_is_no_fault(
    during: Any, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    async def work(_: Any, asked: Any) -> Any:
        one = asked(path)
        await one.send(BODY[:9])
        await one.messages.put({"type": "http.disconnect"})
        await asyncio.wait_for(one.task, 5)  # the time for bodies is longer
        return one.sent

    assert during(work) == []
    [record] = [record for record in caplog.records if record.getMessage() == "request"]
    assert record.fields["status"] == 499  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", PATHS)
def test_a_server_that_stops_gives_up_what_has_not_arrived(during: Any, path: str) -> None:
    async def work(app: Any, asked: Any) -> None:
        before = asked(path)
        await before.send(BODY[:9])
        app.state.bodies.end(0.05)
        late = asked(path)
        for one in (before, late):
            status, headers, error = await one.answer()
            assert (status, error["found"]) == (503, "the server is stopping")
            assert int(headers["retry-after"]) > 0

    during(work)
