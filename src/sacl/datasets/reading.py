"""What the readers of released data sets share: repaired text, tables, and the check of counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sacl.conversation import Conversation
from sacl.errors import DataError, place
from sacl.textfile import csv_rows, numbered_lines, require_file

Counts = Mapping[str, tuple[int, int]]
"""Conversations and labelled utterances by split."""

# Bytes 0x80-0x9F of Windows-1252 stand in these releases as C1 control characters (decoded as Latin-1), or as they are.
_WINDOWS = {byte: bytes([byte]).decode("cp1252", "replace") for byte in range(0x80, 0xA0)}
_LATIN = {byte: chr(byte) for byte in range(0xA0, 0x100)}
_REPAIR = _WINDOWS | {0xDC00 + byte: char for byte, char in (_WINDOWS | _LATIN).items()} | {0xA0: " ", 0xDCA0: " "}


def repaired(text: str) -> str:
    """The text without stray Windows-1252: C1 controls and undecoded bytes become the signs they meant.

    A no-break space becomes a space, as in the cleaned files in circulation.

    >>> repaired("it\\x92s")
    'it’s'
    """
    return text.translate(_REPAIR)


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a released text file, repaired."""
    require_file(path)
    for n, line in numbered_lines(path, str(path), errors="surrogateescape"):
        yield n, repaired(line)


def rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Numbered rows of a released CSV that has these columns, repaired."""
    return csv_rows(lines(path), str(path), columns)


def emotion(name: str, known: Mapping[str, str], path: Path, line: int) -> str:
    """The label that a release's own name stands for."""
    try:
        return known[name.strip().lower()]
    except KeyError:
        raise DataError(
            f"unknown emotion {name!r}",
            where=place(file=path, line=line),
            remedy=f"Expected one of: {', '.join(known)}",
        ) from None


def check_choice(what: str, given: str, known: Sequence[str]) -> None:
    """Raise a DataError for an option's value that is not among the known ones."""
    if given not in known:
        raise DataError(f"unknown {what} {given!r:.60}", remedy=f"Use one of: {', '.join(known)}")


def check_counts(name: str, splits: Mapping[str, Sequence[Conversation]], expected: Counts | None) -> None:
    """Raise a DataError where a split has other counts than the published ones.

    A split named `train+valid` in `expected` is the two together. None checks nothing.
    """
    for split, wanted in (expected or {}).items():
        together = [c for part in split.split("+") for c in splits[part]]
        found = (len(together), sum(u.emotion is not None for c in together for u in c.utterances))
        if found != wanted:
            raise DataError(
                f"found {found[0]} conversations with {found[1]} labelled utterances, "
                f"expected {wanted[0]} with {wanted[1]}",
                where=place(file=name, split=split),
                remedy="Get the released files again, or pass expected=None to read them as they are",
            )
