"""WhatsApp's "export chat", from Android (`12/31/23, 9:41 PM - Ann: hi`) or an iPhone (`[31.12.23, 21:41:05] Ann: hi`).

What the app wrote itself is left out: notices of who joined, and messages whose only content was a picture, a call or
the like. A caption stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Literal, get_args

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, place
from sacl.exports.silences import divided
from sacl.interchange import utterance
from sacl.textfile import Line

DateOrder = Literal["dmy", "mdy", "ymd"]

_HEADER = re.compile(
    r"""
    (?P<bracket>\[)?
    (?P<a>\d{4}|\d{1,2}) (?P<sep>[./-])\s? (?P<b>\d{1,2}) (?P=sep)\s? (?P<c>\d{4}|\d{1,2})\.?,?\s
    (?:(?:klo|kl\.?|à|às|um|at)\s)?
    (?P<hour>\d{1,2})[:.](?P<minute>\d\d)(?:[:.](?P<second>\d\d))?
    (?:\s?(?P<half>[ap])\.?\s?m\.?)?
    (?(bracket)\]\s?|\s-\s)
    (?P<said>.*)
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_NAME = re.compile(r"(?:~\s*)?([^:\n]{1,100}):(?=\s|\Z)")
# Marks of writing direction. On an iPhone the first of them stands before whatever the app wrote itself.
_APP = "\u200e"
_MARKS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_NO_MARKS = dict.fromkeys(map(ord, _MARKS))
_NO_TEXT = re.compile(
    r"<(media omitted|medien ausgeschlossen|(multimedia|archivo) omitido|médias? omis(es)?|media omessi|mídia oculta"
    r"|media weggelaten|attached: .*)>"
    r"|(image|video|audio|sticker|gif|document|contact card) omitted"
    r"|(you deleted this message|this message was deleted)\.?"
    r"|missed (group )?(voice|video) call.*|waiting for this message.*|null",
    re.IGNORECASE,
)
_ATTACHED = re.compile(
    r"^[^\n]+ \((file attached|datei angehängt|archivo adjunto|fichier joint|file allegato|arquivo anexado"
    r"|bestand bijgevoegd)\)(\n|\Z)",
    re.IGNORECASE | re.MULTILINE,
)
# Only where blanks begin: from each of a million blanks on, the rest would be looked at again.
_APPENDED = re.compile(r"(?<!\s)\s*(?:\u200e<[^<>\n]*>|<this message was edited>)", re.IGNORECASE)


@dataclass
class _Message:
    line: int
    header: re.Match[str]
    lines: list[str] = field(default_factory=list)


def begins_message(line: str) -> bool:
    """Whether a line begins with a date and a time as WhatsApp writes them."""
    return _header(line) is not None


def read_whatsapp(
    lines: Iterator[Line], name: str, gap: float | None = None, dates: DateOrder | None = None
) -> Iterator[Conversation]:
    """The conversation of an export; see `divided` for the gap.

    Times are seconds as the writing phone's clock showed them. `1/2/23` may be of January or of February: the order
    of day and month is told from the whole chat, in which some day is later than the 12th and time goes on. Where it
    cannot be told, utterances have no time.

    Args:
        lines: numbered lines of the file.
        name: what errors call it.
        gap: seconds.
        dates: the order of day, month and year; by default told from the dates.

    Raises:
        DataError: it does not begin with a message, a date that cannot be, or a gap where times are not known.
    """
    messages = _messages(lines, name)
    times = _times([(m.line, m.header) for m in messages], name, dates)
    turns: list[Utterance] = []
    for message, time in zip(messages, times, strict=True):
        said = _said(message)
        if said is not None:
            turn = {"speaker": said[0], "text": said[1], "time": time}
            turns.append(utterance(turn, len(turns), place(file=name, line=message.line)))
    yield from divided(turns, gap, name, remedy="Say which comes first, day or month: --dates dmy or --dates mdy")


def _header(line: str) -> re.Match[str] | None:
    return _HEADER.match(line.lstrip(_MARKS))


