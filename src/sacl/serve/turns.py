"""Whose turn it is: nobody's one request waits for another's many."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from sacl.serve.errors import Unavailable
from sacl.serve.fairness import VirtualTime

if TYPE_CHECKING:
    from sacl.serve.worker import Job

CHARACTERS = 500
"""Of a long conversation, which takes some 20 ms on two processors."""


class Shares:
    """The seconds of a worker, half for short jobs and half for long ones; in each half clients share by virtual time.

    Args:
        together: most jobs in one step.
        characters: a job that has more is long. About twice as many are read in one step where one client waits, and
            a third where others do: a new request may have to wait for so many.
    """

    def __init__(self, together: int, characters: int = CHARACTERS) -> None:
        self._together, self._characters = together, characters
        self._kinds, self._clients = VirtualTime(), VirtualTime()
        self._kind = ""

    def step(self, jobs: Sequence[Job]) -> dict[Job, list[str]]:
        """What is done next: the jobs, and the texts of each that are encoded.

        Either a portion of one long job, or short ones; those of one client in the order in which they came.
        """
        of: dict[str, list[Job]] = {}
        for job in jobs:
            of.setdefault("long" if job.left > self._characters else "short", []).append(job)
        self._kind = min(sorted(of, reverse=True), key=self._kinds.stands)
        placed = self._in_turn(of[self._kind])
        self._kinds.served(self._kind)
        self._clients.served(placed[0].client)
        is_alone = len({job.client for job in jobs}) == 1
        room = 2 * self._characters if is_alone else self._characters // 3
        if self._kind == "long":
            return {placed[0]: placed[0].next(room)}
        portions: dict[Job, list[str]] = {}
        for job in placed[: self._together]:
            if room > 0:
                portions[job] = job.next(room)
                room -= job.cost(portions[job])
        return portions

    def used(self, costs: dict[Job, int], seconds: float) -> None:
        """Counts a step to those that it was for, by what each of its jobs cost."""
        self._kinds.used(self._kind, seconds)
        for job, cost in costs.items():
            self._clients.used(job.client, seconds * cost / sum(costs.values()))

    def rest(self) -> None:
        """No job waits."""
        self._kinds.rest()
        self._clients.rest()

    def _in_turn(self, jobs: Sequence[Job]) -> list[Job]:
        """One of each client, in the order of virtual time; then the second of each, and so on."""
        before = Counter[str]()
        placed: list[tuple[int, tuple[float, float], Job]] = []
        for job in jobs:
            placed.append((before[job.client], self._clients.stands(job.client), job))
            before[job.client] += 1
        return [job for _, _, job in sorted(placed, key=lambda one: one[:2])]


class Turns:
    """Requests that begin one after another, which clients share by virtual time; one costs 1.

    Args:
        pause: seconds from one to the next; without it they begin in passes of the event loop of their own.
        most: of one client that wait.
    """

    def __init__(self, pause: float = 0.0, most: float = inf) -> None:
        self._pause, self._most, self._time = pause, most, VirtualTime()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        self._last = -inf

    async def wait(self, client: str) -> None:
        """Until it is this request's turn; where no other waits or went before, that is the next pass.

        Raises:
            Unavailable: too many of this client wait.
        """
        if len(self._waiting.get(client, ())) >= self._most:
            raise Unavailable("too much waits already", "Try again in a moment", 1)
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        if not self._waiting:
            self._grant_next(loop)
        self._waiting.setdefault(client, deque()).append(turn)
        await turn

    def _grant_next(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._pause:
            loop.call_at(self._last + self._pause, self._grant)
        else:
            loop.call_soon(self._grant)

    def _grant(self) -> None:
        loop = asyncio.get_running_loop()
        client = min(self._waiting, key=self._time.stands)
        theirs = self._waiting.pop(client)
        turn = theirs.popleft()
        if theirs:
            self._waiting[client] = theirs  # behind the others that stand where it does
        if not turn.done():
            turn.set_result(None)
            self._time.served(client)
            self._time.used(client, 1.0)
            self._last = loop.time()
        if self._waiting:
            self._grant_next(loop)
