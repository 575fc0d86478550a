"""One thread that reads whatever waits, together; a long conversation is encoded in portions between the others'."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from threading import Thread, current_thread
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from sacl.conversation import Conversation
from sacl.errors import SaclError
from sacl.features.encoder import Encoder
from sacl.serve.client import CLIENT
from sacl.serve.errors import Unavailable
from sacl.serve.log import described, log
from sacl.serve.metrics import Metrics

T = TypeVar("T")

_CHARACTERS = 2_000
"""About how many are encoded in one portion, 0.1 to 0.2 s on one processor."""
_OF_LONG = 500
"""About how many are encoded of jobs that are longer than a portion: a new request may have to wait for so many."""
_STEP_SECONDS = 300
"""A thread that is at one step for longer does not come back: a step is a portion of texts, or one conversation."""
_LOOK_SECONDS = 1.0
"""How often it is looked whether the thread still lives."""


@dataclass(eq=False, slots=True)
class Job:
    """Conversations to be read for one request.

    Args:
        conversations: all with vectors, or all with texts and an encoder.
        encoder: what makes vectors of the texts.
        finish: called with jobs whose vectors are there; gives one result a job. Jobs whose functions are equal are
            handed over together.
        future: resolved with the job's result; once it is cancelled no more work is done.
        client: who asks.
    """

    conversations: Sequence[Conversation]
    encoder: Encoder | None
    finish: Callable[[Sequence[Job]], Sequence[Any]]
    future: asyncio.Future[Any]
    client: str = field(default_factory=CLIENT.get)
    texts: list[str] = field(init=False)
    vectors: list[np.ndarray] = field(init=False, default_factory=list)
    left: int = field(init=False)
    """Characters of texts that have no vector yet."""

    def __post_init__(self) -> None:
        utterances = [u for c in self.conversations for u in c.utterances]
        self.texts = [] if utterances[0].vector is not None else [u.text or "" for u in utterances]
        self.left = sum(map(weight, self.texts))

    def add(self, vectors: Sequence[np.ndarray]) -> None:
        """Those of the next texts."""
        self.left -= sum(map(weight, self.texts[len(self.vectors) :][: len(vectors)]))
        self.vectors += vectors

    def encoded(self) -> list[Conversation]:
        """The conversations with their vectors."""
        if not self.texts:
            return list(self.conversations)
        vectors = iter(self.vectors)
        return [
            Conversation(c.id, [replace(u, vector=next(vectors)) for u in c.utterances]) for c in self.conversations
        ]


class Worker:
    """Jobs of one event loop, read by one thread.

    Args:
        together: most jobs that are looked at in one step.
        metrics: told of every step.
        probe: called in the thread after a fault; where it fails too, the fault is no request's own.
    """

    def __init__(self, together: int, metrics: Metrics, probe: Callable[[], object]) -> None:
        self._together, self._metrics, self._probe = together, metrics, probe
        self._jobs: list[Job] = []
        self._begun: float | None = None
        self._is_broken = False
        self._wake = asyncio.Event()
        self._reader: Thread | None = None
        self._thread = ThreadPoolExecutor(1, "sacl-serve", self._note_thread)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def do(
        self,
        conversations: Sequence[Conversation],
        encoder: Encoder | None,
        finish: Callable[[Sequence[Job]], Sequence[Any]],
    ) -> Any:
        """The job's result. Cancelling drops the job, at once if it waits, else after the portion that is read.

        Raises:
            Unavailable: the worker is not well.
        """
        job = Job(conversations, encoder, finish, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._wake.set()
        return await job.future

    async def call(self, function: Callable[[], T]) -> T:
        """What a function gives, called in the thread.

        Raises:
            Unavailable: the thread has ended, or does not come back.
        """
        called = asyncio.get_running_loop().run_in_executor(self._thread, self._called, function)
        try:
            while not called.done():
                if self._has_ended:
                    raise _unwell()
                await asyncio.wait({called}, timeout=_LOOK_SECONDS)
            return called.result()
        finally:
            called.cancel()

    @property
    def is_well(self) -> bool:
        """Whether its thread lives, comes back, and does not fail with whatever it reads."""
        return not (self._has_ended or self._is_broken)

    @property
    def _has_ended(self) -> bool:
        begun, thread = self._begun, self._reader
        is_late = begun is not None and perf_counter() - begun > _STEP_SECONDS
        return is_late or self._task.done() or (thread is not None and not thread.is_alive())

    def _note_thread(self) -> None:
        self._reader = current_thread()

    def _called(self, function: Callable[[], T]) -> T:
        self._begun = perf_counter()
        try:
            return contained(function)
        finally:
            self._begun = None

    async def stop(self) -> None:
        """Ends the thread; jobs that are left are cancelled."""
        self._task.cancel()
        for job in self._jobs:
            job.future.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    async def _run(self) -> None:
        while True:
            self._jobs = [job for job in self._jobs if not job.future.done()]
            if not self._jobs:
                self._wake.clear()
                await self._wake.wait()
                continue
            jobs = in_turn(self._jobs)[: self._together]
            try:
                outcomes = await self.call(partial(self._judged_step, jobs))
            except Exception as error:  # not of a step, but of the thread: whoever waits is to hear of it
                outcomes = [(job, self._broken(error)) for job in jobs]
            for job, result in outcomes:
                if job.future.done():
                    continue
                if isinstance(result, Exception):
                    job.future.set_exception(result)
                else:
                    job.future.set_result(result)

    def _judged_step(self, jobs: Sequence[Job]) -> list[tuple[Job, Any]]:
        """As `_step`, with faults of jobs told from those that every job would meet."""
        try:
            outcomes = self._step(jobs)
        except Exception as error:
            outcomes = [(job, error) for job in jobs]
        if any(_is_fault(result) for _, result in outcomes):
            try:
                self._probe()
            except Exception as error:
                broken = self._broken(error)
                return [(job, broken if _is_fault(result) else result) for job, result in outcomes]
        self._is_broken = False
        return outcomes

    def _broken(self, error: Exception) -> Unavailable:
        """What is told of a fault of the worker's own; the log names it."""
        self._is_broken = True
        log.error("fault", extra={"fields": described(error)})
        return _unwell()

    def _step(self, jobs: Sequence[Job]) -> list[tuple[Job, Any]]:
        """Encodes a portion, and finishes the jobs that lack no vector any more; an error stands for a result."""
        begun = perf_counter()
        portions = portioned(jobs, _CHARACTERS)
        texts = sum(map(len, portions.values()))
        outcomes = []
        for encoder, asking in _grouped(portions, lambda job: job.encoder):
            outcomes += alone_if_need_be(asking, partial(_encode, encoder, portions))
        failed = [(job, result) for job, result in outcomes if result is not None]
        wrong = {job for job, _ in failed}
        ready = [job for job in jobs if not job.left and job not in wrong and not job.future.cancelled()]
        done = []
        for finish, some in _grouped(ready, lambda job: job.finish):
            done += alone_if_need_be(some, finish)
        self._metrics.step(len({*portions, *ready}), texts, perf_counter() - begun)
        return failed + done