def _messages(lines: Iterator[Line], name: str) -> list[_Message]:
    messages: list[_Message] = []
    for n, line in lines:
        found = _header(line)
        # A chat is written in one style; a line in the other was quoted by somebody.
        if found and (not messages or found["bracket"] == messages[0].header["bracket"]):
            messages.append(_Message(n, found, [found["said"]]))
        elif messages:
            messages[-1].lines.append(line)
        elif line.strip():
            raise DataError(
                "it does not begin with a date and a time, as WhatsApp's export does",
                where=place(file=name, line=n),
                remedy="Take out what stands before the first message, `31.12.23, 21:41 - Ann: Hello` say",
            )
    return messages


def _said(message: _Message) -> tuple[str, str] | None:
    """Speaker and text, or None for what the app wrote."""
    whole = "".join(message.lines).replace("\r\n", "\n")
    found = _NAME.match(whole.translate(_NO_MARKS).strip())
    if found is None or _open_quote(found[1]):
        return None
    text = _APPENDED.sub("", whole[whole.index(":") + 1 :]).strip()
    if text.startswith(_APP):
        return None
    text = _ATTACHED.sub("", text.translate(_NO_MARKS).strip(), count=1).strip()
    return None if not text or _NO_TEXT.fullmatch(text) else (found[1].strip(), text)


def _open_quote(name: str) -> bool:
    """`Ann changed the subject to "Party: tonight"` has a colon, but names no speaker."""
    return name.count('"') % 2 == 1 or any(name.count(a) != name.count(b) for a, b in ("“”", "«»"))


def _times(headers: Sequence[tuple[int, re.Match[str]]], name: str, dates: DateOrder | None) -> Sequence[float | None]:
    """Seconds of each message, None throughout where the order of day and month cannot be told."""
    if not headers:
        return []
    first = headers[0][1]
    if dates:
        orders: Sequence[str] = [dates]
    elif len(first["a"]) > 2:
        orders = ["ymd"]
    else:
        orders = ["dmy", "mdy"]
    read = {order: [_seconds(header, order) for _, header in headers] for order in orders}
    fitting = {order: [t for t in times if t is not None] for order, times in read.items() if None not in times}
    if not fitting:
        last = max(times.index(None) for times in read.values())  # the date that no order was left for
        raise DataError(
            f"its date or time, {headers[last][1][0][:25].strip()!r}, is none, or not in the order of those before it",
            where=place(file=name, line=headers[last][0]),
            remedy=f"Correct it, or say in which order dates are written: --dates {', '.join(get_args(DateOrder))}",
        )
    if len(fitting) > 1 and first["sep"] != "/":
        return fitting["dmy"]  # written with dots or hyphens, the day comes first
    onward = {order: times for order, times in fitting.items() if _goes_on(times)} or fitting
    chosen = list(onward.values())
    return chosen[0] if all(times == chosen[0] for times in chosen) else [None] * len(headers)


_PLACES: dict[str, Callable[[re.Match[str]], tuple[str, str, str]]] = {
    "dmy": lambda m: (m["c"], m["b"], m["a"]),
    "mdy": lambda m: (m["c"], m["a"], m["b"]),
    "ymd": lambda m: (m["a"], m["b"], m["c"]),
}


def _seconds(header: re.Match[str], order: str) -> float | None:
    """Since 1970, by the phone's own clock; None for a date or time that cannot be."""
    year, month, day = map(int, _PLACES[order](header))
    hour = int(header["hour"])
    if header["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + 12 * (header["half"].lower() == "p")
    try:
        when = datetime(
            year + 2000 * (year < 100), month, day, hour % 24, int(header["minute"]), int(header["second"] or 0)
        )
    except ValueError:
        return None
    return (when - datetime(1970, 1, 1)).total_seconds() if hour <= 24 else None


def _goes_on(times: Sequence[float]) -> bool:
    """Whether no message is more than a day older than the one before it; a clock may be set back."""
    return all(b - a > -86400 for a, b in pairwise(times))
