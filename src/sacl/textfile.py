"""Text files, line by line: read with every fault placed, written to the side and then moved."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO, cast

from sacl.aside import reason, remedy, whole_file
from sacl.errors import DataError, place

Line = tuple[int, str]
Progress = Callable[[str, int, int], None]

LONGEST_LINE = 64 * 2**20
"""A longer line is taken for a file of another kind rather than read into memory."""

UNPACKED_FREELY, MOST_PACKED = 2**20, 50
"""Of a gzipped file: so many bytes, and beyond them so many for each packed one. Conversations pack 3 to 10 times."""

DATE = r"(?:[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.](?:[0-9]{4}|[0-9]{2}))(?![0-9])"
_CLOCK = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,6})?)?(?:\s?[AaPp]\.?[Mm]\b\.?|Z\b|[+-][0-9]{2}:?[0-9]{2})?"
_WHEN = rf"(?:{DATE}(?:(?:T|,?\s+){_CLOCK})?|{_CLOCK})"

SPEAKER = re.compile(
    rf"\s*(?:(?:\[{_WHEN}\]|\({_WHEN}\)|<{_WHEN}>|{_WHEN}(?=\s))\s*(?:[-–—|]\s*)?)?"
    rf"(\w[^:,;!?\"]{{0,39}}?)(?:\s*(?:\[{_WHEN}\]|\({_WHEN}\)))?\s*:(?:\s+(.*))?",
    re.DOTALL,
)
"""Up to 40 characters before a colon that a space or the line's end follows: `12:30` and `https://` are no speakers.

A date or clock before them, or behind them in brackets, is no part of the name: `[10:15] Ann: Hi`, `Ann (10:15): Hi`.
"""

_KINDS = {
    "gzip data": rb"\x1f\x8b",
    "a ZIP archive, as .xlsx and .docx are too": rb"PK\x03\x04",
    "an old Word or Excel file": rb"\xd0\xcf\x11\xe0",
    "a PDF": rb"%PDF-\d",
    "a picture": rb"\x89PNG|\xff\xd8\xff|GIF8[79]a",
    "sound or a film": rb"RIFF....(?:WAVE|AVI )|ID3[\x02-\x04]|OggS\0|fLaC|\0...ftyp|\x1aE\xdf\xa3|\xff[\xf2\xf3\xfb]",
    "packed data": rb"BZh\d1AY|\xfd7zXZ|7z\xbc\xaf|\x28\xb5\x2f\xfd|Rar!\x1a",
    "a table of Parquet": rb"PAR1\x15",
    "a data base of SQLite": rb"SQLite format 3\0",
}
"""How files begin that are no text."""

_UNPACK = {"gzip data": ": gzip -dc OLD > NEW", "a ZIP archive, as .xlsx and .docx are too": ", or save a table as CSV"}
_SAVED = "Check that it is a text file, saved as UTF-8"
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


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

    A file that begins with the byte-order mark of UTF-16 is read as that. Line ends are kept. Only a newline
    ends a line of a file: U+2028 and its like may stand in a text.

    Args:
        source: where the lines come from.
        name: what errors call it.
        errors: what to do with bytes that are not UTF-8; `surrogateescape` keeps them for a repair.
        progress: called every MiB as progress("read", bytes read, bytes in all), compressed ones of a gzipped file; of
            a stream, characters read of 0, since its length is not known.

    Raises:
        DataError: it cannot be read, is not UTF-8, holds NUL characters, or unpacks to far more than it weighs.
    """
    n = read = told = 0
    try:
        with _opened(source, name) as (stream, position, total):
            packed = position if Path(name).suffix == ".gz" else None
            while raw := stream.readline(LONGEST_LINE):
                n += 1
                read += len(raw)
                if packed is not None:
                    refuse_far_unpacked(read, packed, name, n)
                if progress is not None and read - told >= 2**20:
                    progress("read", read if position is None else position(), total)
                    told = read
                line = raw.decode("utf-8", errors) if isinstance(raw, bytes) else raw
                if isinstance(raw, str):
                    line.encode()  # a stream opened with surrogateescape lets through what is not UTF-8
                if "\0" in line:
                    raise DataError("it holds a NUL character", where=place(file=name, line=n), remedy=_SAVED)
                refuse_long(raw, name, n)
                yield n, line.removeprefix("\ufeff") if n == 1 else line
            if progress is not None:
                progress("read", total or read, total)
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise not_utf8(error, name, n if isinstance(source, Path) else None) from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError("the gzip data is damaged", where=name, remedy="Get or write the file again") from None
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror or error})", where=name, remedy="Check the file") from None


def refuse_far_unpacked(read: int, packed: Callable[[], int], name: str, line: int) -> None:
    """Raises a DataError where so many bytes came out of far fewer packed ones. It is asked at every line of a file."""
    if read > UNPACKED_FREELY and read > UNPACKED_FREELY + MOST_PACKED * packed():
        raise DataError(
            f"it unpacks to more than {MOST_PACKED} times its size",
            where=place(file=name, line=line),
            remedy="It is no file of conversations; if you know it, unpack it first",
        )


