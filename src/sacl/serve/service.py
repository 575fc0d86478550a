"""What the server does, without HTTP: predictions read together, live sessions, and limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Any, TypeVar

import numpy as np

from sacl.conversation import Conversation, Utterance
from sacl.errors import FeatureError, RecipeError, place
from sacl.features.encoder import Encoder
from sacl.recognizer import UNCERTAIN, EmotionRecognizer, Influence, Recognition
from sacl.recognizer.influence import position_of
from sacl.recognizer.recognition import check_threshold
from sacl.serve.asked import Answer, Question, influenced, predicted, turn_added
from sacl.serve.errors import LimitError, NoLiveModel, SessionGone, Unavailable
from sacl.serve.limits import Limits
from sacl.serve.metrics import Metrics
from sacl.serve.sessions import Sessions
from sacl.serve.turns import CHARACTERS
from sacl.serve.waiting import Place, Waiting
from sacl.serve.worker import Finish, Job, Worker

T = TypeVar("T")

_LONG = 500
"""Turns that are read in a thread of their own, a second or so for the longest, while others' few go on."""
_LARGE = 2**16
"""Bytes of a body that is read aside, for it takes some 5 ms."""
_LARGEST = 1e6
"""Of a vector's numbers: what is sent may be anything, and a sum of them is to stay finite."""


