"""Bodies of requests while they arrive: how large one gets, how long it takes, and how much all of them hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from math import inf

from starlette.responses import Response
from starlette.types import Message, Receive

from sacl.serve.answers import refusal
from sacl.serve.limits import Limits
from sacl.serve.wire import Gone

_DRAINED = 4
"""A body that is refused is read on, and thrown away, up to so many times the limit: most clients send all of it
before they look at an answer."""
_SMALL = 2**16
"""Bytes of every body that are not counted among those of all: a socket holds as much unread in any case, and so small
requests are taken while a few clients hold the rest."""
_CLOSE = {"connection": "close"}


_CHARGED = 2**14
"""A request counts as one in the rate of its client, and as another for so many bytes of its body: some 20 texts, which
take a tenth of a second."""


class Refused(Exception):
    """Carries the answer."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer


class Bodies:
    """Those of all requests.

    Args:
        limits: `body_bytes`, `body_seconds`, and `arriving`.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = 0
        self.are_last = False
        self._until = inf
        self._waits: set[asyncio.Timeout] = set()

    def end(self, seconds: float) -> None:
        """The server stops: what has not arrived after so long is refused."""
        self.are_last, self._until = True, asyncio.get_running_loop().time() + seconds
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(min(self._until, wait.when() or inf))

    async def receive(self, receive: Receive, until: float) -> Message:
        """The next message; a TimeoutError at that moment of the loop's clock, or after `end`."""
        async with asyncio.timeout_at(min(until, self._until)) as wait:
            self._waits.add(wait)
            try:
                return await receive()
            finally:
                self._waits.discard(wait)


class Body:
    """That of one request, within a running loop.

    Args:
        bodies: those of all requests.
        receive: gives its messages.
        charge: told of what counts as so many requests, as soon as it has arrived.

    Attributes:
        seen: bytes that have arrived.
        refusal: the answer where it was not taken, in place of whatever the app makes of that.
    """

    def __init__(self, bodies: Bodies, receive: Receive, charge: Callable[[int], None]) -> None:
        self.refusal: Response | None = None
        self._bodies, self._limits, self._receive = bodies, bodies.limits, receive
        self._charge = charge
        self._until = asyncio.get_running_loop().time() + self._limits.body_seconds
        self.seen, self._held, self._has_ended = 0, 0, False

    async def receive(self) -> Message:
        """The next message for the app.

        Raises:
            Refused: it is too large or too slow, too much arrives at once, or the server stops.
        """
        if self.refusal is not None:
            raise Refused(self.refusal)
        if self._has_ended:
            return await self._receive()
        try:
            message = await self._bodies.receive(self._receive, self._until)
        except TimeoutError:
            self.refusal = self._too_late()
            raise Refused(self.refusal) from None
        if message["type"] == "http.disconnect":
            self.refusal, self._has_ended = Gone(), True
            return message
        self._count(message)
        return message

    def release(self) -> None:
        """What was received is held no more, or is the app's: it answers for that by `Limits`."""
        self._bodies.held -= self._held
        self._held = 0

    async def drain(self) -> None:
        """Reads what is left of it and throws it away, in the time that it has."""
        most = _DRAINED * self._limits.body_bytes
        with suppress(TimeoutError):
            while most > 0 and not self._has_ended:
                message = await self._bodies.receive(self._receive, self._until)
                most -= len(message.get("body", b""))
                self._see(message)  # a disconnect ends it as well

    def too_large(self) -> Response:
        """The answer to that."""
        found = f"the request has more than {self._limits.body_bytes} bytes"
        return refusal(413, found, remedy="Send fewer conversations at a time", headers=_CLOSE)

    def _count(self, message: Message) -> None:
        self._see(message)
        new = max(0, self.seen - _SMALL) - self._held
        if self.seen > self._limits.body_bytes:
            self.refusal = self.too_large()
        elif self._has_ended:
            self.release()
        elif self._bodies.held + new > self._limits.arriving * self._limits.body_bytes:
            self.refusal = _too_much()
        else:
            self._bodies.held += new
            self._held += new
        if self.refusal is not None:
            raise Refused(self.refusal)

    def _see(self, message: Message) -> None:
        before = self.seen
        self.seen += len(message.get("body", b""))
        self._has_ended = not message.get("more_body")
        self._charge(self.seen // _CHARGED - before // _CHARGED)

    def _too_late(self) -> Response:
        if self._bodies.are_last:
            headers = _CLOSE | {"retry-after": "5"}
            return refusal(503, "the server is stopping", remedy="Try again in a moment", headers=headers)
        found = f"the request did not arrive within {self._limits.body_seconds:g} s"
        return refusal(408, found, remedy="Send fewer conversations at a time", headers=_CLOSE)


def _too_much() -> Response:
    found = "the requests that are arriving hold too much"
    return refusal(503, found, remedy="Try again in a moment", headers=_CLOSE | {"retry-after": "1"})
