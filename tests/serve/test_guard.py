"""What stands before every route, those of a page that is mounted included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from sacl.recognizer import EmotionRecognizer
from sacl.serve import guard
from sacl.serve.app import create_app
from sacl.serve.bodies import Bodies
from sacl.serve.guard import Guard
from sacl.serve.limits import Limits
from sacl.serve.rate import Rate
from sacl.serve.service import Service

TOKEN = "open-sesame"


def page() -> Starlette:
    """What a mounted page does: it streams, takes uploads, and fails."""

    async def upload(request: Request) -> JSONResponse:
        return JSONResponse({"bytes": len(await request.body())})

    async def swallow(request: Request) -> PlainTextResponse:
        try:
            await request.body()
        except Exception:
            return PlainTextResponse("swallowed", 400)
        return PlainTextResponse("whole")

    async def fail(_: Request) -> None:
        raise RuntimeError("a text of somebody")

    async def stream(_: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for i in range(3):
                yield b"data: %d\n\n" % i

        return StreamingResponse(parts(), media_type="text/event-stream")

    routes = [
        Route("/", lambda _: PlainTextResponse("the page")),
        Route("/upload", upload, methods=["POST"]),
        Route("/swallow", swallow, methods=["POST"]),
        Route("/fail", fail),
        Route("/stream", stream),
    ]
    return Starlette(routes=routes)


@pytest.fixture
def served(ask: Any, recognizer: EmotionRecognizer) -> Any:
    """served(work, limits, **options) with the page mounted, as the real one is."""

    def run(work: Any, limits: Limits | None = None, **options: Any) -> Any:
        service = Service(recognizer, None, limits or Limits())
        app = create_app(service, page=False, **options)
        app.router.routes.append(Mount("/", page()))
        return ask(service, work, app=app)

    return run


EVERYWHERE = ["/", "/stream", "/health", "/metrics", "/openapi.json", "/nothing", "/v1/nothing"]


@pytest.mark.parametrize("path", EVERYWHERE)
def test_nothing_is_answered_without_the_token(served: Any, path: str) -> None:
    async def work(client: Any) -> list[int]:
        given = [
            {},
            *({"authorization": f"{a}"} for a in ("Bearer no", "Bearer ", "Bearer é", TOKEN, f"Basic {TOKEN}")),
        ]
        given += [{"cookie": f"sacl-80={TOKEN}"}, {"cookie": "sacl-None=; sacl-80="}]
        answers = [await client.get(path, headers=[(k, v.encode()) for k, v in headers.items()]) for headers in given]
        assert all(a.json()["error"]["remedy"] and a.headers["www-authenticate"] == "Bearer" for a in answers)
        right = await client.get(path, headers={"authorization": f"bearer {TOKEN}"})
        assert right.status_code == (404 if "nothing" in path else 200)
        return [a.status_code for a in answers]

    assert set(served(work, token=TOKEN)) == {401}


def test_the_token_is_compared_in_constant_time_alone(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where that comparison says no, no other one says yes: to the right token, the right cookie, the right address."""
    compared: list[tuple[bytes, bytes]] = []

    def never(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    async def work(client: Any) -> None:
        cookie = (await client.get(f"/?token={TOKEN}")).headers["set-cookie"].partition(";")[0]
        client.cookies.clear()
        monkeypatch.setattr(guard.hmac, "compare_digest", never)
        for path, headers in (
            ("/health", {"authorization": f"Bearer {TOKEN}"}),
            ("/health", {"cookie": cookie}),
            (f"/?token={TOKEN}", {}),
        ):
            compared.clear()
            assert (await client.get(path, headers=headers)).status_code == 401
            assert any(one == other for one, other in compared)

    served(work, token=TOKEN)


def test_a_browser_shows_the_token_once_and_keeps_a_cookie(served: Any) -> None:
    async def work(client: Any) -> None:
        wrong = await client.get("/?token=wrong")
        assert wrong.status_code == 401
        assert "set-cookie" not in wrong.headers
        assert (await client.get(f"/stream?token={TOKEN}")).status_code == 401
        assert (await client.post(f"/?token={TOKEN}")).status_code == 401
        right = await client.get(f"/?token={TOKEN}")
        assert (right.status_code, right.headers["location"]) == (303, "/")
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert TOKEN not in cookie
        assert (await client.get("/")).text == "the page"
        assert (await client.post("/upload", content=b"abc")).json() == {"bytes": 3}

    served(work, token=TOKEN)


def test_without_a_token_everybody_is_let_in(served: Any) -> None:
    async def work(client: Any) -> str:
        return (await client.get("/?token=whatever")).text  # type: ignore[no-any-return]

    assert served(work) == "the page"


@pytest.mark.parametrize("path", EVERYWHERE)
def test_a_name_that_is_not_the_servers_is_refused_everywhere(served: Any, path: str) -> None:
    async def work(client: Any) -> Any:
        return await client.get(path, headers={"host": "rebound.example:8000"})

    answer = served(work)
    assert answer.status_code == 403
    assert answer.json()["error"]["where"] == "Host"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200), ("LOCALHOST:9", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("box.example", 200),
        ("", 403), ("10.0.0.1", 403), ("localhost.example", 403), ("127.0.0.1.example", 403), ("a@localhost", 200),
        ("localhost@example", 403), ("[::1", 403), ("localhost:x", 200),
    ],
)  # fmt: skip
def test_hosts_are_told_by_name(served: Any, host: str, status: int) -> None:
    async def work(client: Any) -> Any:
        return (await client.get("/health", headers={"host": host})).status_code

    assert served(work, hosts=("localhost", "127.0.0.1", "::1", "Box.example")) == status


