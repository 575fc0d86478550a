"""Requests that are accepted and not answered yet: how many or how large they are, and whose."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sacl.serve.client import CLIENT
from sacl.serve.errors import Unavailable


@dataclass(eq=False, slots=True)
class Place:
    """That of one request; while its job is read it is not lost, for what is read cannot be unread."""

    client: str = ""
    task: asyncio.Task[Any] | None = None
    size: int = 1
    is_lost: bool = False
    is_read: bool = False


class Waiting:
    """So much room; where all is taken, the client that has most of it loses its last place to another.

    Args:
        most: how much; for requests of size 1 how many of them.
    """

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._places: dict[Place, None] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._places)

    async def all_gone(self) -> None:
        """Waits until no place is taken."""
        await self._empty.wait()

    @contextmanager
    def place(self, size: int = 1) -> Iterator[Place]:
        """One of them, for as long as this lasts.

        Raises:
            Unavailable: there is none, or it was lost to another client; then what the task waited for is cancelled.
        """
        if self._taken + size > self._most:
            self._make_room(size)
        own = Place(CLIENT.get(), asyncio.current_task(), size)
        self._places[own] = None
        self._taken += size
        self._empty.clear()
        try:
            yield own
        except asyncio.CancelledError:
            if not own.is_lost or (own.task is not None and own.task.uncancel()):
                raise
            raise self._full() from None
        finally:
            self._free(own)

    def _make_room(self, size: int) -> None:
        of, lost = Counter[str](), dict[Place, None]()
        for place in self._places:
            of[place.client] += place.size
        needed = self._taken + size - self._most
        while needed > 0:
            crowd, most = of.most_common(1)[0] if of else ("", 0)
            theirs = (p for p in reversed(self._places) if p.client == crowd and not p.is_read and p not in lost)
            last = next(theirs, None)
            if most <= of[CLIENT.get()] + size or last is None:
                raise self._full()  # before anybody has lost anything
            lost[last] = None
            of[crowd] -= last.size
            needed -= last.size
        for place in lost:
            self._free(place)
            place.is_lost = True
            if place.task is not None:
                place.task.cancel()

    def _free(self, place: Place) -> None:
        if place in self._places:
            del self._places[place]
            self._taken -= place.size
        if not self._places:
            self._empty.set()

    def _full(self) -> Unavailable:
        return Unavailable("too much waits already", "Try again in a moment", 1)
