"""Captions that say who speaks: WebVTT (`<v Ann>Hello</v>`, or `Ann: Hello`) and SubRip, `.srt` (`Ann: Hello`).

A name may stand in brackets: `[ANN] Hello`. A cue that names a speaker is an utterance; one that names none goes on
with the utterance above. Sounds in brackets, `[music]`, are left out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any, Literal

from sacl.conversation import Conversation
from sacl.errors import DataError, place
from sacl.exports.silences import divided
from sacl.interchange import utterance
from sacl.textfile import SPEAKER, Line

ARROW = "-->"

_CLOCK = r"(?:(\d{1,6}):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?", re.ASCII)
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+([^\s<>][^<>]*)>")
_TAG = re.compile(r"</?[a-z][\w.]*(?:\s[^<>]*)?/?>|<\d[\d:]*:[\d.]+>|\{\\[^{}]*\}", re.IGNORECASE)
_SOUND = re.compile(r"\[.*\]|\(.*\)|[♪♫].*", re.DOTALL)
_NAMED = re.compile(r"\[(\w[^\[\]:,;!?\"]{0,39})\](?::(?:\s+(.*))?|\s+(.+))", re.DOTALL)
_EVENT = re.compile(
    r"(?i:music|songs?|sing(s|ing)|laugh(s|ing|ter)?|chuckl(es?|ing)|giggl(es?|ing)|applause|clap(s|ping)|cheer(s|ing)"
    r"|sigh(s|ing)?|sob(s|bing)?|cr(ies|ying)|weep(s|ing)|gasp(s|ing)?|cough(s|ing)?|groan(s|ing)?|scream(s|ing)?"
    r"|shout(s|ing)?|whisper(s|ing)?|doors?|phone|bells?|noise|silence|pause|beep(s|ing)?|inaudible|unintelligible"
    r"|crosstalk|indistinct|background|static)\b"
    r"|(?:.*\s)?[a-z]"
)
"""What in brackets is no name: a sound, or words that do not begin with capitals."""

_DASH = re.compile(r"\s*(?:[-–—]|>>)\s*")

Block = list[Line]


def read_captions(
    lines: Iterator[Line], name: str, kind: Literal["vtt", "srt"], gap: float | None = None
) -> Iterator[Conversation]:
    """The conversation of a caption file; see `divided` for the gap. An utterance's time is its cue's begin.

    Args:
        lines: numbered lines of the file.
        name: what errors call it.
        kind: `vtt` has a header, and `&amp;` in its texts.
        gap: seconds.

    Raises:
        DataError: a cue without its line of times, or the first words without a speaker.
    """
    turns: list[dict[str, Any]] = []
    starts: list[int] = []
    voices = False
    for time, cue in _cues(_blocks(lines), name, kind):
        begun, text = cue[0][0], "\n".join(line for _, line in cue)
        voices = voices or bool(_VOICE.search(text))
        for speaker, said in _spoken(text, voices, kind):
            if speaker is not None:
                turns.append({"speaker": speaker, "text": said, "time": time})
                starts.append(begun)
            elif turns and said and not _SOUND.fullmatch(said):
                turns[-1]["text"] = f"{turns[-1]['text']} {said}".strip()
            elif said and not _SOUND.fullmatch(said):
                raise DataError(
                    "the captions do not say who speaks",
                    where=place(file=name, line=begun),
                    remedy="Write `Ann: Hello`" + (", or `<v Ann>Hello</v>`" if kind == "vtt" else ""),
                )
    made = [utterance(t, i, place(file=name, line=n)) for i, (t, n) in enumerate(zip(turns, starts, strict=True))]
    yield from divided(made, gap, name)


def _blocks(lines: Iterator[Line]) -> Iterator[Block]:
    """Lines between blank ones."""
    block: Block = []
    for n, line in lines:
        if line.strip():
            block.append((n, line.strip()))
        elif block:
            yield block
            block = []
    if block:
        yield block


def _cues(blocks: Iterator[Block], name: str, kind: str) -> Iterator[tuple[float, Block]]:
    """Begin in seconds, and the lines of text, of which there is at least one."""
    for i, block in enumerate(blocks):
        if kind == "vtt" and not i:
            if not block[0][1].startswith("WEBVTT"):
                remedy = "Read it as the other kind (--from srt), or write WEBVTT and a blank line above it"
                raise DataError(
                    "it does not begin with WEBVTT", where=place(file=name, line=block[0][0]), remedy=remedy
                )
            if not any(ARROW in line for _, line in block):
                continue
            block = block[1:]
        if not block or (kind == "vtt" and re.match(r"(NOTE|STYLE|REGION)\b", block[0][1])):
            continue
        at = 1 if len(block) > 1 and ARROW not in block[0][1] else 0  # a cue may have a name, or a number
        number, line = block[at]
        times = _TIMES.fullmatch(line)
        if times is None:
            raise DataError(
                f"a cue's line of times is {line[:40]!r}",
                where=place(file=name, line=number),
                remedy="Write `00:00:01.000 --> 00:00:04.000` above its text, and no blank line within it",
            )
        inner = next((n for n, line in block[at + 1 :] if _TIMES.fullmatch(line)), None)
        if inner is not None:
            where = place(file=name, line=inner)
            raise DataError("a cue begins within another", where=where, remedy="Put a blank line between cues")
        if block[at + 1 :]:
            hours, minutes, seconds, part = (times[i] or "0" for i in range(1, 5))
            whole = 3600 * int(hours) + 60 * int(minutes) + int(seconds)
            yield (1000 * whole + int(part.ljust(3, "0"))) / 1000, block[at + 1 :]


def _spoken(text: str, voices: bool, kind: str) -> Iterator[tuple[str | None, str]]:
    """Speakers, None where the one above goes on, and what they say."""
    if voices:
        before, *rest = _VOICE.split(text)
        yield None, _plain(before, kind)
        for speaker, said in zip(rest[::2], rest[1::2], strict=True):
            yield _plain(speaker, kind), _plain(said, kind)
        return
    for line in text.split("\n"):
        plain = _plain(line, kind)
        bare = _DASH.sub("", plain, count=1) if _DASH.match(plain) else plain
        named = _NAMED.fullmatch(bare)
        if named and (named[3] is None or not _EVENT.match(named[1])):  # `[BO] No!` and `[bo]: No!`, not `[sighs] No!`
            yield named[1].strip(), named[2] or named[3] or ""
            continue
        found = SPEAKER.fullmatch(bare)
        yield (found[1], found[2] or "") if found else (None, plain)


def _plain(text: str, kind: str) -> str:
    """On one line, without marks of style."""
    bare = _TAG.sub("", text)
    return " ".join((html.unescape(bare) if kind == "vtt" else bare).split())
