"""Conversations from and to files: JSONL, CSV, plain `Speaker: text` lines; and from chats that others export.

JSONL, CSV and lines are read one conversation at a time, so memory does not grow with the file; an export is one
conversation, unless it is divided. Every problem is one DataError that names file, line, conversation and utterance; a
file is written to the side and moved into place when it is complete.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TextIO, get_args

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, place
from sacl.exports.captions import read_captions
from sacl.exports.slack import is_export, read_slack, read_slack_folder
from sacl.exports.told import Format, told_from
from sacl.exports.whatsapp import DateOrder, read_whatsapp
from sacl.interchange import assembled, from_object, parsed, refuse_too_long, within
from sacl.rows import DEFAULT_COLUMNS, Columns, read_csv, refuse_loss, write_csv
from sacl.textfile import DATE, SPEAKER, Line, Progress, kind_of, numbered_lines, require_file, written_aside

__all__ = ["DEFAULT_COLUMNS", "Columns", "DateOrder", "Format", "Written", "read_conversations", "write_conversations"]

Written = Literal["jsonl", "csv", "txt"]

_DATED = re.compile(rf"[\[(<]?{DATE}")
_TIMED = re.compile(r"[0-9][.:h][0-9]{2}")

LARGEST_EXPORT = 128 * 2**20
"""Characters. It is held as a whole; a larger file is hardly a chat's."""


def read_conversations(
    source: Path | str | TextIO,
    format: Format | None = None,
    columns: Columns = DEFAULT_COLUMNS,
    *,
    gap: float | None = None,
    dates: DateOrder | None = None,
    progress: Progress | None = None,
) -> Iterator[Conversation]:
    """Conversations of a file or an open text stream, one after another.

    - `jsonl`: one conversation a line, as in interchange.from_object; without `id` it is named by its position. A
      JSON document of one, or a list of them, is read too, as a whole.
    - `csv`: one utterance a row, under a header; see Columns. The rows of a conversation stand together, cells
      between commas, semicolons or tabs.
    - `txt`: one turn a line, `Ann: Hello`. A blank line ends a conversation; each is named by its position.
      A speaker is what stands before the first colon, if it starts with a letter or digit, has at most 40
      characters, none of them `,;!?"`, and a space or the line's end follows the colon. A date or clock before the
      speaker, or behind in brackets, is left out. Any other line goes on with the turn above.
    - `whatsapp`, `slack`, `vtt`, `srt`: see sacl.exports. Of Slack also a channel's folder, or the whole export's.

    Args:
        source: a path, or an open text stream.
        format: by default told from the suffix (`.gz` may follow it): .jsonl, .csv, .vtt, .srt. What .txt, .json, a
            name without suffix or a stream holds is told from how it begins.
        columns: names of the CSV's columns.
        gap: seconds of silence after which another conversation begins, in an export; by default it is one.
        dates: the order of day, month and year in WhatsApp's export; by default told from its dates.
        progress: called as progress("read", bytes read, bytes in all), 0 in all where that is not known.

    Raises:
        DataError: the file is missing, empty, not UTF-8, or anything in it is not of the format.
        FeatureError: a vector that is empty or not finite.

    >>> import io
    >>> from sacl import read_conversations
    >>> [c] = read_conversations(io.StringIO("Ann: You came!\\nBo: I said I would."))
    >>> c.utterances[1].speaker
    'Bo'
    """
    if isinstance(source, str):
        source = Path(source)
    name = str(source) if isinstance(source, Path) else str(getattr(source, "name", "the text given"))
    if gap is not None and not (gap > 0 and math.isfinite(gap)):
        raise DataError(f"the gap is {gap:g}", where=name, remedy="Give a length of time above 0, or none")
    if isinstance(source, Path):
        if kind_of(source) == "folder" and (format == "slack" or (format is None and is_export(source))):
            return _some(read_slack_folder(source, gap), name)
        require_file(source)
    kind = _format(name, format)
    lines = numbered_lines(source, name, progress=progress)
    return _some(_read(lines, name, kind, source, columns, gap, dates), name)


def _read(
    lines: Iterator[Line],
    name: str,
    kind: Format | None,
    source: Path | TextIO,
    columns: Columns,
    gap: float | None,
    dates: DateOrder | None,
) -> Iterator[Conversation]:
    if kind is None:
        kind, lines = told_from(lines, name, columns.required())
    if gap is not None and kind in get_args(Written):
        found = f"a gap divides chats that are exported with their times, and {kind} says itself what a conversation is"
        raise DataError(found, where=name, remedy="Leave it out")
    if kind == "csv":
        return read_csv(lines, name, columns)
    if kind == "jsonl":
        return _read_jsonl(lines, name)
    if kind == "txt":
        return _read_txt(lines, name)
    lines = _bounded(lines, name)
    if kind == "whatsapp":
        return read_whatsapp(lines, name, gap, dates)
    if kind == "slack":
        return read_slack(lines, name, gap, source.parent if isinstance(source, Path) else None)
    return read_captions(lines, name, kind, gap)


def _bounded(lines: Iterator[Line], name: str) -> Iterator[Line]:
    size = 0
    for line in lines:
        size += len(line[1])
        if size > LARGEST_EXPORT:
            raise DataError(
                f"a chat's export is read as a whole, and it is larger than {LARGEST_EXPORT >> 20} MiB",
                where=name,
                remedy="Export less at a time, or write it as .jsonl, one conversation a line",
            )
        yield line


