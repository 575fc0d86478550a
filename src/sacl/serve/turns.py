"""Whose turn it is: nobody's one request waits for another's many."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sacl.serve.worker import Job

CHARACTERS = 2_000
"""About how many are read in one step where one client waits alone, 0.1 to 0.2 s on one processor; a job that has more
is long."""
_SHARED = 300
"""About how many where others wait, some 20 to 50 ms."""
_OF_LONG = 500
"""About how many of a long job: a new request may have to wait for so many."""
_HALVED = 5.0
"""Seconds after which what a client has used counts half."""
_PASS = 4
"""Requests that begin in one pass of the event loop, a millisecond or so each."""


class Shares:
    """Seconds of a worker that each client used of late: the one that used least comes first.

    Args:
        together: most jobs in one step.
        clock: seconds from any fixed moment.
    """

    def __init__(self, together: int, clock: Callable[[], float] = monotonic) -> None:
        self._together, self._clock = together, clock
        self._used: dict[str, float] = {}
        self._halved = clock()
        self._oldest_first = set[str]()

    def step(self, jobs: Sequence[Job]) -> dict[Job, list[str]]:
        """What is done next: the jobs, and the texts of each that are encoded.

        Either a portion of one long job, or short ones; a client's soonest done and longest waiting are first in turn.
        """
        placed = self._in_turn(jobs)
        first = placed[0]
        self._oldest_first ^= {first.client}
        if first.left > CHARACTERS:
            return {first: first.next(_OF_LONG)}
        room = CHARACTERS if len({job.client for job in jobs}) == 1 else _SHARED
        portions: dict[Job, list[str]] = {}
        for job in placed:
            if room > 0 and len(portions) < self._together and job.left <= CHARACTERS:
                portions[job] = job.next(room)
                room -= job.cost(portions[job])
        return portions

    def used(self, costs: dict[Job, int], seconds: float) -> None:
        """Counts a step to those that it was for, by what each of its jobs cost."""
        now = self._clock()
        halves = (now - self._halved) // _HALVED
        if halves:
            self._halved += halves * _HALVED
            self._used = {one: left for one, used in self._used.items() if (left := used / 2**halves) > 0.001}
        for job, cost in costs.items():
            self._used[job.client] = self._used.get(job.client, 0.0) + seconds * cost / sum(costs.values())

    def _in_turn(self, jobs: Sequence[Job]) -> list[Job]:
        """One of each client, who used least before the others; then the second of each, and so on."""
        of: dict[str, list[Job]] = {}
        for job in jobs:
            of.setdefault(job.client, []).append(job)
        self._oldest_first &= of.keys()
        placed: list[tuple[int, float, Job]] = []
        for client, theirs in of.items():
            used = self._used.get(client, 0.0)
            both = [sorted(theirs, key=lambda job: job.left + len(job)), theirs]
            orders = both[::-1] if client in self._oldest_first else both
            mixed = dict.fromkeys(chain.from_iterable(zip(*orders, strict=True)))
            placed += [(place, used, job) for place, job in enumerate(mixed)]
        return [job for _, _, job in sorted(placed, key=lambda one: one[:2])]


class Turns:
    """Requests that begin: a few in each pass of the event loop, one of each client in turn."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def wait(self, client: str) -> None:
        """Until it is this request's turn; where no other waits that is the next pass."""
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._grant)
        self._waiting.setdefault(client, deque()).append(turn)
        await turn

    def _grant(self) -> None:
        for _ in range(_PASS):
            client = next(iter(self._waiting))
            theirs = self._waiting.pop(client)
            turn = theirs.popleft()
            if theirs:
                self._waiting[client] = theirs  # behind the others
            if not turn.done():
                turn.set_result(None)
            if not self._waiting:
                return
        asyncio.get_running_loop().call_soon(self._grant)
