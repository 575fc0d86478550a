"""The interchange form of a conversation, as parsed from JSON, and what is refused in it."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, FeatureError, place

TURN_KEYS = ("speaker", "text", "emotion", "id", "time", "vector")

RECOGNISED_KEYS = ("probability", "probabilities")
"""What recognition writes beside the emotion; passed over, so that results are read again as conversations."""

MOST_TURNS = 250_000
"""Of one conversation. A model reads it as a whole, at some 11 kB a turn: these take about 3 GB."""


def parsed(line: str, where: str) -> Any:
    """JSON as its standard has it: no NaN or Infinity, no key twice in an object."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number of JSON")

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key stands twice in one object")
        return found

    try:
        return json.loads(line, parse_constant=refuse, object_pairs_hook=distinct)
    except RecursionError:
        raise DataError("its JSON is nested too deeply", where=where, remedy="Write one conversation a line") from None
    except ValueError as error:
        raise DataError(f"it is not JSON ({error})", where=where, remedy="Write one conversation a line") from None


def from_object(found: object, position: str = "0", where: str = "") -> Conversation:
    """The conversation that a parsed JSON value stands for; the inverse of `Conversation.to_dict`.

    Args:
        found: `{"id": "c1", "utterances": [{"speaker": "Ann", "text": "Hello"}]}`. An utterance may have `emotion`,
            `id`, `time` (seconds) and `vector` as well; the probabilities of a result are passed over, other keys
            refused, since a misspelt one would lose its values in silence. Other keys of the conversation are ignored.
        position: names a conversation that has no id.
        where: the place that errors name.

    Raises:
        DataError: a key that is missing, unknown, or of the wrong type.
        FeatureError: a vector that is empty or not finite.

    >>> from_object({"utterances": [{"speaker": "Ann", "text": "Hello"}]}).utterances[0].speaker
    'Ann'
    """
    if not isinstance(found, dict) or not isinstance(found.get("utterances"), list):
        raise DataError(
            "it is not a conversation", where=where, remedy='Write {"id": "...", "utterances": [{...}]} on one line'
        )
    id = checked(found.get("id"), "id", where) or position
    where = within(where, conversation=id)
    return assembled(id, [utterance(turn, i, where) for i, turn in enumerate(found["utterances"])], where)


def within(where: str, **parts: object) -> str:
    """A place further in."""
    return ", ".join(filter(None, (where, place(**parts))))


def assembled(id: str, turns: Sequence[Utterance], where: str) -> Conversation:
    """The conversation, whose own errors know neither file nor line."""
    refuse_too_long(len(turns), where)
    try:
        return Conversation(id, turns)
    except DataError as error:
        inner = error.where.removeprefix(place(conversation=id))
        raise DataError(error.found, where=where + inner, remedy=error.remedy) from None


def refuse_too_long(turns: int, where: str) -> None:
    """Raise a DataError for more turns than a conversation may have; to be asked while they are read, too."""
    if turns > MOST_TURNS:
        raise DataError(
            f"the conversation has more than {MOST_TURNS} turns, and one is read as a whole",
            where=where,
            remedy="Divide it: by the conversation column of a CSV, blank lines between `Speaker: text` lines, "
            "or the silences of a chat's export (--gap 8)",
        )


def utterance(turn: object, position: int, where: str) -> Utterance:
    """The utterance at this position that a parsed JSON value stands for; see from_object."""
    if not isinstance(turn, dict):
        raise DataError(
            "it is not an object",
            where=within(where, utterance=position),
            remedy='Write {"speaker": "...", "text": "..."}',
        )
    id = turn.get("id")
    # One that no answer could hold does not name the place; it is told of below, unless something else is first.
    where = within(where, utterance=id if isinstance(id, str) and _encodable(id) else position)
    for key in turn:
        if key not in (*TURN_KEYS, *RECOGNISED_KEYS):
            near = difflib.get_close_matches(key, TURN_KEYS, 1)
            remedy = f"Write {near[0]!r}" if near else f"Leave it out, or use one of: {', '.join(TURN_KEYS)}"
            raise DataError(f"unknown key {key!r}", where=where, remedy=remedy)
    speaker = checked(turn.get("speaker"), "speaker", where)
    if speaker is None:
        raise DataError("it has no speaker", where=where, remedy="Say who speaks; any name will do")
    return Utterance(
        speaker,
        text=checked(turn.get("text"), "text", where, or_empty=True),
        emotion=checked(turn.get("emotion"), "emotion", where),
        id=checked(turn.get("id"), "id", where) or "",
        time=_time(turn.get("time"), where),
        vector=_vector(turn.get("vector"), where),
    )


def checked(value: Any, key: str, where: str, or_empty: bool = False) -> str | None:
    """The text that stands under a key, None where there is none; raises a DataError for what is no text."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise DataError(
            f"its {key} is of type {type(value).__name__}, not text", where=where, remedy="Write it in quotes"
        )
    if not value.strip() and not or_empty:
        raise DataError(f"its {key} is empty", where=where, remedy="Fill it in, or leave the key out")
    if "\0" in value or not _encodable(value):
        raise DataError(f"its {key} holds a NUL or a lone surrogate", where=where, remedy="Remove that character")
    return value


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _time(value: Any, where: str) -> float | None:
    if value is None:
        return None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise DataError("its time is not a finite number", where=where, remedy="Give seconds, or leave it out")


def _vector(value: Any, where: str) -> np.ndarray | None:
    if value is None:
        return None
    if not isinstance(value, list) or not set(map(type, value)) <= {int, float}:
        raise DataError("its vector is not a list of numbers", where=where, remedy="Write [0.1, 0.2, ...]")
    try:
        vector = np.array(value, dtype=np.float64)
    except OverflowError:
        vector = np.array([np.inf])
    if not vector.size or not np.isfinite(vector).all():
        raise FeatureError(
            "its vector has a number that is not finite" if vector.size else "its vector is empty",
            where=where,
            remedy="Encode the text again, or leave the vector out",
        )
    return vector
