"""Where one conversation of a long chat ends and the next begins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, place
from sacl.interchange import assembled


def divided(
    turns: Sequence[Utterance], gap: float | None, name: str, id: str = "", remedy: str = "Leave the gap out"
) -> Iterator[Conversation]:
    """One conversation, or, given a gap, one for each stretch without a silence longer than that.

    Args:
        turns: in order.
        gap: seconds. A turn begins a conversation if it comes more than that after the one before it.
        name: the file's, for errors.
        id: of the conversation; parts are numbered behind it: `general-0`, `general-1`; without it `0`, `1`.
        remedy: what to do where a gap is asked for and times are not known.

    Raises:
        DataError: a gap, and a turn whose time is not known.
    """
    if gap is None:
        if turns:
            yield assembled(id or "0", turns, place(file=name, conversation=id or "0"))
        return
    begun, number = 0, 0
    for i, turn in enumerate(turns):
        if turn.time is None:
            raise DataError("the times of its turns are not known", where=place(file=name), remedy=remedy)
        before = turns[i - 1].time if i else None
        if before is not None and turn.time - before > gap:
            yield _part(turns[begun:i], number, name, id)
            begun, number = i, number + 1
    if turns:
        yield _part(turns[begun:], number, name, id)


def _part(turns: Sequence[Utterance], number: int, name: str, id: str) -> Conversation:
    own = f"{id}-{number}" if id else str(number)
    return assembled(own, turns, place(file=name, conversation=own))
