"""A file of conversations as parts of some hundred records: the same ones every time, and nothing is parsed yet.

A record is a line of JSONL, the rows of a conversation in a CSV, or in Parquet; there a row may be a whole conversation
too. What cannot be told apart, a file without a header say, is one record with its fault. The parsers are those of
`sacl predict`: they see a record at a time, so that a fault costs the record that has it.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Literal, NamedTuple, get_args

from sacl.conversation import Conversation
from sacl.errors import DataError, place
from sacl.features.files import first_line
from sacl.formats import begins_document
from sacl.interchange import from_object, parsed, refuse_too_long
from sacl.recognizer.tables import conversations_of_rows
from sacl.rows import OPTIONS, Columns, read_csv, refuse_near_misses
from sacl.scale.places import DAMAGED, opened
from sacl.seen import Seen
from sacl.textfile import (
    LONGEST_LINE,
    Line,
    as_text,
    check_header,
    csv_rows,
    delimiter,
    not_utf8,
    refuse_far_unpacked,
    refuse_long,
)

Kind = Literal["jsonl", "csv", "parquet"]

RECORDS, CHARACTERS = 256, 2**20
"""A part ends at so many records, or earlier at so many characters of them: that is what a worker holds at a time."""


class Record(NamedTuple):
    """One conversation as it stands in its file.

    Args:
        line: its first line, from 1; of Parquet the row, from 0. None where the fault is the file's.
        position: how many conversations stand before it; it names one that has no id.
        content: its text.
        id: its conversation's, where that is known without parsing.
        fault: why it cannot be read, where that is known already.
    """

    line: int | None
    position: int
    content: str
    id: str | None = None
    fault: str = ""


class Part(NamedTuple):
    """Records that one worker reads together; `header` is that of a CSV."""

    number: int
    header: str
    records: list[Record]


def kind_of(address: str, given: str | None = None) -> Kind:
    """What a file is, by its name unless it is said.

    Raises:
        DataError: neither says it.

    >>> kind_of("chats/a.jsonl.gz")
    'jsonl'
    """
    suffix = address.removesuffix(".gz").rpartition(".")[2].lower()
    kind: Any = given or {"tsv": "csv", "pq": "parquet"}.get(suffix, suffix)
    if kind not in get_args(Kind):
        raise DataError(
            f"on Ray {kind if given else 'such a file'} is not read",
            where=address,
            remedy="Give .jsonl, .csv or .parquet; `sacl data convert` writes a chat's export as .jsonl",
        )
    return kind  # type: ignore[no-any-return]


def parts(address: str, kind: Kind, columns: Columns) -> Iterator[Part]:
    """A file's parts; at least one, for a file without conversations has that fault.

    Raises:
        RunError: it cannot be read, as it could be another time.
    """
    header = ""
    with opened(address) as (stream, packed):
        try:
            found: Iterator[Record]
            lines = _lines(stream, packed, address)
            if kind == "csv":
                header, found = _of_csv(lines, address, columns)
            else:
                found = _of_jsonl(lines, address) if kind == "jsonl" else _of_parquet(stream, address, columns)
        except DataError as error:
            found = iter([Record(None, 0, "", fault=str(error))])
        yield from _parts(_some(_to_the_fault(found)), header)


def conversation(record: Record, header: str, kind: Kind, name: str, columns: Columns) -> Conversation:
    """What a record stands for; `name` is what errors call its file.

    Raises:
        DataError, FeatureError: as the parsers do.
    """
    if record.fault:
        raise DataError(record.fault)
    if kind == "jsonl":
        where = place(file=name, line=record.line)
        return from_object(parsed(record.content, where), str(record.position), where)
    if kind == "csv":
        [one] = read_csv(_placed(header, record), name, columns)
        return one
    rows = json.loads(record.content)
    if len(rows) == 1 and "utterances" in rows[0]:
        return from_object(rows[0], str(record.position), place(file=name, row=record.line))
    [one] = conversations_of_rows(rows, columns)
    return one


def _placed(header: str, record: Record) -> Iterator[Line]:
    """A CSV's header and a record's lines under their own numbers, a blank line before so that the first is counted."""
    first = record.line or 1
    yield 1, header
    yield first - 1, "\n"
    # Only a newline ends a line, as in `numbered_lines`.
    yield from enumerate(io.StringIO(record.content, newline="\n"), first)


def _lines(stream: BinaryIO, packed: Callable[[], int] | None, name: str) -> Iterator[Line]:
    """Numbered lines, as of `numbered_lines`, but for what the parsers refuse and so costs a record, not the file.

    That is NUL, and bytes that are not UTF-8, which become lone surrogates.

    Raises:
        DataError: what is no text, or unpacks to far more than it weighs.
    """
    read = 0
    try:
        with as_text(stream, stream, name) as text:
            for n in itertools.count(1):
                raw = text.readline(LONGEST_LINE)
                if not raw:
                    return
                read += len(raw)
                if packed is not None:
                    refuse_far_unpacked(read, packed, name, n)
                refuse_long(raw, name, n)
                line = raw.decode("utf-8", "surrogateescape") if isinstance(raw, bytes) else raw
                yield n, line.removeprefix("\ufeff") if n == 1 else line
    except DAMAGED:
        raise _damaged(name, "the gzip data is damaged") from None
    except UnicodeDecodeError as error:
        raise not_utf8(error, name, None) from None


def _damaged(name: str, told: str) -> DataError:
    return DataError(f"it cannot be read to its end ({told})", where=name, remedy="Get the file again")


def _to_the_fault(records: Iterable[Record]) -> Iterator[Record]:
    """The records up to where a file is damaged, and then that."""
    position = 0
    try:
        for record in records:
            position = record.position + 1
            yield record
    except DataError as error:
        yield Record(None, position, "", fault=str(error))


def _some(records: Iterator[Record]) -> Iterator[Record]:
    first = next(records, None)
    yield Record(None, 0, "", fault="it holds no conversation") if first is None else first
    yield from records


def _parts(records: Iterator[Record], header: str) -> Iterator[Part]:
    number, held, size = 0, list[Record](), 0
    for record in records:
        if held and (len(held) == RECORDS or size + len(record.content) > CHARACTERS):
            yield Part(number, header, held)
            number, held, size = number + 1, [], 0
        held.append(record)
        size += len(record.content)
    yield Part(number, header, held)


def _of_jsonl(lines: Iterator[Line], name: str) -> Iterator[Record]:
    position = 0
    for n, line in lines:
        if not position and begins_document(line):
            remedy = "Write one conversation a line: `sacl data convert` does"
            raise DataError("it is one JSON document, not lines of it", where=place(file=name, line=n), remedy=remedy)
        if line.strip():
            yield Record(n, position, line)
            position += 1


def _of_csv(lines: Iterator[Line], name: str, columns: Columns) -> tuple[str, Iterator[Record]]:
    """The header, and the rows of each conversation as one record.

    Raises:
        DataError: a header that is missing, lacks a column or has one twice, or names what tells conversations apart
            otherwise.
    """
    header = next((line for _, line in lines if line.strip()), "")
    only = iter([(1, header)] if header else [])
    next(csv_rows(only, name, columns.required(), OPTIONS, columns.known()), None)  # refuses it
    mark = delimiter(header)
    cells = [cell.strip() for cell in next(csv.reader([header], delimiter=mark))]
    refuse_near_misses(cells, columns, name)
    at = cells.index(columns.conversation) if columns.conversation in cells else None
    return header, _grouped(_Rows(lines, mark), at, name)


class _Rows:
    """Rows of a CSV as they stand: number of the first line, text, cells. A row whose quotes are broken is one line.

    Of such a row, whose end is not to be told, the reader may have taken many more lines: they are read again.
    """

    def __init__(self, lines: Iterator[Line], mark: str) -> None:
        self._lines, self._mark = lines, mark
        self._taken, self._again = list[Line](), deque[Line]()

    def __iter__(self) -> Iterator[tuple[int, str, list[str]]]:
        reader = csv.reader(_Feed(self._next), strict=True, delimiter=self._mark)
        while True:
            self._taken = []
            try:
                cells = next(reader, None)
            except csv.Error:
                self._again.extendleft(reversed(self._taken[1:]))
                del self._taken[1:]
                line = self._taken[0][1][: csv.field_size_limit()].replace("\r", " ")  # which may be what it breaks at
                cells = next(csv.reader([line], delimiter=self._mark), [])
            if cells is None:
                return
            yield self._taken[0][0], "".join(line for _, line in self._taken), cells

    def _next(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self._taken.append(line)
        return line[1]


class _Feed:
    """An iterator that may go on after it has ended, which a generator does not."""

    def __init__(self, step: Callable[[], str]) -> None:
        self._step = step

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        return self._step()


def _grouped(rows: Iterable[tuple[int, str, list[str]]], at: int | None, name: str) -> Iterator[Record]:
    """Rows whose cell at that position is the same, as long as they stand together."""
    seen = Seen()
    held: Record | None = None
    texts = list[str]()
    for n, text, cells in rows:
        if held is None and not cells:
            continue
        id = cells[at] if at is not None and at < len(cells) else "0" if held is None else held.id
        if held is None or (cells and id != held.id):
            if held is not None:
                yield held._replace(content="" if held.fault else "".join(texts))
            position = 0 if held is None else held.position + 1
            held, texts = Record(n, position, "", id, _back(id, seen, name, n)), []
        held = _bounded(held, len(texts) + 1, place(file=name, line=n, conversation=id))
        if not held.fault:
            texts.append(text)
    if held is not None:
        yield held._replace(content="" if held.fault else "".join(texts))


def _bounded(held: Record, turns: int, where: str) -> Record:
    """The same record; at one turn more than a conversation may have it has that fault, and need not be held."""
    try:
        refuse_too_long(turns, where)
    except DataError as error:
        return held._replace(fault=held.fault or str(error))
    return held


def _back(id: str | None, seen: Seen, name: str, line: int | None) -> str:
    """The fault of a conversation that came before; none of a new one."""
    if id is None or not seen.add(id):
        return ""
    where = place(file=name, line=line, conversation=id)
    return str(DataError("the conversation comes back after another one", where=where, remedy="Sort by conversation"))


def _of_parquet(stream: BinaryIO, name: str, columns: Columns) -> Iterator[Record]:
    """A row a conversation, where there is a column `utterances`; else the rows of each, as in a CSV."""
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(stream)
        names = file.schema_arrow.names
        rows = enumerate(row for batch in file.iter_batches(batch_size=RECORDS) for row in batch.to_pylist())
        if "utterances" in names:
            for n, row in rows:
                if row.get("id") is not None:
                    row["id"] = str(row["id"])  # tables often number them
                yield Record(n, n, json.dumps([row], default=str), row.get("id"))
            return
        check_header(names, columns.required(), columns.known(), name, None, "")
        refuse_near_misses(names, columns, name)
        seen = Seen()
        groups = itertools.groupby(rows, key=lambda row: str(row[1].get(columns.conversation, "0")))
        for position, (id, group) in enumerate(groups):
            first, row = next(group)
            held, texts = Record(first, position, "", id, _back(id, seen, name, first)), [row]
            for _, row in group:
                held = _bounded(held, len(texts) + 1, place(file=name, row=first, conversation=id))
                if not held.fault:
                    texts.append(row)
            yield held._replace(content=json.dumps([] if held.fault else texts, default=str))
    except (ValueError, OSError) as error:  # pyarrow's, of a damaged file
        raise _damaged(name, first_line(error)) from error