def test_bound_everywhere_any_address_is_a_name_of_its_own(served: Any) -> None:
    async def work(client: Any) -> list[int]:
        hosts = ("10.0.0.1:8000", "[fe80::1]", "rebound.example")
        return [(await client.get("/health", headers={"host": host})).status_code for host in hosts]

    assert served(work, hosts=("0.0.0.0",)) == [200, 200, 403]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("http://localhost:8000", True), ("https://LOCALHOST:8000", True), ("http://localhost:9000", False),
        ("http://localhost", False), ("https://evil.example", False), ("null", False), ("", False), ("http://[", False),
    ],
)  # fmt: skip
def test_pages_of_other_sites_are_refused(served: Any, method: str, origin: str, passes: bool) -> None:
    async def work(client: Any) -> Any:
        headers = {"host": "localhost:8000", "origin": origin}
        return (await client.request(method, "/upload", headers=headers)).status_code

    assert (served(work) != 403) == passes


def test_a_client_is_slowed_down_and_others_are_not() -> None:
    now = [100.0]
    rate = Rate(60, lambda: now[0])
    assert [rate.wait("a") for _ in range(60)] == [0] * 60
    assert rate.wait("a") == pytest.approx(1)
    assert rate.wait("b") == 0
    now[0] += 0.5
    assert rate.wait("a") == pytest.approx(0.5)
    now[0] += 0.5
    assert rate.wait("a") == 0
    assert rate.wait("a") > 0
    now[0] += 3600
    assert [rate.wait("a") for _ in range(61)].count(0) == 60


def test_clients_that_have_gone_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rate, "_CLIENTS", 10)
    now = [0.0]
    rate = Rate(2, lambda: now[0])
    for i in range(100):
        now[0] += 10
        rate.wait(str(i))
    assert len(rate._left) <= 11


def test_too_many_requests_are_told_when_to_come_back(served: Any) -> None:
    async def work(client: Any) -> Any:
        return [await client.get(path) for path in ("/", "/health", "/stream", "/")]

    *fine, last = served(work, Limits(requests_per_minute=3))
    assert [a.status_code for a in fine] == [200, 200, 200]
    assert last.status_code == 429
    assert 1 <= int(last.headers["retry-after"]) <= 20


@pytest.mark.parametrize("path", ["/upload", "/swallow", "/v1/predict"])
@pytest.mark.parametrize("told", [True, False], ids=["with its length", "as a stream"])
def test_a_request_that_is_too_large_is_refused_whoever_reads_it(served: Any, path: str, told: bool) -> None:
    taken = 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1000
            yield b"x" * 1000

    async def work(client: Any) -> Any:
        fits = await client.post(path, content=b"x" * 5000)
        assert fits.status_code == (400 if "v1" in path else 200)
        return await client.post(path, content=b"x" * 5001 if told else parts())

    answer = served(work, Limits(body_bytes=5000))
    assert answer.status_code == 413
    assert "5000 bytes" in answer.json()["error"]["found"]
    assert taken <= 100_000  # not without end


def test_a_fault_of_the_page_is_told_without_a_word_of_it(served: Any) -> None:
    async def work(client: Any) -> Any:
        return await client.get("/fail")

    answer = served(work)
    assert answer.status_code == 500
    assert "somebody" not in answer.text


def test_whatever_is_answered_is_not_to_be_framed_or_guessed_at(served: Any) -> None:
    async def work(client: Any) -> list[Any]:
        return [await client.get("/"), await client.get("/health", headers={"host": "evil.example"})]

    for answer in served(work):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"


def spoken(app: Any, path: str, **scope: Any) -> tuple[asyncio.Task[None], asyncio.Queue[Any]]:
    """A request as a server passes it on, and the queue that its answer goes to; the client stays."""
    sent: asyncio.Queue[Any] = asyncio.Queue()
    asked = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [(b"host", b"localhost")]}

    async def receive() -> Any:
        await asyncio.Event().wait()

    return asyncio.ensure_future(app(asked | scope, receive, sent.put)), sent


def test_answers_are_not_held_back(recognizer: EmotionRecognizer) -> None:
    async def main() -> None:
        more = asyncio.Event()

        async def endless(_: Request) -> StreamingResponse:
            async def parts() -> AsyncIterator[bytes]:
                yield b"first"
                await more.wait()
                yield b"last"

            return StreamingResponse(parts())

        app = create_app(Service(recognizer, None, Limits()), page=False)
        app.router.routes.append(Mount("/", Starlette(routes=[Route("/endless", endless)])))
        task, sent = spoken(app, "/endless")
        assert (await asyncio.wait_for(sent.get(), 30))["status"] == 200
        assert (await asyncio.wait_for(sent.get(), 30))["body"] == b"first"
        assert len(app.state.streams) == 1
        # What the server does when it stops: the stream ends in order.
        for stream in app.state.streams:
            stream.cancel()
        last = await asyncio.wait_for(sent.get(), 30)
        assert (last["body"], last["more_body"]) == (b"", False)
        await asyncio.wait_for(task, 30)
        assert not app.state.streams

    asyncio.run(main())


def test_a_socket_is_closed_at_once() -> None:
    async def main() -> list[Any]:
        async def never(*_: Any) -> None:
            raise AssertionError("it was let through")

        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await Guard(never, TOKEN, ["localhost"], Bodies(Limits()))({"type": "websocket"}, receive, send)
        return sent

    assert asyncio.run(main()) == [{"type": "websocket.close", "code": 1008}]