def refuse_long(text: str | bytes, name: str, line: int) -> None:
    """Raises a DataError for a line of LONGEST_LINE, where reading it has stopped."""
    if len(text) >= LONGEST_LINE:
        raise DataError("the line is longer than 64 MiB", where=place(file=name, line=line), remedy=_SAVED)


def not_utf8(error: Any, name: str, line: int | None) -> DataError:
    """What to say of a UnicodeError; no line of a stream, which is decoded ahead of its lines."""
    where = place(file=name, line=line)
    raw = error.object if isinstance(error.object, bytes) else error.object.encode("utf-8", "surrogatepass")
    if error.encoding.startswith("utf-16"):
        return DataError("it is not UTF-16, though it begins so", where=where, remedy="Save it as UTF-8")
    if _NO_TEXT.search(raw):
        return DataError("it is not text", where=where, remedy="Give a text file, saved as UTF-8")
    return DataError(
        "it is not UTF-8" + ("" if line is None else f" (byte {error.start + 1} of the line)"),
        where=where,
        remedy="Convert it, say with: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
    )


@contextmanager
def _opened(source: Path | TextIO, name: str) -> Iterator[tuple[Any, Callable[[], int] | None, int]]:
    """The stream; how far its file is read, None where that is what came out of it; and its length, 0 for unknown."""
    if not isinstance(source, Path):
        with as_text(source, getattr(source, "buffer", None), name) as stream:
            yield stream, None, 0
        return
    with source.open("rb") as raw, ExitStack() as opened:
        total = os.fstat(raw.fileno()).st_size  # 0 of a pipe
        unpacked = opened.enter_context(gzip.open(raw, "rb")) if source.suffix == ".gz" else raw
        stream = opened.enter_context(as_text(unpacked, unpacked, name))
        yield stream, raw.tell if stream is not raw and raw.seekable() else None, total


@contextmanager
def as_text(stream: Any, raw: Any, name: str) -> Iterator[Any]:
    """The stream, or what its bytes `raw` say where they begin as UTF-16.

    Raises:
        DataError: they begin as a file that is no text.
    """
    head = raw.peek(16)[:16] if hasattr(raw, "peek") else b""
    for kind, begin in _KINDS.items():
        if re.match(begin, head, re.DOTALL):
            remedy = f"Unpack it{_UNPACK[kind]}" if kind in _UNPACK else "Give a text file"
            raise DataError(f"it is {kind}, not text", where=name, remedy=remedy)
    if not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        yield stream
        return
    decoded = io.TextIOWrapper(raw, "utf-16", newline="\n")
    try:
        yield decoded
    finally:
        decoded.detach()  # else it would close what is not its own


def delimiter(header: str) -> str:
    """What stands between cells: a comma, or where this header would then be one cell, its semicolon or tab.

    >>> delimiter("speaker;text"), delimiter("speaker,text")
    (';', ',')
    """
    try:
        if len(next(csv.reader([header]), [])) > 1:
            return ","
    except csv.Error:  # whoever reads on says so
        return ","
    return next((mark for mark in (";", "\t") if mark in header.strip()), ",")


def csv_rows(
    lines: Iterator[Line], name: str, required: Sequence[str], options: str = "", known: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows under a CSV's header, each with the number of its first line; blank lines are left out.

    Cells stand between commas, semicolons or tabs, as in the header. `options` ends the remedy for a missing column;
    `known` are columns that may be missing.

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
    begin = list[Line]()
    for line in lines:
        begin.append(line)
        if line[1].strip():
            break
    lines = itertools.chain(begin, lines)
    rows = csv.reader(count(), strict=True, delimiter=delimiter(begin[-1][1]) if begin else ",")
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
            check_header(header, required, known, name, first, options)
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


def check_header(
    header: Sequence[str], required: Sequence[str], known: Sequence[str], name: str, line: int | None, options: str
) -> None:
    """Raises a DataError for a required column that is missing, and for one of these that stands twice."""
    where = place(file=name, line=line)
    for column in (*required, *known):
        if header.count(column) > 1 or (column in required and column not in header):
            raise DataError(
                f"the column {column!r} " + ("stands twice" if column in header else "is missing"),
                where=where,
                remedy=f"The file has: {', '.join(map(repr, header))}. Rename one, or say which to read{options}",
            )


@contextmanager
def written_aside(path: Path) -> Iterator[TextIO]:
    """A UTF-8 stream whose file takes the place of `path` when the block ends well, and vanishes when it does not.

    Raises:
        DataError: the place cannot be written to.
    """
    try:
        with whole_file(path) as raw:
            # No name and no time in the gzip header: the same conversations give the same bytes.
            binary = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
            with io.TextIOWrapper(cast(io.BufferedWriter, binary), "utf-8", newline="") as out:
                yield out
                out.flush()
                os.fsync(raw.fileno())  # here, for the wrapper closes what is not packed
    except OSError as error:
        raise DataError(f"it cannot be written ({reason(error)})", where=str(path), remedy=remedy(error)) from error
