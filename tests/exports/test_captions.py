"""Captions with speakers: what is written is read back, marks of style are not, and every fault is placed."""

from __future__ import annotations

import contextlib
import html
import io
from pathlib import Path
from typing import Literal

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sacl.conversation import Conversation
from sacl.errors import DataError
from sacl.formats import read_conversations

Kind = Literal["vtt", "srt"]


def read(text: str, kind: Kind, gap: float | None = None) -> list[Conversation]:
    return list(read_conversations(io.StringIO(text, newline=""), kind, gap=gap))


def turns(text: str, kind: Kind) -> list[tuple[str, str | None, float | None]]:
    [chat] = read(text, kind)
    return [(u.speaker, u.text, u.time) for u in chat.utterances]


VOICES = """\
WEBVTT - a meeting
Kind: captions

STYLE
::cue { color: red }

NOTE
who was there: Ann, Bo

intro
00:01.500 --> 00:04.000 align:start
<v Ann>We are <i>late</i>, &amp; it &lt;rains&gt;.</v>

00:00:04.000 --> 00:00:05.000
<v.loud Bo>No: we
are not!

00:00:05.000 --> 00:00:06.000
Not at all.

00:00:05.500 --> 00:00:05.900
[music]

100:00:06.250 --> 100:00:07.000
<v Ann>Well.</v> <v Bo O'Hara><c.yellow>Well</c> <00:00:06.500>what?</v>
"""


def test_voices_of_webvtt_are_speakers() -> None:
    assert turns(VOICES, "vtt") == [
        ("Ann", "We are late, & it <rains>.", 1.5),
        ("Bo", "No: we are not! Not at all.", 4.0),
        ("Ann", "Well.", 360006.25),
        ("Bo O'Hara", "Well what?", 360006.25),
    ]


def test_names_before_a_colon_are_speakers_where_there_are_no_voices() -> None:
    cues = "00:01.000 --> 00:02.000\nAnn: You came!\n- Bo: I said\nI would.\n\n00:02.000 --> 00:03.000\nAt 12:30.\n"
    assert turns("WEBVTT\n\n" + cues, "vtt") == [("Ann", "You came!", 1.0), ("Bo", "I said I would. At 12:30.", 1.0)]


def test_subrip_is_read_with_its_numbers_and_commas() -> None:
    text = """\
1
00:00:01,000 --> 00:00:02,500
<font color="#ff0000">ANN:</font> I love you <3 & {\\an8}that is that.

2
00:00:02,500 --> 00:00:03,000
(a door slams)

00:01:03,5 --> 00:01:04,000
BO (on the phone): Hello?
"""
    assert turns(text, "srt") == [
        ("ANN", "I love you <3 & that is that.", 1.0),
        ("BO (on the phone)", "Hello?", 63.5),
    ]


def test_names_in_brackets_are_speakers_and_sounds_are_not() -> None:
    cue = "1\n00:00:0{},000 --> 00:00:09,000\n{}\n\n"
    said = [
        "[BO] I am furious.",
        "[SPEAKER_00]: Oh?",
        "[SIGHS] Well.",
        "[glass breaks] No!",
        "- [Dr Singh] Hi.\n- [x]: So.",
    ]
    assert turns("".join(cue.format(i, text) for i, text in enumerate(said)), "srt") == [
        ("BO", "I am furious.", 0.0),
        ("SPEAKER_00", "Oh? [SIGHS] Well. [glass breaks] No!", 1.0),
        ("Dr Singh", "Hi.", 4.0),
        ("x", "So.", 4.0),
    ]


def test_a_cue_without_a_blank_line_after_the_header_is_not_lost() -> None:
    assert turns("WEBVTT\n00:01.000 --> 00:02.000\nAnn: Hi\n", "vtt") == [("Ann", "Hi", 1.0)]


def test_a_silence_parts_captions() -> None:
    cue = "00:{:02}:00.000 --> 00:59:59.000\nAnn: Hi\n\n"
    chats = read("WEBVTT\n\n" + cue.format(0) + cue.format(1) + cue.format(30), "vtt", gap=600)
    assert [len(c) for c in chats] == [2, 1]


