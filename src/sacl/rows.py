"""Conversations as rows of a CSV, one utterance each, under columns of any names."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, TextIO

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, place
from sacl.interchange import assembled, checked, refuse_too_long, utterance
from sacl.seen import Seen
from sacl.textfile import Line, csv_rows


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a CSV's columns. `speaker` and `text` must be there, and any that is given another name than here.

    Args:
        conversation: id of the conversation; a file without this column is one conversation, named `0`.
        speaker: who speaks.
        text: what was said.
        emotion: the label; an empty cell is an unlabelled utterance. None where labels are not to be read.
        utterance: id of the utterance; an empty cell is its position.
        time: seconds from any fixed moment, or a date and time as in ISO 8601; an empty cell is none.
    """

    conversation: str = "conversation"
    speaker: str = "speaker"
    text: str = "text"
    emotion: str | None = "emotion"
    utterance: str = "utterance"
    time: str = "time"

    def required(self) -> list[str]:
        """The columns that a file must have."""
        return [
            getattr(self, field.name)
            for field in fields(self)
            if field.name in ("speaker", "text") or getattr(self, field.name) not in (field.default, None)
        ]

    def known(self) -> list[str]:
        """All of them, those that it may lack too."""
        return [name for name in (getattr(self, field.name) for field in fields(self)) if name is not None]


DEFAULT_COLUMNS = Columns()

OPTIONS = "; in Python with columns, for `sacl predict` with --speaker-column, --text-column, --conversation-column"

_APART = re.compile(
    r"(?<![a-z])(conversation|convo?|dialog(ue)?|session|thread|chat|call|ticket|case|meeting|room|channel)s?"
    r"([ _-]?(id|nr|no|num|number|name|key))?(?![a-z])"
)


def telling_apart(names: Iterable[str], columns: Columns) -> list[str]:
    """Columns among these that tell conversations apart, most likely, and are not asked for as anything else.

    >>> telling_apart(["supportTicket", "callId", "said", "recall"], DEFAULT_COLUMNS)
    ['supportTicket', 'callId']
    """
    used = columns.known()
    words = {name: re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in names if name not in used}
    return [name for name, word in words.items() if _APART.search(word)]


def read_csv(lines: Iterator[Line], name: str, columns: Columns) -> Iterator[Conversation]:
    """Conversations of numbered lines, one at a time; `name` is what errors call the file."""
    seen = Seen()
    id, begun, turns = "0", 0, list[Utterance]()
    for n, row in csv_rows(lines, name, columns.required(), OPTIONS, columns.known()):
        if not begun:
            refuse_near_misses(row, columns, name)
        here = row.get(columns.conversation, "0")
        where = place(file=name, line=n, conversation=here)
        if here != id or not begun:
            if turns:
                yield assembled(id, turns, place(file=name, line=begun, conversation=id))
            if not here.strip():
                raise DataError("its conversation is empty", where=place(file=name, line=n), remedy="Fill it in")
            checked(here, "conversation", where)
            if seen.add(here):
                raise DataError(
                    "the conversation comes back after another one", where=where, remedy="Sort the file by conversation"
                )
            id, begun, turns = here, n, []
        refuse_too_long(len(turns), where)
        turns.append(utterance(_cells(row, columns, where), len(turns), where))
    if turns:
        yield assembled(id, turns, place(file=name, line=begun, conversation=id))


def refuse_near_misses(header: Collection[str], columns: Columns, name: str) -> None:
    """Without its column of labels or ids a file is read all the same, and wrongly if that was only misspelt."""
    apart = [] if columns.conversation in header else telling_apart(header, columns)
    if apart:
        # All rows would be read as a single conversation.
        raise DataError(
            f"there is no column {columns.conversation!r}, but one {apart[0]!r}",
            where=place(file=name, line=1),
            remedy=f"Call it {columns.conversation!r} if it tells conversations apart; "
            f"or say so with --conversation-column {apart[0]!r}; "
            "drop it if the whole file is one conversation",
        )
    free = {column.lower(): column for column in header if column not in columns.known()}
    for wanted in filter(None, (columns.emotion, columns.conversation)):
        near = difflib.get_close_matches(wanted.lower(), free, 1, cutoff=0.8)
        if near and wanted not in header:
            raise DataError(
                f"there is no column {wanted!r}, but one {free[near[0]]!r}",
                where=place(file=name, line=1),
                remedy="Rename it, or say that it is the one to read",
            )


def _cells(row: Mapping[str, str], columns: Columns, where: str) -> dict[str, Any]:
    """A row as the object of JSONL; an empty cell is an absent key, but for the text."""
    names = {"speaker": columns.speaker, "emotion": columns.emotion, "id": columns.utterance, "time": columns.time}
    # Texts often stand in a column `utterance`, which then holds no ids.
    turn: dict[str, Any] = {
        key: row[name] for key, name in names.items() if name and name != columns.text and row.get(name)
    }
    turn["text"] = row[columns.text]
    if "time" in turn:
        turn["time"] = _seconds(turn["time"], where)
    return turn


def _seconds(cell: str, where: str) -> float:
    """A time without a zone is taken for UTC: only differences count."""
    try:
        return float(cell)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(cell.strip())
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        remedy = "Give seconds, as a number, or 2024-01-31 09:41"
        raise DataError(f"its time is {cell!r:.40}", where=where, remedy=remedy) from None


def write_csv(conversations: Iterable[Conversation], out: TextIO) -> None:
    """Rows under a header, the columns by their default names."""
    writer = csv.writer(out)  # with CRLF ends, so that a lone CR in a text is quoted too
    writer.writerow(field.default for field in fields(Columns))
    done: set[str] = set()
    for conversation in conversations:
        if conversation.id in done:
            raise DataError(
                "another conversation has the same id, which CSV cannot tell apart",
                where=place(conversation=conversation.id),
                remedy="Rename it, or write .jsonl",
            )
        done.add(conversation.id)
        for u in conversation.utterances:
            refuse_loss(u, ("vector",), "CSV", place(conversation=conversation.id, utterance=u.id))
            time = "" if u.time is None else repr(u.time)
            writer.writerow([conversation.id, u.speaker, u.text, u.emotion or "", u.id, time])


def refuse_loss(utterance: Utterance, keys: Sequence[str], kind: str, where: str) -> None:
    """Raise a DataError where the utterance has something that this kind of file cannot hold."""
    for key in keys:
        if getattr(utterance, key) is not None:
            raise DataError(f"{kind} holds no {key}", where=where, remedy="Write .jsonl")