def write_conversations(conversations: Iterable[Conversation], path: Path | str, format: Written | None = None) -> int:
    """Write conversations to a file that `read_conversations` reads back the same, and return how many there were.

    JSONL holds everything. CSV holds no vectors. `Speaker: text` lines hold speakers and texts alone: ids are lost,
    anything else is refused. The file appears when it is complete; one that was there is replaced then.

    Args:
        conversations: at least one; they may be more than memory holds.
        path: the file; a name that ends in `.gz` is written gzipped.
        format: by default told from the name.

    Raises:
        DataError: something that the format cannot hold, no conversation at all, or a place that cannot be written to.
        FeatureError: a vector that is not finite.

    >>> from tempfile import TemporaryDirectory
    >>> from sacl import Conversation, Utterance, write_conversations
    >>> chat = Conversation("c1", [Utterance("Ann", "You came!")])
    >>> with TemporaryDirectory() as folder:
    ...     write_conversations([chat], f"{folder}/chat.csv")
    1
    """
    path = Path(path)
    kind = format or _suffix(str(path))
    if kind not in get_args(Written):
        raise _unknown(str(path), format, Written)
    write = {"jsonl": _write_jsonl, "csv": write_csv, "txt": _write_txt}[kind]
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


def _suffix(name: str) -> str:
    return Path(name.removesuffix(".gz")).suffix.lstrip(".").lower()


def _format(name: str, format: str | None) -> Format | None:
    """What was asked for, or what the name says; None where the content has to say it."""
    suffix = _suffix(name)
    suffix = "csv" if suffix == "tsv" else suffix
    kind: Any = format or (suffix if suffix in ("jsonl", "csv", "vtt", "srt") else None)
    if kind is None and suffix in ("", "txt", "json"):
        return None
    if kind not in get_args(Format):
        raise _unknown(name, format, Format)
    return kind  # type: ignore[no-any-return]


def _unknown(name: str, format: str | None, known: Any) -> DataError:
    if format is None and _suffix(name) == "zip":
        remedy = "Unpack it, and give the file or folder within"
    elif format is None and known is Format:
        kinds = ", ".join(get_args(known))
        remedy = f"Say what it is with --from: {kinds}; a chat's lines may be called .txt, a table be saved as .csv"
    else:
        remedy = f"Use one of: {', '.join(get_args(known))}"
    found = f"the format {format!r} is not known" if format else "its format cannot be told from the name"
    return DataError(found, where=name, remedy=remedy)


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
        if not position and begins_document(line):
            yield from _read_document(itertools.chain([(n, line)], lines), name, place(file=name, line=n))
            return
        if line.strip():
            yield from_object(parsed(line, place(file=name, line=n)), str(position), place(file=name, line=n))
            position += 1


def begins_document(line: str) -> bool:
    """Whether this first line is that of a JSON document of several lines, or of a list, and no line of JSONL."""
    return line.lstrip().startswith("[") or line.strip() == "{"


def _read_document(lines: Iterator[Line], name: str, where: str) -> Iterator[Conversation]:
    """Of JSON over several lines: a list of conversations, as `sacl predict --json` writes it, or a single one."""
    found = parsed("".join(line for _, line in _bounded(lines, name)), where)
    for i, one in enumerate(found if isinstance(found, list) else [found]):
        yield from_object(one, str(i), within(where, element=i))


def _write_jsonl(conversations: Iterable[Conversation], out: TextIO) -> None:
    for conversation in conversations:
        out.write(json.dumps(conversation.to_dict(), ensure_ascii=False) + "\n")


# Speaker: text


def _read_txt(lines: Iterator[Line], name: str) -> Iterator[Conversation]:
    position, begun = 0, 1
    turns: list[tuple[str, str]] = []
    for n, line in itertools.chain(lines, [(0, "")]):
        text = line.strip()
        if text:
            refuse_too_long(len(turns), place(file=name, line=n, conversation=position))
            begun = begun if turns else n
            _add_turn(turns, text, place(file=name, line=n))
        elif turns:
            where = place(file=name, line=begun, conversation=position)
            yield assembled(str(position), [Utterance(speaker, said) for speaker, said in turns], where)
            position, turns = position + 1, []


def _add_turn(turns: list[tuple[str, str]], line: str, where: str) -> None:
    start = SPEAKER.fullmatch(line)
    if start and not turns and _DATED.match(line) and _TIMED.search(start[1]):
        remedy = "Write it as `2024-01-31 10:15 Ann: Hello`, or leave dates and clocks out"
        raise DataError("it begins with a date and a time in no form that is known", where=where, remedy=remedy)
    if start:
        turns.append((start[1], start[2] or ""))
    elif turns:
        speaker, said = turns[-1]
        turns[-1] = (speaker, f"{said} {line}".strip())
    else:
        remedy = "Write it as `Ann: Hello`; other formats: --from jsonl, csv, whatsapp, slack, vtt, srt"
        raise DataError("the conversation starts without a speaker", where=where, remedy=remedy)


def _write_txt(conversations: Iterable[Conversation], out: TextIO) -> None:
    for i, conversation in enumerate(conversations):
        out.write("\n" * (i > 0))
        for u in conversation.utterances:
            where = place(conversation=conversation.id, utterance=u.id)
            refuse_loss(u, ("vector", "emotion", "time"), "A file of `Speaker: text` lines", where)
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
