"""Text files, line by line: read with every fault placed, written to the side and then moved."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from sacl.errors import DataError, place

Line = tuple[int, str]
Progress = Callable[[str, int, int], None]

LONGEST_LINE = 64 * 2**20
"""A longer line is taken for a file of another kind rather than read into memory."""

SPEAKER = re.compile(r"\s*(\w[^:,;!?\"]{0,39}?)\s*:(?:\s+(.*))?", re.DOTALL)
"""Up to 40 characters before a colon that a space or the line's end follows: `12:30` and `https://` are no speakers."""


def kind_of(path: Path) -> Literal["file", "folder", "nothing"]:
    """What stands at a path; nothing also where one may not look, or where the name is too long to be one."""
    try:
        return "folder" if path.is_dir() else "file" if path.exists() else "nothing"
    except OSError:
        return "nothing"


def require_file(path: Path) -> None:
    """Raise a DataError for what is missing, a folder, or empty."""
    kind = kind_of(path)
    if kind == "folder":
        raise DataError("it is a folder", where=str(path), remedy="Give a file")
    if kind == "nothing":
        raise DataError("there is no such file", where=str(path), remedy="Check the path")
    if path.is_file() and not path.stat().st_size:
        raise DataError("the file is empty", where=str(path), remedy="Give one with at least one conversation")


def numbered_lines(
    source: Path | TextIO, name: str, errors: str = "strict", progress: Progress | None = None
) -> Iterator[Line]:
    """Lines of a UTF-8 file, gzipped if its name ends in `.gz`, or of an open text stream, numbered from 1.

    Line ends are kept. Only a newline ends a line of a file: U+2028 and its like may stand in a text.

    Args:
        source: where the lines come from.
        name: what errors call it.
        errors: what to do with bytes that are not UTF-8; `surrogateescape` keeps them for a repair.
        progress: called every MiB as progress("read", bytes read, bytes in all), compressed ones of a gzipped file; of
            a stream, characters read of 0, since its length is not known.

    Raises:
        DataError: it cannot be read, is not UTF-8, or holds NUL characters.
    """
    n = read = told = 0
    try:
        with _opened(source) as (stream, position, total):
            while raw := stream.readline(LONGEST_LINE):
                n += 1
                read += len(raw)
                if progress is not None and read - told >= 2**20:
                    progress("read", read if position is None else position(), total)
                    told = read
                line = raw.decode("utf-8", errors) if isinstance(raw, bytes) else raw
                if isinstance(raw, str):
                    line.encode()  # a stream opened with surrogateescape lets through what is not UTF-8
                if "\0" in line or len(raw) >= LONGEST_LINE:
                    raise DataError(
                        "it holds a NUL character" if "\0" in line else "the line is longer than 64 MiB",
                        where=place(file=name, line=n),
                        remedy="Check that it is a text file, saved as UTF-8",
                    )
                yield n, line.removeprefix("\ufeff") if n == 1 else line
            if progress is not None:
                progress("read", total or read, total)
    except UnicodeError as error:
        # A text stream decodes ahead of its lines, so only of a file is the place known.
        known = isinstance(source, Path) and isinstance(error, UnicodeDecodeError)
        raise DataError(
            f"it is not UTF-8 (byte {error.start + 1} of the line)" if known else "it is not UTF-8",  # type: ignore[attr-defined]
            where=place(file=name, line=n if known else None),
            remedy="Convert it, say with: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
        ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError("the gzip data is damaged", where=name, remedy="Get or write the file again") from None
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror or error})", where=name, remedy="Check the file") from None


@contextmanager
def _opened(source: Path | TextIO) -> Iterator[tuple[Any, Callable[[], int] | None, int]]:
    """The stream; how far its file is read, None where that is what came out of it; and its length, 0 for unknown."""
    if not isinstance(source, Path):
        yield source, None, 0
        return
    with source.open("rb") as raw:
        total = os.fstat(raw.fileno()).st_size  # 0 of a pipe
        if source.suffix != ".gz":
            yield raw, None, total
            return
        with gzip.open(raw, "rb") as stream:
            yield stream, raw.tell if raw.seekable() else None, total


def csv_rows(lines: Iterator[Line], name: str, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows under a CSV's header, each with the number of its first line; blank lines are left out.

    Raises:
        DataError: no header, a column that is missing or stands twice, a row of another length, or a broken quote.
    """
    read = 0

    def count() -> Iterator[str]:
        nonlocal read
        for numbered in lines:
            read = numbered[0]
            yield numbered[1]

    header: list[str] | None = None
    rows = csv.reader(count(), strict=True)
    first = 1
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise DataError(
                f"it is not CSV ({error})", where=place(file=name, line=first), remedy="Check the quotes of this row"
            ) from None
        if row is None:
            break
        if header is None and row:
            header = [cell.strip() for cell in row]
            _check_header(header, required, name, first)
        elif header is not None and row:
            if len(row) != len(header):
                raise DataError(
                    f"the row has {len(row)} cells, the header {len(header)}",
                    where=place(file=name, line=first),
                    remedy="Put a text that has commas or line ends in quotes",
                )
            yield first, dict(zip(header, row, strict=True))
        first = read + 1
    if header is None:
        raise DataError("it has no header", where=name, remedy=f"Name the columns: {', '.join(required)}")


def _check_header(header: Sequence[str], required: Sequence[str], name: str, line: int) -> None:
    where = place(file=name, line=line)
    for column in required:
        if header.count(column) != 1:
            raise DataError(
                f"the column {column!r} " + ("stands twice" if column in header else "is missing"),
                where=where,
                remedy=f"The file has: {', '.join(map(repr, header))}. Rename one, or say which to read",
            )


@contextmanager
def written_aside(path: Path) -> Iterator[TextIO]:
    """A UTF-8 stream whose file takes the place of `path` when the block ends well, and vanishes when it does not.

    Raises:
        DataError: the place cannot be written to.
    """
    side = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with side.open("xb") as raw:
            # No name and no time in the gzip header: the same conversations give the same bytes.
            binary = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
            with io.TextIOWrapper(cast(io.BufferedWriter, binary), "utf-8", newline="") as out:
                yield out
                out.flush()
                # Before the move: a machine that fails must not leave a name without its content.
                os.fsync(raw.fileno())
        side.replace(path)
    except OSError as error:
        raise DataError(
            f"it cannot be written ({error.strerror or error})",
            where=str(path),
            remedy="Free space, or choose another folder",
        ) from None
    finally:
        with suppress(OSError):
            side.unlink()
