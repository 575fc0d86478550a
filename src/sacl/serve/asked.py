"""What a request's body asks for, and the answer to it, without HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sacl.conversation import Conversation
from sacl.errors import DataError
from sacl.interchange import utterance
from sacl.recognizer.writing import conversation_object, turn_object
from sacl.serve import wire
from sacl.serve.errors import LimitError

if TYPE_CHECKING:
    from sacl.serve.service import Service

Question = Literal["predict", "influence", "turn"]

_MANY = 200
"""Turns of an answer that is written beside other requests, for it takes some 5 ms."""
_MOVED = 4_000
"""Turns that are read for an influence, some 14 ms, and count as another request."""
_AROUND, _ESCAPED, _NUMBER = 2**12, 12, 32
"""Bytes of a turn: around its text and vector, and most of a character and of a number, in JSON."""


class Answer(NamedTuple):
    """The answer to a request.

    Attributes:
        content: as JSON.
        turns: that were read.
    """

    content: bytes
    turns: int


async def predicted(service: Service, body: bytes) -> Answer:
    """The emotions of the conversations in a body; raises what `Service.predict_all` raises, and a DataError."""
    conversations, threshold, are_several = await service.parsed(_conversations, body)
    results = await service.predict_all(conversations, threshold)
    turns = sum(map(len, conversations))

    def content() -> bytes:
        answers = [conversation_object(c, found) for c, found in zip(conversations, results, strict=True)]
        return as_json({"conversations": answers} if are_several else answers[0])

    return Answer(await service.aside(content, turns, _MANY), turns)


async def influenced(service: Service, body: bytes) -> Answer:
    """What moved the utterance that a body asks for; raises what `Service.influence` raises, and a DataError."""
    conversation, at, nearest = await service.parsed(_utterance, body)
    moved = [
        {"id": r.id, "position": r.position, "speaker": r.speaker, "text": r.text, "moved": round(r.moved, 6)}
        for r in await service.influence(conversation, at, nearest)
    ]
    return Answer(as_json({"influences": moved}), len(conversation))


def cost(neighbours: int, body: bytes) -> int:
    """Requests that an influence counts as in the rate, beside itself; none where it asks for more than `neighbours`.

    Raises:
        DataError: the body cannot be read.
    """
    conversation, _, nearest = _utterance(body)
    turns = len(conversation)
    is_asked = isinstance(nearest, int) and 0 < nearest <= neighbours
    return turns * min(nearest, turns) // _MOVED if is_asked else 0


async def turn_added(service: Service, body: bytes, session_id: str) -> Answer:
    """The emotion of the turn in a body; raises what `Service.add_turn` raises, and a DataError."""
    limits = service.limits
    most = _AROUND + _ESCAPED * limits.text_characters + _NUMBER * service.recognizer.trained.input_size
    if len(body) > most:
        found = f"the request has {len(body)} bytes, and a turn has {most} at most"
        raise LimitError(found, where="request", remedy="Divide the turn")
    given = await service.parsed(_turn, body)
    turn = utterance({k: v for k, v in given.items() if k != "threshold"}, 0, "")
    Conversation("live", [turn])  # it has a text or a vector
    asked = service.add_turn(session_id, turn.speaker, turn.text, given.get("threshold"), vector=turn.vector)
    return Answer(as_json(turn_object(await asked)), 1)


def _turn(body: bytes) -> dict[str, Any]:
    return wire.read_object(body, ("speaker", "text", "vector", "threshold"))


def as_json(content: object) -> bytes:
    """As it is sent."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _conversations(body: bytes) -> tuple[list[Conversation], float | None, bool]:
    """The conversations in a request, its threshold, and whether it asks for several; of the rest nothing is kept."""
    given = wire.read_object(body, ("id", "utterances", "conversations", "threshold", "labels"))
    threshold = given.get("threshold")
    if given.get("conversations") is None:
        return [wire.conversation(given)], threshold, False
    if not isinstance(given["conversations"], list) or "utterances" in given:
        raise DataError(
            "`conversations` is no list, or stands beside `utterances`",
            where="request",
            remedy="Give one conversation, or a list of them",
        )
    several = [wire.conversation(c, str(i), f"conversation {i}") for i, c in enumerate(given["conversations"])]
    return several, threshold, True


def _utterance(body: bytes) -> tuple[Conversation, int | str, Any]:
    """The conversation in a request, the utterance it asks about, and how many others are looked at."""
    given = wire.read_object(body, ("conversation", "utterance", "nearest"))
    conversation, at = wire.conversation(given.get("conversation")), given.get("utterance")
    if isinstance(at, bool) or not isinstance(at, int | str):
        raise DataError("it does not say which utterance", where="utterance", remedy="Give its position, or its id")
    return conversation, at, given.get("nearest", 200)
