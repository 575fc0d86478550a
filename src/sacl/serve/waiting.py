"""Requests that are accepted and not answered yet: how many there are, and whose."""

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
    is_lost: bool = False
    is_read: bool = False


class Waiting:
    """So many places; where all are taken, the client that has most of them loses its last one to another.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._places: dict[Place, None] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._places)

    async def all_gone(self) -> None:
        """Waits until no place is taken."""
        await self._empty.wait()

    @contextmanager
    def place(self) -> Iterator[Place]:
        """One of them, for as long as this lasts.

        Raises:
            Unavailable: there is none, or it was lost to another client; then what the task waited for is cancelled.
        """
        if len(self._places) >= self._most:
            self._make_room()
        own = Place(CLIENT.get(), asyncio.current_task())
        self._places[own] = None
        self._empty.clear()
        try:
            yield own
        except asyncio.CancelledError:
            if not own.is_lost or (own.task is not None and own.task.uncancel()):
                raise
            raise self._full() from None
        finally:
            self._places.pop(own, None)
            if not self._places:
                self._empty.set()

    def _make_room(self) -> None:
        of = Counter(place.client for place in self._places)
        crowd, number = of.most_common(1)[0]
        if number <= of[CLIENT.get()] + 1:
            raise self._full()
        theirs = (place for place in reversed(self._places) if place.client == crowd and not place.is_read)
        last = next(theirs, None)
        if last is None:
            raise self._full()
        del self._places[last]
        last.is_lost = True
        if last.task is not None:
            last.task.cancel()

    def _full(self) -> Unavailable:
        return Unavailable(f"{self._most} requests wait already", "Try again in a moment", 1)