class Service:
    """Recognises emotions for many clients at once; what they send is held in memory only, while it is read.

    Requests that wait at the same moment are read in one batch. A task that is cancelled drops its work. To be used
    within one event loop, between `start` and `stop`.

    Args:
        recognizer: reads whole conversations.
        causal: reads live ones; without it there are no sessions.
        limits: what is refused.
        metrics: told of what is done.
        characters: of a long request; see `Shares`.
    """

    def __init__(
        self,
        recognizer: EmotionRecognizer,
        causal: EmotionRecognizer | None,
        limits: Limits,
        metrics: Metrics | None = None,
        characters: int = CHARACTERS,
    ) -> None:
        self.recognizer, self.causal, self.limits = recognizer, causal, limits
        self.metrics, self._characters = metrics or Metrics(), characters
        self.sessions = Sessions(limits)
        self._encoder, self._live_encoder = _shared(recognizer, causal)
        self._worker: Worker | None = None
        self._long: Worker | None = None
        self._stopping = False
        self._accepted = Waiting(limits.waiting)

    @property
    def is_ready(self) -> bool:
        """Whether it takes requests."""
        return self._worker is not None and not self._stopping

    @property
    def is_well(self) -> bool:
        """Whether its threads go on; if it stays so, nothing helps but to start the server anew."""
        return all(worker.is_well for worker in (self._worker, self._long) if worker is not None)

    def warm_up(self) -> None:
        """Reads the encoders' files, so that the first request need not wait for them, and one turn.

        Raises:
            FeatureError: they cannot be read.
        """
        for encoder in {e for e in (self._encoder, self._live_encoder) if e is not None}:
            encoder.encode([""])
        self._read_one_turn()

    def _read_one_turn(self) -> None:
        vector = np.zeros(self.recognizer.trained.input_size, np.float32)
        self.recognizer.predict(Conversation("none", [Utterance("", vector=vector)]))

    async def start(self) -> None:
        """Warms up and takes requests from then on."""
        worker = Worker(self.limits.together, self.metrics, self.warm_up, self._characters)
        await worker.call(self.warm_up, Place())
        self._worker, self._long = worker, Worker(1, self.metrics, self._read_one_turn)

    async def stop(self) -> None:
        """Takes no more requests, waits until those that were accepted are answered, and ends the thread."""
        self._stopping = True
        await self._accepted.all_gone()
        workers, self._worker, self._long = (self._worker, self._long), None, None
        for worker in workers:
            if worker is not None:
                await worker.stop()

    def check(self, conversation: Conversation) -> None:
        """Refuses what cannot be read.

        Raises:
            LimitError: too many turns, or too many characters in one.
            FeatureError: texts and no encoder, texts and vectors, or vectors of another width than the model's.
        """
        self._check(conversation, self.recognizer)

    async def predict(self, conversation: Conversation, threshold: float | None = None) -> list[Recognition]:
        """Emotions of a conversation, as `EmotionRecognizer.predict` gives them to 1e-5.

        Raises:
            RecipeError: a threshold that is no probability. Unavailable: too many wait, or the server stops.
            SaclError: see `check`.
        """
        [result] = await self.predict_all([conversation], threshold)
        return result

    async def predict_all(
        self, conversations: Sequence[Conversation], threshold: float | None = None
    ) -> list[list[Recognition]]:
        """As `predict`, of several conversations in one request."""
        check_threshold(threshold, self.recognizer.labels)
        _at_most(self.limits.conversations, len(conversations), "conversations", "the request", "Send fewer at a time")
        for conversation in conversations:
            self.check(conversation)
        if not conversations:
            return []
        with self._accept() as place:
            results = await self._do(conversations, self._encoder, self._read, place)
        return [left_open(result, threshold) for result in results]

    async def encode(self, conversation: Conversation) -> Conversation:
        """The conversation with its vectors: whatever reads it after that is quick."""
        self.check(conversation)
        with self._accept() as place:
            [encoded] = await self._do([conversation], self._encoder, _encoded, place)
        return Conversation(conversation.id, encoded.utterances)

    async def influence(
        self, conversation: Conversation, utterance: int | str, nearest: int = 200, *, live: bool = False
    ) -> list[Influence]:
        """What moved an utterance's emotion; see `EmotionRecognizer.influence`.

        Args:
            live: as the model of live sessions reads it.

        Raises:
            DataError: there is no such utterance. RecipeError: `nearest` is no number of turns.
            SaclError: see `predict`.
        """
        if not isinstance(nearest, Integral) or isinstance(nearest, bool) or nearest < 0:
            raise RecipeError(f"nearest is {nearest!r:.40}", remedy="Give a number of turns, 200 say")
        _at_most(self.limits.neighbours, nearest, "turns are asked for", "nearest", "Ask for fewer")
        recognizer = self._live() if live else self.recognizer
        self._check(conversation, recognizer)
        target = position_of(conversation, utterance)

        def finish(jobs: Sequence[Job]) -> list[list[Influence]]:
            gone = jobs[0].future.cancelled
            return [recognizer.influence(jobs[0].encoded()[0], target, nearest, cancelled=gone)]

        with self._accept() as place:
            encoder = self._live_encoder if live else self._encoder
            moved: list[Influence] = await self._do([conversation], encoder, finish, place, aside=True)
        return moved

    async def aside(self, function: Callable[[], T], size: int, large: int) -> T:
        """What a function gives: called in a thread of its own where there is much to do, so that others go on.

        Raises:
            Unavailable: too many wait, or the server stops.
        """
        if size <= large:
            return function()
        with self._accept() as place:
            assert self._long is not None
            return await self._long.call(function, place)

    async def answer(self, what: Question, body: bytes, session_id: str = "") -> Answer:
        """The answer to a request's body; `turn` is the next one of a live session.

        Raises:
            DataError: it cannot be read. SaclError: see `predict_all`, `influence` and `add_turn`.
        """
        if what == "turn":
            return await turn_added(self, body, session_id)
        return await (predicted if what == "predict" else influenced)(self, body)

    async def parsed(self, read: Callable[[bytes], T], body: bytes) -> T:
        """What a function reads in a body; a large one is read aside."""
        return await self.aside(partial(read, body), len(body), _LARGE)

    async def open_session(self) -> str:
        """A live conversation; its id is a secret of 256 bits.

        Raises:
            NoLiveModel: there is no causal model. TooManySessions: there are. Unavailable: the server stops.
        """
        causal = self._live()
        if not self.is_ready:
            raise stopping()
        return self.sessions.open(causal.stream())

    async def add_turn(
        self,
        session_id: str,
        speaker: str,
        text: str | None,
        threshold: float | None = None,
        *,
        vector: Any = None,
    ) -> Recognition:
        """The emotion of the next turn. Turns of one session are read in the order in which they come.

        Raises:
            SessionGone: there is no such session (any more). LimitError: it has too many turns or speakers.
            SaclError: see `predict`. The turn then was not read; where the client goes away it may have been.
        """
        causal = self._live()
        check_threshold(threshold, causal.labels)
        session = self.sessions.find(session_id)
        turn = Conversation("live", [Utterance(speaker, text, vector=vector)])
        self._check(turn, causal)
        with self._accept() as place:
            async with session.order:
                self.sessions.check(session_id, speaker)

                def finish(jobs: Sequence[Job]) -> list[Recognition]:
                    [read] = jobs[0].encoded()[0].utterances
                    session.speakers.add(speaker)
                    return [session.stream.add(speaker, text, vector=read.vector)]

                result = await self._do([turn], self._live_encoder, finish, place)
        return left_open([result], threshold)[0]

    async def close_session(self, session_id: str) -> None:
        """Forgets a session.

        Raises:
            SessionGone: there is no such session (any more).
        """
        self.sessions.close(session_id)

    def forget_session(self, session_id: str) -> None:
        """As `close_session`, without waiting for it, and whether there is one or not."""
        with suppress(SessionGone):
            self.sessions.close(session_id)

    def figures(self) -> bytes:
        """The metrics as they are now, in the format of Prometheus."""
        self.metrics.waiting.set(len(self._accepted))
        self.metrics.sessions.set(len(self.sessions))
        return self.metrics.text()

    def _live(self) -> EmotionRecognizer:
        if self.causal is None:
            raise NoLiveModel
        return self.causal

    def _check(self, conversation: Conversation, recognizer: EmotionRecognizer) -> None:
        limits, where = self.limits, place(conversation=conversation.id[:80])
        _at_most(limits.turns, len(conversation), "turns", where, "Divide it")
        vectors = [u.vector for u in conversation.utterances if u.vector is not None]
        width = recognizer.trained.input_size
        for u in conversation.utterances:
            here = f"{where}, utterance {u.id[:80]}"
            _at_most(limits.text_characters, len(u.text or ""), "characters in its text", here, "Divide the turn")
            _at_most(limits.speaker_characters, len(u.speaker), "characters in its speaker", here, "Shorten the name")
            _at_most(limits.speaker_characters, len(u.id), "characters in its id", here, "Shorten the id")
            if vectors and u.vector is None:
                raise FeatureError("it has no vector, and others have one", where=here, remedy="Give all or none one")
            if u.vector is None and recognizer.encoder is None:
                raise FeatureError("it has no vector, and the model reads no texts", where=here, remedy="Give it one")
            if u.vector is not None and u.vector.shape != (width,):
                raise FeatureError(
                    f"its vector has {u.vector.size} numbers, and the model reads {width}",
                    where=here,
                    remedy="Leave the vector out, or use the encoder that the model was trained on",
                )
            if u.vector is not None and not (np.abs(u.vector) <= _LARGEST).all():
                raise FeatureError(f"its vector has a number beyond {_LARGEST:g}", where=here, remedy="Scale it")

    async def _do(
        self,
        conversations: Sequence[Conversation],
        encoder: Encoder | None,
        finish: Finish,
        place: Place,
        *,
        aside: bool = False,
    ) -> Any:
        """What the worker gives; what is long is encoded there, among others' texts, and then read aside."""
        assert self._worker is not None
        assert self._long is not None
        if finish is _encoded or (not aside and sum(map(len, conversations)) <= _LONG):
            return await self._worker.do(conversations, encoder, finish, place)
        encoded = await self._worker.do(conversations, encoder, _encoded, place)
        return await self._long.do(encoded, None, finish, place)

    @contextmanager
    def _accept(self) -> Iterator[Place]:
        if not self.is_ready:
            raise stopping()
        with self._accepted.place() as place:
            yield place

    def _read(self, jobs: Sequence[Job]) -> list[list[list[Recognition]]]:
        conversations = [c for job in jobs for c in job.encoded()]
        # Padded as released, scores depend on the conversations beside: then each is read alone.
        chunk = 1 if self.recognizer.trained.settings.padding == "released" else 256
        results = self.recognizer.predict_many(conversations, chunk)
        return [[next(results) for _ in job.conversations] for job in jobs]


def _encoded(jobs: Sequence[Job]) -> list[list[Conversation]]:
    return [job.encoded() for job in jobs]


def left_open(recognised: list[Recognition], threshold: float | None) -> list[Recognition]:
    """What is less probable than the threshold becomes uncertain; so clients with different ones share a batch."""
    if threshold is None:
        return recognised
    return [r if r.probability >= threshold else replace(r, emotion=UNCERTAIN) for r in recognised]


def _shared(recognizer: EmotionRecognizer, causal: EmotionRecognizer | None) -> tuple[Encoder | None, Encoder | None]:
    """The encoders of both models; one for both if they are the same, so that texts of both share a batch."""
    first, live = recognizer.encoder, None if causal is None else causal.encoder
    same = first is not None and live is not None and first.identity == live.identity
    return first, first if same else live


def _at_most(limit: int, found: int, what: str, where: str, remedy: str) -> None:
    if found > limit:
        raise LimitError(f"{found} {what}, and {limit} are the most", where=where, remedy=remedy)


def stopping() -> Unavailable:
    """What is answered before the service takes requests, and after."""
    return Unavailable("the server is starting or stopping", "Try again in a moment", 5)
