"""Conversations from and to files: JSONL, CSV, and plain `Speaker: text` lines.

Files are read one conversation at a time, so memory does not grow with them. Every problem is one DataError that names
file, line, conversation and utterance; a file is written to the side and moved into place when it is complete.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TextIO, get_args

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, place
from sacl.interchange import assembled, from_object, parsed, utterance
from sacl.textfile import Line, csv_rows, numbered_lines, require_file, written_aside

Format = Literal["jsonl", "csv", "txt"]

SPEAKER = re.compile(r"\s*(\w[^:,;!?\"]{0,39}?)\s*:(?:\s+(.*))?", re.DOTALL)
"""Up to 40 characters before a colon that a space or the line's end follows: `12:30` and `https://` are no speakers."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a CSV's columns. `speaker` and `text` must be there, and any that is given another name than here.

    Args:
        conversation: id of the conversation; a file without this column is one conversation, named `0`.
        speaker: who speaks.
        text: what was said.
        emotion: the label; an empty cell is an unlabelled utterance.
        utterance: id of the utterance; an empty cell is its position.
        time: seconds from any fixed moment; an empty cell is none.
    """

    conversation: str = "conversation"
    speaker: str = "speaker"
    text: str = "text"
    emotion: str = "emotion"
    utterance: str = "utterance"
    time: str = "time"

    def required(self) -> list[str]:
        """The columns that a file must have."""
        return [
            getattr(self, field.name)
            for field in fields(self)
            if field.name in ("speaker", "text") or getattr(self, field.name) != field.default
        ]


DEFAULT_COLUMNS = Columns()


def read_conversations(
    source: Path | str | TextIO, format: Format | None = None, columns: Columns = DEFAULT_COLUMNS
) -> Iterator[Conversation]:
    """Conversations of a file or an open text stream, one after another.

    Three formats, told by the suffix (`.gz` may follow it) or by `format`:

    - `jsonl`: one conversation a line, as in interchange.from_object; without `id` it is named by its position.
    - `csv`: one utterance a row, under a header; see Columns. The rows of a conversation stand together.
    - `txt`: one turn a line, `Ann: Hello`. A blank line ends a conversation; each is named by its position.
      A speaker is what stands before the first colon, if it starts with a letter or digit, has at most 40
      characters, none of them `,;!?"`, and a space or the line's end follows the colon. Any other line goes on with
      the turn above.

    Args:
        source: a path, or an open text stream, which then needs `format`.
        format: `jsonl`, `csv` or `txt`; by default told from the suffix.
        columns: names of the CSV's columns.

    Raises:
        DataError: the file is missing, empty, not UTF-8, or anything in it is not of the format.
        FeatureError: a vector that is empty or not finite.

    >>> import io
    >>> [c] = read_conversations(io.StringIO("Ann: You came!\\nBo: I said I would."), format="txt")
    >>> c.utterances[1].speaker
    'Bo'
    """
    if isinstance(source, str):
        source = Path(source)
    name = str(source) if isinstance(source, Path) else str(getattr(source, "name", "the text given"))
    kind = _format(name, format)
    if isinstance(source, Path):
        require_file(source)
    lines = numbered_lines(source, name)
    if kind == "csv":
        return _some(_read_csv(lines, name, columns), name)
    return _some((_read_jsonl if kind == "jsonl" else _read_txt)(lines, name), name)


def write_conversations(conversations: Iterable[Conversation], path: Path | str, format: Format | None = None) -> int:
    """Write conversations to a file that `read_conversations` reads back the same, and return how many there were.

    JSONL holds everything. CSV holds no vectors. `Speaker: text` lines hold speakers and texts alone: ids are lost,
    anything else is refused. The file appears when it is complete; one that was there is replaced then.

    Raises:
        DataError: something that the format cannot hold, no conversation at all, or a place that cannot be written to.
        FeatureError: a vector that is not finite.
    """
    path = Path(path)
    write = {"jsonl": _write_jsonl, "csv": _write_csv, "txt": _write_txt}[_format(str(path), format)]
    count = 0

    def readable() -> Iterator[Conversation]:
        nonlocal count
        for conversation in conversations:
            count += 1
            yield from_object(conversation.to_dict())  # refuses what the reader would refuse

    with written_aside(path) as out:
        write(readable(), out)
        if not count:
            raise DataError("there is no conversation to write", where=str(path), remedy="Give at least one")
    return count


def _format(name: str, format: str | None) -> str:
    kind = format or Path(name.removesuffix(".gz")).suffix.lstrip(".").lower()
    if kind not in get_args(Format):
        raise DataError(
            f"the format {format!r} is not known" if format else "its format cannot be told from the name",
            where=name,
            remedy=f"Use one of: {', '.join(get_args(Format))}",
        )
    return kind


def _some(conversations: Iterator[Conversation], name: str) -> Iterator[Conversation]:
    empty = True
    for conversation in conversations:
        empty = False
        yield conversation
    if empty:
        raise DataError("it holds no conversation", where=name, remedy="Give at least one utterance")


# JSONL


def _read_jsonl(lines: Iterator[Line], name: str) -> Iterator[Conversation]:
    position = 0
    for n, line in lines:
        if line.strip():
            yield from_object(parsed(line, place(file=name, line=n)), str(position), place(file=name, line=n))
            position += 1


def _write_jsonl(conversations: Iterable[Conversation], out: TextIO) -> None:
    for conversation in conversations:
        out.write(json.dumps(conversation.to_dict(), ensure_ascii=False) + "\n")


# CSV


def _read_csv(lines: Iterator[Line], name: str, columns: Columns) -> Iterator[Conversation]:
    done: set[str] = set()
    id, begun, turns = "0", 1, list[Utterance]()
    for n, row in csv_rows(lines, name, columns.required()):
        if not (turns or done):
            _refuse_near_misses(row, columns, name)
        here = row.get(columns.conversation, "0")
        if turns and here != id:
            yield assembled(id, turns, place(file=name, line=begun, conversation=id))
            done.add(id)
            turns = []
        where = place(file=name, line=n, conversation=here)
        if here in done:
            raise DataError(
                "the conversation comes back after another one", where=where, remedy="Sort the file by conversation"
            )
        if not here.strip():
            raise DataError("its conversation is empty", where=place(file=name, line=n), remedy="Fill it in")
        if not turns:
            id, begun = here, n
        turns.append(utterance(_cells(row, columns, where), len(turns), where))
    if turns:
        yield assembled(id, turns, place(file=name, line=begun, conversation=id))


def _refuse_near_misses(header: Iterable[str], columns: Columns, name: str) -> None:
    """Without its column of labels or ids a file is read all the same, and wrongly if that was only misspelt."""
    names = [getattr(columns, field.name) for field in fields(columns)]
    free = {column.lower(): column for column in header if column not in names}
    for wanted in (columns.emotion, columns.conversation):
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
    turn: dict[str, Any] = {key: row[name] for key, name in names.items() if row.get(name)}
    turn["text"] = row[columns.text]
    if "time" in turn:
        try:
            turn["time"] = float(turn["time"])
        except ValueError:
            raise DataError(
                f"its time is {turn['time']!r:.40}", where=where, remedy="Give seconds, as a number"
            ) from None
    return turn


def _write_csv(conversations: Iterable[Conversation], out: TextIO) -> None:
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
            _refuse_loss(u, ("vector",), "CSV", place(conversation=conversation.id, utterance=u.id))
            time = "" if u.time is None else repr(u.time)
            writer.writerow([conversation.id, u.speaker, u.text, u.emotion or "", u.id, time])


# Speaker: text


def _read_txt(lines: Iterator[Line], name: str) -> Iterator[Conversation]:
    position, begun = 0, 1
    turns: list[tuple[str, str]] = []
    for n, line in itertools.chain(lines, [(0, "")]):
        text = line.strip()
        if text:
            begun = begun if turns else n
            _add_turn(turns, text, place(file=name, line=n))
        elif turns:
            where = place(file=name, line=begun, conversation=position)
            yield assembled(str(position), [Utterance(speaker, said) for speaker, said in turns], where)
            position, turns = position + 1, []


def _add_turn(turns: list[tuple[str, str]], line: str, where: str) -> None:
    start = SPEAKER.fullmatch(line)
    if start:
        turns.append((start[1], start[2] or ""))
    elif turns:
        speaker, said = turns[-1]
        turns[-1] = (speaker, f"{said} {line}".strip())
    else:
        remedy = "Read it as JSONL (--from jsonl)" if line.lstrip().startswith("{") else "Write it as `Ann: Hello`"
        raise DataError("the conversation starts without a speaker", where=where, remedy=remedy)


def _write_txt(conversations: Iterable[Conversation], out: TextIO) -> None:
    for i, conversation in enumerate(conversations):
        out.write("\n" * (i > 0))
        for u in conversation.utterances:
            where = place(conversation=conversation.id, utterance=u.id)
            _refuse_loss(u, ("vector", "emotion", "time"), "A file of `Speaker: text` lines", where)
            line = f"{u.speaker}: {u.text}".rstrip()
            turns: list[tuple[str, str]] = []
            if len(line.splitlines()) == 1 and SPEAKER.fullmatch(line):
                _add_turn(turns, line, where)
            if turns != [(u.speaker, u.text)]:
                raise DataError(
                    "the turn would not read back the same from a `Speaker: text` line",
                    where=where,
                    remedy='Write .jsonl or .csv, or take line ends out of texts and `:,;!?"` out of speakers',
                )
            out.write(line + "\n")


def _refuse_loss(utterance: Utterance, keys: Sequence[str], kind: str, where: str) -> None:
    for key in keys:
        if getattr(utterance, key) is not None:
            raise DataError(f"{kind} holds no {key}", where=where, remedy="Write .jsonl")
