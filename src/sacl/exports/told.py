"""What a file holds, told from how it begins."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Literal

from sacl.errors import DataError, place
from sacl.exports.captions import ARROW
from sacl.exports.whatsapp import begins_message
from sacl.textfile import Line, delimiter

Format = Literal["jsonl", "csv", "txt", "whatsapp", "slack", "vtt", "srt"]

_HEAD = 20
"""Lines that are looked at."""

_CONVERSATIONS = re.compile(r"\[?\s*\{[^{}]*\"utterances\"\s*:")

_SLACK = re.compile(r"\[\s*(\{.*|\]\s*)?|\{\s*(\"(ok|messages)\".*)?", re.DOTALL)


def _header(line: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter(line)), [])


def told_from(lines: Iterator[Line], name: str, columns: Sequence[str]) -> tuple[Format, Iterator[Line]]:
    """The kind of a text, and its lines, none of them lost. What is nothing else is `Speaker: text` lines.

    Args:
        lines: numbered lines.
        name: what errors call the file.
        columns: those that a CSV must have.

    Raises:
        DataError: it begins in two ways.
    """
    head: list[Line] = []
    for line in lines:
        head.append(line)
        if line[1].strip():
            break
    first = head[-1][1].strip() if head else ""
    if first == "{" or not first.startswith("{"):  # a line of JSONL may be long, and one of them says enough
        head += itertools.islice(lines, _HEAD)
    rest = itertools.chain(head, lines)
    following = [line for line in head if line[1].strip()]
    if first.startswith("WEBVTT"):
        return "vtt", rest
    if first[:1] in ("{", "[") and _CONVERSATIONS.match("".join(line for _, line in following).lstrip()):
        return "jsonl", rest
    if _SLACK.fullmatch(first):
        return "slack", rest
    if first.startswith("{"):
        return "jsonl", rest
    if ARROW in first or (first.isdecimal() and len(following) > 1 and ARROW in following[1][1]):
        return "srt", rest
    if begins_message(first):
        return "whatsapp", rest
    if set(columns) <= {cell.strip() for cell in _header(first[:10_000].replace("\r", " "))}:
        return "csv", rest
    dated = next((n for n, line in following if begins_message(line)), None)
    if dated is not None:
        raise DataError(
            "it does not begin like WhatsApp's export, but goes on like it",
            where=place(file=name, line=dated),
            remedy="Say which it is: --from whatsapp, or --from txt for `Speaker: text` lines",
        )
    return "txt", rest