def in_turn(jobs: Sequence[Job]) -> list[Job]:
    """Who comes first: in turn the job that is done soonest, and the one that waits longest; of each client one first.

    So nobody waits for a long job, no long job waits for ever, and no client's many jobs for another's one.
    """
    soonest = _one_of_each(sorted(jobs, key=lambda job: job.left))
    return list(dict.fromkeys(chain.from_iterable(zip(soonest, _one_of_each(jobs), strict=True))))


def _one_of_each(jobs: Iterable[Job]) -> list[Job]:
    """The first job of every client, then the second of each, and so on."""
    places = Counter[str]()
    placed = []
    for job in jobs:
        placed.append((places[job.client], job))
        places[job.client] += 1
    return [job for _, job in sorted(placed, key=lambda one: one[0])]


def portioned(jobs: Iterable[Job], characters: int) -> dict[Job, list[str]]:
    """What is encoded next: half of so many characters for each of two orders, see `in_turn`.

    Jobs that have more than so many left share a small portion of their own: short ones come while they are read.
    """
    asking = [job for job in jobs if job.left]
    short = [job for job in asking if job.left <= characters]
    soonest, long = sorted(short, key=lambda job: job.left), [job for job in asking if job.left > characters]
    portions: dict[Job, list[str]] = {}
    for order, room in ((soonest, characters / 2), (short, characters / 2), (long, min(_OF_LONG, characters))):
        for job in _one_of_each(order):
            portion = portions.setdefault(job, []) if room > 0 else portions.get(job, [])
            while room > 0 and len(job.vectors) + len(portion) < len(job.texts):
                text = job.texts[len(job.vectors) + len(portion)]
                portion.append(text)
                room -= weight(text)
    return portions


def weight(text: str) -> int:
    """Characters that it counts as: an encoder adds tokens of its own, and cuts a long text."""
    return 20 + min(len(text), 1000)


def _is_fault(result: object) -> bool:
    return isinstance(result, Exception) and not isinstance(result, SaclError)


def _unwell() -> Unavailable:
    return Unavailable("a part of the server has ended, or does not go on", "Try again in a minute", 60)


def contained(function: Callable[[], T]) -> T:
    """What it gives; what would end the process if it went on to the event loop is an error like others."""
    try:
        return function()
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"{type(error).__name__} in a thread") from error


def alone_if_need_be(jobs: Sequence[Job], work: Callable[[Sequence[Job]], Sequence[Any]]) -> list[tuple[Job, Any]]:
    """Each job with its result. Where the work fails it is tried job by job, so that a fault stays with its own."""
    try:
        return list(zip(jobs, work(jobs), strict=True))
    except Exception as error:
        if len(jobs) == 1:
            return [(jobs[0], error)]
        return [outcome for job in jobs for outcome in alone_if_need_be([job], work)]


def _encode(encoder: Encoder | None, portions: dict[Job, list[str]], jobs: Sequence[Job]) -> Sequence[None]:
    assert encoder is not None  # texts are let in only where there is one
    rows = iter(encoder.encode([text for job in jobs for text in portions[job]]))
    for job in jobs:
        job.add([next(rows) for _ in portions[job]])
    return [None] * len(jobs)


def _grouped(jobs: Iterable[Job], key: Callable[[Job], Any]) -> list[tuple[Any, list[Job]]]:
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        groups.setdefault(key(job), []).append(job)
    return list(groups.items())