@pytest.mark.parametrize(
    ("kind", "text", "found"),
    [
        ("vtt", "00:01.000 --> 00:02.000\nAnn: Hi\n", "line 1: it does not begin with WEBVTT.*--from srt"),
        ("vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nHello\n", "line 4: the captions do not say who speaks.*<v Ann>"),
        ("srt", "1\n00:00:01,000 --> 00:00:02,000\nHello\n", "line 3: the captions do not say who speaks"),
        (
            "srt",
            "1\n00:00:01,000 --> 00:00:02,000\nAnn: Hi\n\nand more\n",
            "line 5: a cue's line of times is 'and more'",
        ),
        ("srt", "1\n00:01 --> 00:02\nAnn: Hi\n", "line 2: a cue's line of times is '00:01 --> 00:02'"),
        ("vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\n<v &nbsp;>Hi\n", "line 4, utterance 0: its speaker is empty"),
        (
            "srt",
            "1\n00:00:01,000 --> 00:00:02,000\nAnn: Hi\n2\n00:00:02,000 --> 00:00:03,000\nBo: Hi\n",
            "line 5: a cue begins within another",
        ),
        ("vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\n", "it holds no conversation"),
        ("srt", "1\n00:00:01,000 --> 00:00:02,000\n[music]\n", "it holds no conversation"),
    ],
)
def test_captions_at_fault_are_placed(tmp_path: Path, kind: Kind, text: str, found: str) -> None:
    (tmp_path / f"a.{kind}").write_text(text)
    with pytest.raises(DataError, match=rf"a\.{kind}(, |: ){found}") as caught:
        list(read_conversations(tmp_path / f"a.{kind}"))
    assert "\n" not in str(caught.value)


letters = st.characters(categories=["L", "N", "P", "S", "Zs"])
said = st.text(letters).map(lambda text: " ".join(text.split()))
cues = st.lists(
    st.tuples(said.filter(bool).filter(lambda s: s.strip()), said, st.integers(0, 10**8).map(lambda ms: ms / 1000)),
    min_size=1,
)


def clock(seconds: float, point: str) -> str:
    whole = round(seconds * 1000)
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}{point}{whole % 1000:03}"


@given(cues)
def test_voices_read_back_the_same(chat: list[tuple[str, str, float]]) -> None:
    text = "WEBVTT\n\n" + "".join(
        f"{clock(time, '.')} --> {clock(time + 1, '.')}\n"
        f"<v {html.escape(who, quote=False)}>{html.escape(what, quote=False)}</v>\n\n"
        for who, what, time in chat
    )
    assert turns(text, "vtt") == chat


plain = st.text(st.characters(categories=["L", "N"], include_characters=" .-'")).map(
    lambda text: " ".join(text.split())
)
names = st.from_regex(r"[A-Z][a-z]{0,9}( [A-Z]\.)?", fullmatch=True)


@given(st.lists(st.tuples(names, plain, st.integers(0, 10**8).map(lambda ms: ms / 1000)), min_size=1))
def test_names_of_subrip_read_back_the_same(chat: list[tuple[str, str, float]]) -> None:
    text = "".join(
        f"{i}\n{clock(time, ',')} --> {clock(time + 1, ',')}\n{who}: {what}\n\n"
        for i, (who, what, time) in enumerate(chat, 1)
    )
    assert turns(text, "srt") == chat


pieces = st.sampled_from(
    [
        "WEBVTT",
        "\n",
        "\n\n",
        "00:01.000",
        " --> ",
        "00:00:02,000",
        "<v Ann>",
        "</v>",
        "Ann: ",
        "NOTE",
        "&#0;",
        "1",
        "[x]",
    ]
)


@given(st.lists(pieces | st.text(max_size=3)).map("".join), st.sampled_from(["vtt", "srt"]))
def test_no_text_gives_anything_but_conversations_or_a_data_error(text: str, kind: Kind) -> None:
    with contextlib.suppress(DataError):
        assert all(c.utterances for c in read(text, kind))
    with contextlib.suppress(DataError):
        assert all(c.utterances for c in read("WEBVTT\n\n00:01.000 --> 00:02.000\n" + text, kind))
