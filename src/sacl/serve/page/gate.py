"""What stands before Gradio: it is asked for no more than the page asks, and holds no more than visitors need."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from types import SimpleNamespace
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from sacl.errors import DataError, SaclError
from sacl.serve import wire
from sacl.serve.client import CLIENT
from sacl.serve.errors import Unavailable
from sacl.serve.log import described, log
from sacl.serve.service import Service
from sacl.serve.turns import Turns

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

VISITORS = 100
"""Whose results are held at the same time; those of the one who was away longest are forgotten first."""
_UNREAD = 8
"""Events of one visitor whose outcome was not fetched: Gradio holds it until it is."""

OPEN = (
    "/config",
    "/static/",
    "/assets/",
    "/theme.css",
    "/favicon.ico",
    "/manifest.json",
    "/gradio_api/info",
    "/gradio_api/startup-events",
    "/gradio_api/heartbeat/",
    "/gradio_api/queue/join",
    "/gradio_api/queue/data",
    "/gradio_api/cancel",
    "/gradio_api/reset",
)
"""Beginnings of the paths that the page uses. Others upload files, proxy requests, or keep what was typed in links."""
_DEAR = ("/", "/config", "/gradio_api/queue/join")
"""What takes Gradio long: 10 to 30 ms, in pieces in which nobody else goes on."""
_PAUSE, _AT_A_TIME = 0.05, 60
"""Seconds between two of those, and how many of one client may wait."""
_JOIN, _DATA = "/gradio_api/queue/join", "/gradio_api/queue/data"
_KEYS = ("data", "event_data", "event_id", "fn_index", "trigger_id", "session_hash")

POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""The browser is to load nothing from elsewhere. Gradio makes functions of strings, so that these must be let."""


class Gate:
    """Lets through what the page sends, and tells the browser to load nothing from elsewhere.

    Args:
        page: Gradio's application.
        blocks: what it shows, of gr.Blocks.
        service: reads large bodies aside.

    Attributes:
        visitors: client of each session of a visitor for whom something is held.
    """

    def __init__(self, page: Callable[..., Awaitable[None]], blocks: Any, service: Service) -> None:
        self._page, self._blocks, self._service = page, blocks, service
        self._turns = Turns(_PAUSE, _AT_A_TIME)
        self.visitors: dict[str, str] = {}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request.

        Raises:
            HTTPException, SaclError: it is refused.
        """
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == "/" or path.startswith(OPEN)):
            raise HTTPException(404)
        if path in _DEAR:
            await self._turns.wait(CLIENT.get())
        if scope["method"] == "POST":
            body = await Request(scope, receive).body()
            asked = await self._service.parsed(_event, body)
            self._check(asked, path == _JOIN)
            if path == _JOIN:
                await self._admit(asked["session_hash"])
            receive = _again(body, receive)
        elif path == _DATA and not self._is_known(Request(scope).query_params.get("session_hash", "")):
            raise HTTPException(404)  # Gradio begins an answer, and fails in it
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"content-security-policy", POLICY.encode())]
                message = {**message, "headers": headers}
            if status < 400:
                await send(message)

        await self._page(scope, receive, sent)
        if status >= 400:  # in our words: Gradio's quote what was sent
            raise _refused(status)

    def _is_known(self, session: str) -> bool:
        return session in self._blocks._queue.pending_messages_per_session

    def _check(self, asked: dict[str, Any], is_event: bool) -> None:
        """Refuses what the page does not send: Gradio fails at it, or takes it for a file of this machine."""
        if not is_event:
            if not all(map(_is_plain, asked.values())):
                raise _refused(400)
            return
        index, data, event, session = (asked.get(key) for key in ("fn_index", "data", "event_data", "session_hash"))
        fn = self._blocks.fns.get(index) if type(index) is int else None
        if (
            fn is None
            or fn.fn is None
            or not isinstance(data, list)
            or len(data) != len(fn.inputs)
            or not all(map(_fits, fn.inputs, data))
            or not (event is None or (isinstance(event, dict) and all(map(_is_plain, event.values()))))
            or not isinstance(asked.get("trigger_id"), int | None)
            or asked.get("event_id") is not None
            or not (isinstance(session, str) and 0 < len(session) <= 64)
        ):
            raise _refused(400)

    async def _admit(self, session: str) -> None:
        """Makes room where too much is held; the client that has most visitors loses the first of them to another."""
        queue, client = self._blocks._queue, CLIENT.get()
        pending, unread = queue.pending_messages_per_session, queue.pending_event_ids_session
        for one in list(self.visitors):
            if one not in pending or (pending[one].empty() and not unread.get(one)):
                await self._forget(one)
        if len(unread.get(session, ())) >= _UNREAD:
            raise _full()
        while session not in self.visitors and len(self.visitors) >= VISITORS:  # others come while one is forgotten
            of = Counter(self.visitors.values())
            crowd, most = of.most_common(1)[0]
            if most <= of[client] + 1:
                raise _full()
            await self._forget(next(one for one, theirs in self.visitors.items() if theirs == crowd))
        self.visitors.setdefault(session, client)

    async def _forget(self, session: str) -> None:
        queue = self._blocks._queue
        self.visitors.pop(session, None)
        await queue.clean_events(session_hash=session)
        queue.pending_messages_per_session.pop(session, None)
        queue.pending_event_ids_session.pop(session, None)


def _event(body: bytes) -> dict[str, Any]:
    return wire.read_object(body, _KEYS)


def quiet() -> None:
    """Has Gradio log its faults as all others are: a traceback of its own quotes what was typed."""
    from gradio import queueing, route_utils, routes

    def noted() -> None:
        error = sys.exc_info()[1]
        log.error("fault", extra={"fields": described(error) if error else {}})

    for module in (queueing, route_utils, routes):
        module.traceback = SimpleNamespace(print_exc=noted)  # type: ignore[attr-defined]


def _again(body: bytes, receive: Receive) -> Receive:
    """What receives a body that was read already, and then what comes after it."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return messages.pop() if messages else await receive()

    return received


def _fits(component: Any, value: object) -> bool:
    """Whether a component of the page may have sent it."""
    match component.get_block_name():
        case "state":
            return value is None
        case "slider":
            return type(value) in (int, float) and component.minimum <= value <= component.maximum
        case kind:
            return kind == "textbox" and (value is None or isinstance(value, str))


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _refused(status: int) -> Exception:
    if status >= 500:
        return _full() if status == 503 else RuntimeError("the page failed")
    if status in (403, 404, 405):
        return HTTPException(status)
    return DataError("it is nothing that the page sends", where="request", remedy="Load the page anew")


def _full() -> SaclError:
    return Unavailable("too much waits on the page already", "Try again in a moment", 5)
