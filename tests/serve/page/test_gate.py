"""What stands before Gradio: a stand-in for it shows what is let through, and how much it is made to hold."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

from starlette.exceptions import HTTPException

from sacl.errors import DataError
from sacl.serve.client import CLIENT
from sacl.serve.errors import Unavailable
from sacl.serve.page import gate

JOIN = "/gradio_api/queue/join"


def component(kind: str, **limits: int) -> SimpleNamespace:
    return SimpleNamespace(get_block_name=lambda: kind, **limits)


class Page:
    """As much of Gradio as the gate asks for; a state, a slider and a box are what its one event reads."""

    def __init__(self) -> None:
        inputs = [component("state"), component("slider", minimum=0, maximum=1), component("textbox")]
        self.fns = {6: SimpleNamespace(fn=print, inputs=inputs), 7: SimpleNamespace(fn=None, inputs=[])}
        self._queue = self
        self.pending_messages_per_session: dict[str, asyncio.Queue[str]] = {}
        self.pending_event_ids_session: dict[str, set[int]] = {}
        self.cleaned: list[str] = []
        self.status, self.got = 200, list[Any]()
        self.gate = gate.Gate(self, self, SimpleNamespace(parsed=self._parsed))  # type: ignore[arg-type]

    @staticmethod
    async def _parsed(read: Any, body: bytes) -> Any:
        return read(body)

    async def clean_events(self, session_hash: str) -> None:
        self.cleaned.append(session_hash)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"] if scope["method"] == "POST" else b""
        self.got.append(body)
        if scope["path"] == JOIN:
            session = json.loads(body)["session_hash"]
            self.pending_messages_per_session.setdefault(session, asyncio.Queue()).put_nowait("outcome")
            self.pending_event_ids_session.setdefault(session, set()).add(len(self.got))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": b"said by Gradio"})

    def fetch(self, session: str) -> None:
        """What the page does with what it asked for."""
        self.pending_messages_per_session[session] = asyncio.Queue()
        self.pending_event_ids_session[session].clear()

    async def ask(self, path: str, body: Any = None, client: str = "", query: bytes = b"") -> list[Any]:
        CLIENT.set(client)
        sent: list[Any] = []
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        messages = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Any:
            return messages.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        method = "GET" if body is None else "POST"
        scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": query}
        await self.gate(scope, receive, send)
        return sent

    async def join(self, session: str, client: str = "") -> bool:
        """Whether it was let through."""
        try:
            await self.ask(JOIN, event(session_hash=session), client)
        except Unavailable:
            return False
        return True


def event(**changes: Any) -> dict[str, Any]:
    return {"fn_index": 6, "data": [None, 0.5, "Ann: hi"], "session_hash": "s", "event_data": None} | changes


def test_what_the_page_sends_comes_through_as_it_was_sent() -> None:
    page = Page()
    for body in (event(), event(event_data={"act": "go", "at": 3}, trigger_id=4), event(data=[None, 1, None])):
        start, answer = asyncio.run(page.ask(JOIN, body))
        assert (start["status"], answer["body"]) == (200, b"said by Gradio")
        assert (b"content-security-policy", gate.POLICY.encode()) in start["headers"]
        assert json.loads(page.got[-1]) == body


WRONG = [
    b"", b"{", b"\xff", b"[]", b"7", {}, event(more=1), event(fn_index=7), event(fn_index=99), event(fn_index="6"),
    event(fn_index=True), event(fn_index=None), event(data=None), event(data=[]), event(data=[None, 0.5]),
    event(data=[None, 0.5, "a", "b"]), event(data=["a", 0.5, "a"]), event(data=[None, "0.5", "a"]),
    event(data=[None, True, "a"]), event(data=[None, 2, "a"]), event(data=[None, None, "a"]),
    event(data=[None, 0.5, 7]),
    event(data=[None, 0.5, {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}]), event(event_data="a"),
    event(event_data={"a": {"path": "/etc/passwd"}}), event(session_hash=None), event(session_hash=7),
    event(session_hash=""), event(session_hash="a" * 65), event(trigger_id="a"), event(event_id="a"),
]  # fmt: skip


@pytest.mark.parametrize("body", WRONG)
def test_what_the_page_does_not_send_never_reaches_gradio(body: Any) -> None:
    page = Page()
    with pytest.raises(DataError) as refused:
        asyncio.run(page.ask(JOIN, body))
    assert "passwd" not in str(refused.value)
    assert page.got == []


@pytest.mark.parametrize("path", ["/gradio_api/cancel", "/gradio_api/reset"])
def test_other_requests_are_flat_objects(path: str) -> None:
    page = Page()
    asyncio.run(page.ask(path, {"session_hash": "s", "fn_index": 6, "event_id": "e"}))
    for body in (b"\xff", b"[]", {"event_id": {"a": 1}}, b'{"fn_index": NaN}'):
        with pytest.raises(DataError):
            asyncio.run(page.ask(path, body))
    assert len(page.got) == 1


@pytest.mark.parametrize(
    ("status", "told"),
    [(400, DataError), (404, HTTPException), (422, DataError), (500, RuntimeError), (503, Unavailable)],
)
def test_what_gradio_refuses_is_told_in_our_words(status: int, told: type[Exception]) -> None:
    page = Page()
    page.status = status
    with pytest.raises(told) as refused:
        asyncio.run(page.ask("/config"))
    assert "Gradio" not in str(refused.value)


def test_outcomes_are_fetched_by_whoever_asked_for_something_alone() -> None:
    async def work() -> None:
        page = Page()
        for query in (b"", b"session_hash=s", b"a=1"):
            with pytest.raises(HTTPException):
                await page.ask("/gradio_api/queue/data", query=query)
        assert await page.join("s")
        assert await page.ask("/gradio_api/queue/data", query=b"session_hash=s")

    asyncio.run(work())


def test_a_visitor_who_fetches_nothing_is_told_to_and_may_then_go_on() -> None:
    async def work() -> None:
        page = Page()
        assert [await page.join("s") for _ in range(10)] == [True] * 8 + [False] * 2
        assert await page.join("other")
        page.fetch("s")
        assert await page.join("s")

    asyncio.run(work())


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from("aaab"), st.integers(0, 30), st.booleans()), max_size=80))
def test_no_more_visitors_are_held_for_than_there_is_room_for(visits: list[tuple[str, int, bool]]) -> None:
    async def work(page: Page) -> None:
        held = Counter[str]()
        for client, number, fetched in visits:
            session = f"{client}{number}"
            was_let_in = await page.join(session, client)
            pending = page.pending_messages_per_session
            held = Counter(one[0] for one, queue in pending.items() if not queue.empty())
            assert len(pending) <= 5
            assert set(page.pending_event_ids_session) == set(pending)
            assert was_let_in or len(page.pending_event_ids_session.get(session, ())) == 8 or held[client] > 1
            if fetched and session in pending:
                page.fetch(session)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gate, "VISITORS", 5)
        asyncio.run(work(Page()))


def test_a_crowd_loses_its_first_visitor_to_another_client() -> None:
    async def work() -> None:
        page = Page()
        assert [await page.join(f"a{i}", "a") for i in range(6)] == [True] * 5 + [False]
        assert await page.join("b0", "b")
        assert page.cleaned == ["a0"]
        assert set(page.pending_messages_per_session) == {"a1", "a2", "a3", "a4", "b0"}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(gate, "VISITORS", 5)
        asyncio.run(work())
