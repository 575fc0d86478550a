"""Connections: how many there are, and how long a client may let the server wait.

Beneath ASGI, since a client that never ends its request, or never reads its answer, is not seen there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h11
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from sacl.serve.answers import refusal
from sacl.serve.client import Proxies, client_of
from sacl.serve.limits import Limits

_SHARE = 4
"""One client has at most a fourth of all connections."""
_CUT = 10
"""Where there is no room a tenth of a crowd goes, so that room is seldom looked for."""


class Connections:
    """Those of one server.

    A new one is let in, unless all others of its client are being answered. Where there is no room, the client that has
    the most loses those in which it kept the server waiting longest: whoever sends a request at once, and reads its
    answer, is served whatever others hold open.

    Args:
        limits: `connections`, `head_seconds`, `answer_seconds`.
        proxies: each of whose connections may be another client's.
    """

    def __init__(self, limits: Limits, proxies: Proxies) -> None:
        self.limits, self.proxies = limits, proxies
        self._of: dict[str, dict[Connection, None]] = {}
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, new: Connection) -> None:
        """Lets it in, and others out if need be."""
        own = self._of.setdefault(new.address, {})
        own[new] = None
        self._number += 1
        if len(own) > max(1, self.limits.connections // _SHARE):
            self._make_room(own)
        elif self._number > self.limits.connections:
            crowd = max(self._of.values(), key=len)
            others = [one for some in self._of.values() for one in some if one is not new]
            has_crowd = len(crowd) * _CUT >= self._number or not any(one.is_waiting for one in others)
            self._make_room(crowd if has_crowd else others)

    def discard(self, one: Connection) -> None:
        """It is closed."""
        own = self._of.get(one.address, {})
        if one in own:
            del own[one]
            self._number -= 1
        if not own:
            self._of.pop(one.address, None)

    def end_late(self, now: float) -> None:
        """Ends those whose client took too long; to be called every second or so."""
        for one in [one for some in self._of.values() for one in some]:
            one.end_if_late(now)

    def _make_room(self, crowd: Iterable[Connection]) -> None:
        oldest_first = sorted(crowd, key=lambda one: one.since)
        waiting = [one for one in oldest_first if one.is_waiting]
        for one in waiting[: 1 + len(oldest_first) // _CUT] or oldest_first[:1]:
            self.discard(one)
            one.transport.abort()


class Connection(H11Protocol):
    """One connection, as uvicorn makes it.

    Attributes:
        address: of the client; of a proxy's connection, itself.
        since: the moment of the last step that was done: the connection, a whole head, a whole answer.
    """

    def __init__(self, all: Connections, client_of_socket: dict[int, str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._all, self._client_of_socket, self.address = all, client_of_socket, ""
        self.since = self.loop.time()
        self._unread_since: float | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_waiting(self) -> bool:
        """Whether it is the client's turn: its request has not arrived whole, or its answer is not fetched."""
        return self.is_idle or self.cycle.more_body or self.transport.get_write_buffer_size() > 0

    def connection_made(self, transport: Any) -> None:
        """There is a client."""
        super().connection_made(transport)
        self.address = client_of(self.client)
        if self.client is not None and self.client in self._all.proxies:
            self.address = " ".join(map(str, self.client))
        self._descriptor = transport.get_extra_info("socket").fileno()
        self._client_of_socket[self._descriptor] = self.address
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It went, or was cut."""
        self._all.discard(self)
        self._client_of_socket.pop(self._descriptor, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or of several."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self.since = self.loop.time()

    def on_response_complete(self) -> None:
        """The next request may begin."""
        self.since = self.loop.time()
        super().on_response_complete()

    def end_if_late(self, now: float) -> None:
        """Ends it where the client has not sent a head, or not read an answer, in time."""
        limits = self._all.limits
        if not self.transport.get_write_buffer_size():
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > limits.answer_seconds:
            self.transport.abort()
        if not self.is_idle or now - self.since <= limits.head_seconds or self.transport.is_closing():
            return
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            found = f"the head of the request did not arrive within {limits.head_seconds:g} s"
            self._refuse(refusal(408, found, remedy="Send it in one piece"))
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Instead of uvicorn's, which knows neither our shape of errors nor an answer that was begun."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        if not self.is_idle:  # the app reads on, and is told that nobody is there any more
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._refuse(refusal(400, "the request is not HTTP", remedy="Send HTTP/1.1, with a head of 16 KiB at most"))

    def _refuse(self, answer: Response) -> None:
        headers = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
        status, body = answer.status_code, bytes(answer.body)
        start = h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status])
        for event in (start, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
