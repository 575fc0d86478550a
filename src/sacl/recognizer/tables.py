"""Conversations from the rows of a table in memory, each row a dict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, place
from sacl.formats import Columns
from sacl.interchange import assembled, checked, from_object, utterance
from sacl.rows import telling_apart


def conversations_of_rows(rows: Iterable[Any], columns: Columns) -> Iterator[Conversation]:
    """Conversations of rows, one after another.

    Either one conversation a row, in interchange form (`utterances`), or one utterance a row: then the rows of a
    conversation stand together, rows without a column of conversations are a single one, and a missing value (None,
    NaN) is an empty text, no label, or no id of its own, as an empty cell of a CSV is.

    Raises:
        DataError: with the number of the row (from 0): a column that is missing, a value of the wrong kind, a
            conversation that comes back after another one, or columns that can be read in two ways.
    """
    id, turns, done = "0", list[Utterance](), set[str]()
    nested, required = False, list[str]()
    for n, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"it is a {type(row).__name__}, not a row", where=place(row=n), remedy="Give dicts only")
        if n == 0:
            nested = _is_nested(row, columns)
            # A row without a conversation is none of its own where others have one.
            required = columns.required() + [columns.conversation] * (columns.conversation in row)
        if nested:
            yield from_object(dict(row), str(n), place(row=n))
            continue
        _check_columns(row, columns, required, place(row=n))
        here = _name(row[columns.conversation]) if columns.conversation in row else "0"
        where = place(row=n, conversation=here)
        if here is None or not here.strip():
            raise DataError("its conversation is empty", where=place(row=n), remedy="Fill it in")
        if here != id or not turns:
            checked(here, "conversation", where)
        if turns and here != id:
            yield assembled(id, turns, place(conversation=id))
            done.add(id)
            turns = []
        if here in done:
            raise DataError(
                "the conversation comes back after another one", where=where, remedy="Sort the rows by conversation"
            )
        id = here
        turns.append(_utterance(row, columns, len(turns), where))
    if turns:
        yield assembled(id, turns, place(conversation=id))


def _is_nested(row: Mapping[Any, Any], columns: Columns) -> bool:
    """Whether rows are whole conversations, told by the first one."""
    flat = [name for name in (columns.speaker, columns.text) if name in row]
    if "utterances" in row and flat:
        raise DataError(
            f"it has the columns 'utterances' and {flat[0]!r}: it may be a conversation a row or an utterance a row",
            remedy="Drop one of them",
        )
    return "utterances" in row


def _check_columns(row: Mapping[Any, Any], columns: Columns, required: Sequence[str], where: str) -> None:
    names = [str(name) for name in row]
    for wanted in required:
        if wanted not in row:
            role = next(field.name for field in fields(columns) if getattr(columns, field.name) == wanted)
            raise DataError(
                f"there is no column {wanted!r}",
                where=where,
                remedy=f"There are: {listed(names)}. Rename one, or say which to read: columns={{{role!r}: ...}}",
            )
    if columns.conversation not in row:
        near = telling_apart(names, columns)
        if near:
            # All rows would be read as a single conversation.
            raise DataError(
                f"there is no column {columns.conversation!r}, but one {near[0]!r}",
                where=where,
                remedy=f"Say columns={{'conversation': {near[0]!r}}}, or drop it if all rows are one conversation",
            )


def _utterance(row: Mapping[Any, Any], columns: Columns, position: int, where: str) -> Utterance:
    text = row[columns.text]
    turn: dict[str, Any] = {"text": "" if _missing(text) else text}
    roles = {"speaker": columns.speaker, "emotion": columns.emotion, "id": columns.utterance}
    for key, name in roles.items():
        # Texts often stand in a column `utterance`, which then holds no ids.
        if name is not None and name in row and name != columns.text and _name(row[name]):
            turn[key] = _name(row[name])
    return utterance(turn, position, where)


def _name(value: Any) -> str | None:
    """A speaker, label or id as text: tables often number them. None if it is missing."""
    return None if _missing(value) else str(value)


def _missing(value: Any) -> bool:
    """None, NaN, or what pandas puts in their place."""
    return (
        value is None
        or type(value).__name__ in ("NAType", "NaTType")
        or (isinstance(value, float | np.floating) and np.isnan(value))
    )


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for an error, not more of them than one can read."""
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
