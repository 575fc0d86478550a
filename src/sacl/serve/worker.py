"""One thread that reads whatever waits, together; a long conversation is encoded in portions between the others'."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
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
from sacl.serve.turns import CHARACTERS, Shares
from sacl.serve.waiting import Place

T = TypeVar("T")

_STEP_SECONDS = 300
"""A thread that is at one step for longer does not come back: a step is a portion of texts, or what is done aside for
one request, some 10 s for the influence of all turns that one may ask for."""
_LOOK_SECONDS = 1.0
"""How often it is looked whether the thread still lives."""


Finish = Callable[[Sequence["Job"]], Sequence[Any]]


@dataclass(eq=False, slots=True)
class Job:
    """Conversations to be read for one request, or none and something else to be done for it.

    Args:
        conversations: all with vectors, or all with texts and an encoder.
        encoder: what makes vectors of the texts.
        finish: called with jobs whose vectors are there; gives one result a job. Jobs whose functions are equal are
            handed over together.
        future: resolved with the job's result; once it is cancelled no more work is done.
        place: that of the request.
        client: who asks.
    """

    conversations: Sequence[Conversation]
    encoder: Encoder | None
    finish: Finish
    future: asyncio.Future[Any]
    place: Place = field(default_factory=Place)
    client: str = field(default_factory=CLIENT.get)
    texts: list[str] = field(init=False)
    vectors: list[np.ndarray] = field(init=False, default_factory=list)
    left: int = field(init=False)
    """Characters of texts that have no vector yet."""

    def __post_init__(self) -> None:
        utterances = [u for c in self.conversations for u in c.utterances]
        self.texts = [u.text or "" for u in utterances if u.vector is None]
        self.left = sum(map(weight, self.texts))

    def __len__(self) -> int:
        return sum(map(len, self.conversations))

    def next(self, characters: int) -> list[str]:
        """About so many of the texts that have no vector yet; one at least, if there is one."""
        texts = list[str]()
        for text in self.texts[len(self.vectors) :]:
            if characters <= 0:
                break
            texts.append(text)
            characters -= weight(text)
        return texts

    def cost(self, texts: Sequence[str]) -> int:
        """Characters that a step with these texts counts as: to finish it costs about one a turn."""
        left = sum(map(weight, texts))
        return left if left < self.left else 1 + left + len(self)

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
            Conversation(c.id, [replace(u, vector=next(vectors)) if u.vector is None else u for u in c.utterances])
            for c in self.conversations
        ]


class Worker:
    """Jobs of one event loop, read by one thread.

    Args:
        together: most jobs that are looked at in one step.
        metrics: told of every step.
        probe: called in the thread after a fault; where it fails too, the fault is no request's own.
        characters: see `Shares`.
    """

    def __init__(
        self, together: int, metrics: Metrics, probe: Callable[[], object], characters: int = CHARACTERS
    ) -> None:
        self._shares, self._metrics, self._probe = Shares(together, characters), metrics, probe
        self._jobs: list[Job] = []
        self._begun: float | None = None
        self._is_broken = False
        self._wake = asyncio.Event()
        self._reader: Thread | None = None
        self._thread = ThreadPoolExecutor(1, "sacl-serve", self._note_thread)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def do(
        self, conversations: Sequence[Conversation], encoder: Encoder | None, finish: Finish, place: Place
    ) -> Any:
        """The job's result. Cancelling drops the job, at once if it waits, else after the portion that is read.

        Raises:
            Unavailable: the worker is not well.
        """
        if self._has_ended:
            raise _unwell()
        job = Job(conversations, encoder, finish, asyncio.get_running_loop().create_future(), place)
        self._jobs.append(job)
        self._wake.set()
        return await job.future

    async def call(self, function: Callable[[], T], place: Place) -> T:
        """What a function gives, called in the thread when it is its turn, as all jobs are.

        Raises:
            Unavailable: the worker is not well.
        """
        result: T = await self.do([], None, lambda _: [function()], place)
        return result

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

    async def _in_thread(self, function: Callable[[], T]) -> T:
        called = asyncio.get_running_loop().run_in_executor(self._thread, self._called, function)
        try:
            while not called.done():
                if self._has_ended:
                    raise _unwell()
                await asyncio.wait({called}, timeout=_LOOK_SECONDS)
            return called.result()
        finally:
            called.cancel()

    async def stop(self) -> None:
        """Ends the thread; jobs that are left are cancelled."""
        self._task.cancel()
        for job in self._jobs:
            job.future.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)

    async def _run(self) -> None:
        try:
            while True:
                self._jobs = [job for job in self._jobs if not job.future.done()]
                if not self._jobs:
                    self._shares.rest()
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                await self._next_step()
        except Exception as error:  # a fault of this class: nobody may wait for a worker that has ended
            for job in self._jobs:
                if not job.future.done():
                    job.future.set_exception(self._broken(error))

    async def _next_step(self) -> None:
        portions = self._shares.step(self._jobs)
        costs, begun = {job: job.cost(texts) for job, texts in portions.items()}, perf_counter()
        for job in portions:
            job.place.is_read = True
        try:
            outcomes = await self._in_thread(partial(self._judged_step, portions))
        except Exception as error:  # not of a step, but of the thread: whoever waits is to hear of it
            outcomes = [(job, self._broken(error)) for job in portions]
        for job in portions:
            job.place.is_read = False
        self._shares.used(costs, perf_counter() - begun)
        for job, result in outcomes:
            if job.future.done():
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    def _judged_step(self, portions: dict[Job, list[str]]) -> list[tuple[Job, Any]]:
        """As `_step`, with faults of jobs told from those that every job would meet."""
        try:
            outcomes = self._step(portions)
        except Exception as error:
            outcomes = [(job, error) for job in portions]
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

    def _step(self, portions: dict[Job, list[str]]) -> list[tuple[Job, Any]]:
        """Encodes texts, and finishes the jobs that lack no vector any more; an error stands for a result."""
        begun = perf_counter()
        texts = sum(map(len, portions.values()))
        outcomes = []
        for encoder, asking in _grouped([job for job in portions if portions[job]], lambda job: job.encoder):
            outcomes += alone_if_need_be(asking, partial(_encode, encoder, portions))
        failed = [(job, result) for job, result in outcomes if result is not None]
        wrong = {job for job, _ in failed}
        ready = [job for job in portions if not job.left and job not in wrong and not job.future.cancelled()]
        done = []
        for finish, some in _grouped(ready, lambda job: job.finish):
            done += alone_if_need_be(some, finish)
        if read := sum(bool(job.conversations) for job in portions):
            self._metrics.step(read, texts, perf_counter() - begun)
        return failed + done


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
            # Python lets no future end with a StopIteration.
            return [(jobs[0], RuntimeError(repr(error)) if isinstance(error, StopIteration) else error)]
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
