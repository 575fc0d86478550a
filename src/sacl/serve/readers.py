"""The service of `sacl serve`: what speaks HTTP reads nothing itself, so that its answers never wait for that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Concatenate, ParamSpec, TypeVar

from sacl.conversation import Conversation
from sacl.recognizer import EmotionRecognizer, Influence, Recognition
from sacl.serve.asked import Answer, Question
from sacl.serve.limits import Limits
from sacl.serve.messages import Setup
from sacl.serve.process import Process
from sacl.serve.service import Service, stopping
from sacl.serve.waiting import Waiting

P = ParamSpec("P")
T = TypeVar("T")

_LARGE, _MANY = 2**11, 30
"""Bytes of a body, and turns, from which on a request is a long one."""
_OF_LONG = 2_000
"""Characters of one step of long requests, some 0.1 s: larger ones take less time in all."""
_A_TURN = 2_000
"""Bytes that a turn counts as, with its vector."""
_NICENESS = 10
"""Of the process that reads long ones: where others want the processor it gets a tenth of it."""


class Readers(Service):
    """A service in two processes, one for short requests and live sessions, one for long ones.

    Args:
        recognizer, causal, limits: see `Service`.
        trust_code: see `TrainedModel.load`.
    """

    def __init__(
        self,
        recognizer: EmotionRecognizer,
        causal: EmotionRecognizer | None,
        limits: Limits,
        *,
        trust_code: bool = False,
    ) -> None:
        super().__init__(recognizer, causal, limits)
        live = None if causal is None else causal.trained.to_bytes()
        setup = Setup(recognizer.trained.to_bytes(), live, trust_code, limits)
        self._short_reader = Process(setup, self.metrics)
        self._long_reader = Process(replace(setup, characters=_OF_LONG, niceness=_NICENESS), self.metrics)
        self._room = limits.arriving * limits.body_bytes
        self._held = Waiting(self._room)
        self._is_started = False

    @property
    def is_ready(self) -> bool:
        """Whether it takes requests."""
        return self._is_started and not self._stopping and self._short_reader.is_open

    @property
    def is_well(self) -> bool:
        """Whether its processes live, or come back; if it stays so, nothing helps but to start the server anew."""
        return self._short_reader.is_well and self._long_reader.is_well

    def warm_up(self) -> None:
        """Begins the processes, and waits for the one for short requests.

        Raises:
            SaclError: it cannot read the model or the encoder.
        """
        self._short_reader.begin()
        self._long_reader.begin()
        self._short_reader.warm_up()

    async def start(self) -> None:
        """Takes requests from then on; long ones have to wait for their process.

        Raises:
            SaclError: see `warm_up`.
        """
        try:
            await asyncio.to_thread(self.warm_up)
        except BaseException:
            await self.stop()
            raise
        self._short_reader.start()
        self._long_reader.start()
        await self._short_reader.is_there()
        self._is_started = True

    async def stop(self) -> None:
        """Takes no more requests, waits until those that were accepted are answered, and ends the processes."""
        self._stopping = True
        await asyncio.gather(self._short_reader.stop(), self._long_reader.stop())

    async def answer(self, what: Question, body: bytes, session_id: str = "") -> Answer:
        """See `Service.answer`."""
        is_long = what == "influence" or (what == "predict" and len(body) > _LARGE)
        return await self._call(is_long, len(body), Service.answer, what, body, session_id)

    async def parsed(self, read: Callable[[bytes], T], body: bytes) -> T:
        """See `Service.parsed`; the function is one of a module, or a part of one."""
        if len(body) <= _LARGE:
            return read(body)
        return await self._call(True, len(body), Service.parsed, read, body)

    async def predict_all(
        self, conversations: Sequence[Conversation], threshold: float | None = None
    ) -> list[list[Recognition]]:
        """See `Service.predict_all`."""
        turns = sum(map(len, conversations))
        return await self._call(turns > _MANY, turns * _A_TURN, Service.predict_all, conversations, threshold)

    async def encode(self, conversation: Conversation) -> Conversation:
        """See `Service.encode`."""
        turns = len(conversation)
        return await self._call(turns > _MANY, turns * _A_TURN, Service.encode, conversation)

    async def influence(
        self, conversation: Conversation, utterance: int | str, nearest: int = 200, *, live: bool = False
    ) -> list[Influence]:
        """See `Service.influence`."""
        size = len(conversation) * _A_TURN
        return await self._call(True, size, Service.influence, conversation, utterance, nearest, live=live)

    async def open_session(self) -> str:
        """See `Service.open_session`."""
        self._live()
        return await self._call(False, 0, Service.open_session)

    async def add_turn(
        self, session_id: str, speaker: str, text: str | None, threshold: float | None = None, *, vector: object = None
    ) -> Recognition:
        """See `Service.add_turn`."""
        self._live()
        return await self._call(False, 0, Service.add_turn, session_id, speaker, text, threshold, vector=vector)

    async def close_session(self, session_id: str) -> None:
        """See `Service.close_session`."""
        await self._call(False, 0, Service.close_session, session_id)

    def forget_session(self, session_id: str) -> None:
        """See `Service.forget_session`."""
        self._short_reader.tell("forget_session", session_id)

    def figures(self) -> bytes:
        """See `Service.figures`."""
        self.metrics.waiting.set(len(self._short_reader) + len(self._long_reader))
        self.metrics.sessions.set(self._short_reader.sessions)
        return self.metrics.text()

    async def _call(
        self,
        is_long: bool,
        size: int,
        method: Callable[Concatenate[Service, P], Awaitable[T]],
        *arguments: P.args,
        **options: P.kwargs,
    ) -> T:
        if not self.is_ready:
            raise stopping()
        name = method.__name__
        if not is_long:
            result: T = await self._short_reader.call(name, *arguments, **options)
            return result
        with self._held.place(min(size + _LARGE, self._room)):
            await self._long_reader.is_there()
            result = await self._long_reader.call(name, *arguments, **options)
        return result
