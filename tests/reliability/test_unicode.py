"""Texts, speakers and ids of every kind: they come back as they were or are refused, and move nothing but data."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from sacl.cli import app
from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, SaclError
from sacl.formats import read_conversations, write_conversations

KINDS = {
    "right to left": "\u05d0\u05d1\u05d2 \u0627\u0644\u0633\u0644\u0627\u0645",
    "overridden direction": "abc\u202egnp.exe\u202c \u2067x\u2069",
    "combining": "Z\u0351\u036b\u0343\u036a\u0302\u036b" * 200,
    "composed and not": "e\u0301\u00e9",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f1e9\U0001f1ea\U0001f44d\U0001f3fd",
    "beyond the plane": "\U0001d54f\U00020000\U0010fffd",
    "no width": "\u200b\u200c\u200d\u2060\ufeffx",
    "line ends of others": "a\u2028b\u2029c\x85d",
    "private and unassigned": "\ue000\uffff\U000f0000\u0378",
    "Hangul in parts": "\u1112\u1161\u11ab",
    "dotless and sharp": "I\u0130\u0131\u017f\u1e9e\ufb03",
    "digits of others": "\u0661\u0662\u06f3\uff14\u0968",
    "a path": "../../etc",
    "a longer path": "../" * 50 + "etc/passwd",
    "a drive": "C:\\Windows\\..\\x",
    "an option": "--help",
    "a device": "CON",
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>&amp;",
    "Rich's markup": "[bold red]x[/] [link=http://x.y]z[/link] :smile:",
    "a formula": '=cmd|"/C calc"!A0',
    "templates": "{{7*7}} ${7*7} #{7*7} %s %n {0}",
    "SQL": "'; DROP TABLE x; --",
    "a megabyte": "x" * 2**20,
    "a megabyte of emoji": "\U0001f600" * 2**18,
}
"""What is text, and comes back unchanged."""

SEQUENCES = {
    "clears the screen": "\x1b[2Jx",
    "sets the title": "\x1b]0;x\x07",
    "backs up": "abc\x08\x08\x08",
    "C1": "\x9b2J",
}
"""What is text too, and could move a terminal's cursor."""

NO_TEXT = {
    "NUL": "a\0b",
    "half a pair": "a\ud83d",
    "the other half": "\ude00",
    "halves in the wrong order": "\ude00\ud83d",
}
"""What no UTF-8 file can hold."""


def turns(text: str) -> list[Conversation]:
    return [Conversation(text, [Utterance(text, text, emotion=text, id=text), Utterance("b", text, time=1.5)])]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "jsonl.gz"])
@pytest.mark.parametrize("kind", KINDS | SEQUENCES)
def test_a_text_of_any_kind_comes_back_as_it_was(kind: str, suffix: str, tmp_path: Path) -> None:
    written = turns((KINDS | SEQUENCES)[kind])
    path = tmp_path / f"x.{suffix}"
    refused = ""
    try:
        write_conversations(written, path)
        assert [c.to_dict() for c in read_conversations(path)] == [c.to_dict() for c in written]
    except DataError as error:
        refused = str(error)
    # A cell of a CSV holds 128 KiB at most; and a file that unpacks to far more than it weighs is no chat's.
    expected = {"csv": "field larger", "jsonl.gz": "unpacks to more"}.get(suffix, "") if "megabyte" in kind else ""
    assert bool(refused) == bool(expected)
    assert expected in refused
    assert {file.name for file in tmp_path.iterdir()} <= {path.name}


@pytest.mark.parametrize("kind", NO_TEXT)
def test_what_is_no_text_is_refused_wherever_it_stands_and_nothing_is_written(kind: str, tmp_path: Path) -> None:
    wrong = NO_TEXT[kind]
    for key in ("speaker", "text", "emotion", "id"):
        turn = {"speaker": "A", "text": "x"} | {key: wrong}
        with pytest.raises(DataError, match=f"its {key} holds a NUL or a lone surrogate"):
            list(read_conversations(io.StringIO(json.dumps({"utterances": [turn]})), "jsonl"))
        for suffix in ("jsonl", "csv", "txt"):
            with pytest.raises(DataError):
                write_conversations([Conversation("c", [Utterance(**turn)])], tmp_path / f"x.{suffix}")
    assert not list(tmp_path.iterdir())


ANY = st.text(
    st.one_of(st.characters(), st.sampled_from("\0\ud800\udfff\x1b\u202e\u0301\u200d\ufeff\r\n\t\x85\u2028:,;\"'<>[]"))
)


@settings(max_examples=150)
@given(st.lists(st.tuples(ANY, ANY), min_size=1, max_size=4), st.sampled_from(["jsonl", "csv", "txt"]))
def test_any_text_is_read_as_written_or_refused_by_an_error_of_our_own(said: list[tuple[str, str]], kind: Any) -> None:
    lines = {
        "jsonl": lambda: json.dumps({"utterances": [{"speaker": s, "text": t} for s, t in said]}),
        "csv": lambda: "speaker,text\n" + "".join(f'"{s}","{t}"\n'.replace('"', '""') for s, t in said),
        "txt": lambda: "".join(f"{s}: {t}\n" for s, t in said),
    }
    found, refused = list[Conversation](), ""
    try:
        found = list(read_conversations(io.StringIO(lines[kind]()), kind))
    except SaclError as error:
        refused = str(error)
    assert refused.isprintable()
    if kind == "jsonl" and found:
        assert [(u.speaker, u.text) for u in found[0].utterances] == said


@pytest.mark.parametrize("format", ["table", "jsonl", "csv"])
def test_no_speaker_moves_a_cursor_makes_a_file_or_is_taken_for_markup(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {k: v for k, v in (KINDS | SEQUENCES).items() if len(v) < 1_000}
    whole = Conversation("../../id", [Utterance(v, f"{v} said this", id=str(i)) for i, v in enumerate(short.values())])
    (tmp_path / "in").mkdir()
    write_conversations([whole], tmp_path / "in" / "x.jsonl")
    monkeypatch.chdir(tmp_path / "in")
    done = CliRunner().invoke(app, ["predict", "x.jsonl", "--format", format])
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "x.jsonl"]
    if format == "table":
        # What Rich writes itself are line ends alone: nothing here is a terminal.
        assert not any(c in done.stdout for c in "\x1b\x07\x08\x9b")
        assert "[bold red]x[/]" in done.stdout
        assert ":smile:" in done.stdout
    if format == "jsonl":
        found = json.loads(done.stdout)
        assert [u["speaker"] for u in found["utterances"]] == list(short.values())


def test_an_error_names_what_it_found_without_moving_a_cursor(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"id": "\x1b[2J\x07", "utterances": [{"speaker": "A", "text": 5}]}))
    with pytest.raises(DataError) as error:
        list(read_conversations(path))
    assert "conversation \\x1b[2J\\x07, utterance 0" in str(error.value)
