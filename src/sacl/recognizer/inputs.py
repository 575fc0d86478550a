"""What a recognizer may be given, as conversations: one, several, pairs, a file, or rows of a table."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, place
from sacl.formats import Columns, read_conversations
from sacl.interchange import from_object
from sacl.recognizer.tables import conversations_of_rows, listed
from sacl.textfile import kind_of


class DataFrameLike(Protocol):
    """A table of pandas, Polars or their like: none of these libraries is needed to read one."""

    @property
    def columns(self) -> Any:
        """Names of the columns."""


Given = (
    Conversation
    | Mapping[str, Any]
    | str
    | os.PathLike[str]
    | DataFrameLike
    | Iterable[Conversation]
    | Iterable[tuple[str, str]]
    | Iterable[Mapping[str, Any]]
)

WAYS = (
    "Give a Conversation, a list of them, (speaker, text) pairs, a file's path, "
    "or a table with the columns speaker and text"
)


def conversations_of(given: Given, columns: Columns) -> tuple[Iterator[Conversation], bool]:
    """The conversations, and whether what was given stands for one conversation rather than for any number of them.

    One is a `Conversation`, its interchange form as a dict, or (speaker, text) pairs. Any number are conversations, a
    file (`read_conversations`), a table (pandas, Polars, Arrow), or rows as dicts (Hugging Face data sets): either one
    utterance a row, under the names of `columns`, or one conversation a row, in interchange form.

    Raises:
        DataError: nothing, a mixture, or something else; what is read later is checked as it is read.
    """
    if isinstance(given, Conversation):
        return iter([given]), True
    if isinstance(given, str | os.PathLike):
        return _of_file(given, columns), False
    if isinstance(given, Mapping):
        if isinstance(given.get("utterances"), list):
            return iter([from_object(given)]), True
        raise DataError(
            f"it is a mapping of {listed([str(k) for k in given])}, not a conversation",
            remedy=f"Give one of these. {WAYS}",
        )
    rows = _rows_of_table(given)
    if rows is None and not isinstance(given, Iterable):
        raise DataError(f"a {type(given).__name__} is no conversation", remedy=WAYS)
    return _of_elements(given if rows is None else rows, columns)  # type: ignore[arg-type]


def _of_file(given: str | os.PathLike[str], columns: Columns) -> Iterator[Conversation]:
    path = Path(given)
    if isinstance(given, str) and ("\0" in given or kind_of(path) == "nothing"):
        raise DataError(
            "there is no such file",
            where=repr(given[:80]),
            remedy="Check the path; what was said itself is given as (speaker, text) pairs",
        )
    return read_conversations(path, columns=columns)


def _rows_of_table(given: Any) -> Iterable[Any] | None:
    """Rows as dicts, or None for what has no columns. A method is told by its name, so that no library is imported."""
    names = getattr(given, "column_names", None) if hasattr(given, "to_pylist") else getattr(given, "columns", None)
    if names is None:
        return None
    names = list(names)
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise DataError(f"the column {twice!r} stands twice", remedy="Rename one of them")
    if hasattr(given, "to_pylist"):  # Arrow
        return given.to_pylist()  # type: ignore[no-any-return]
    if hasattr(given, "to_dicts"):  # Polars
        return given.to_dicts()  # type: ignore[no-any-return]
    if hasattr(given, "to_dict"):
        return given.to_dict("records")  # type: ignore[no-any-return]
    if hasattr(given, "iterrows"):
        return (dict(zip(names, row, strict=True)) for _, row in given.iterrows())
    raise DataError(f"a {type(given).__name__} has columns, but gives no rows", remedy=WAYS)


def _of_elements(elements: Iterable[Any], columns: Columns) -> tuple[Iterator[Conversation], bool]:
    """Elements of one kind, told by the first of them."""
    rest = iter(elements)
    first = next(rest, None)
    if first is None:
        raise DataError("it has no utterances", remedy=WAYS)
    every = chain([first], rest)
    if isinstance(first, Conversation):
        return _conversations(every), False
    if isinstance(first, Mapping):
        return conversations_of_rows(every, columns), False
    return iter([Conversation("0", [_turn(pair, i) for i, pair in enumerate(every)])]), True


def _conversations(elements: Iterable[Any]) -> Iterator[Conversation]:
    for i, element in enumerate(elements):
        if not isinstance(element, Conversation):
            raise DataError(
                f"it is a {type(element).__name__}, and those before it are conversations",
                where=place(element=i),
                remedy="Give elements of one kind",
            )
        yield element


def _turn(pair: Any, position: int) -> Utterance:
    is_pair = isinstance(pair, tuple | list) and len(pair) == 2
    if is_pair and all(isinstance(part, str) for part in pair):
        return Utterance(*pair)
    if isinstance(pair, str):
        found, remedy = "a text alone does not say who speaks", "Give (speaker, text) pairs"
    elif is_pair and isinstance(pair[0], tuple | list):
        found, remedy = "it is a list of pairs, not a pair", "Make each list of pairs a Conversation"
    else:
        shown = " ".join(repr(pair).split())
        found, remedy = f"it is {shown:.60}, not a (speaker, text) pair of strings", WAYS
    raise DataError(found, where=place(element=position), remedy=remedy)
