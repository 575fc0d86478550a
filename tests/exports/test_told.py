"""What a file holds is told from its name, or from how it begins; what could be either is refused."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacl import formats
from sacl.errors import DataError
from sacl.exports.told import told_from
from sacl.formats import Format, read_conversations
from sacl.textfile import numbered_lines

TURN = {"speaker": "Ann", "text": "Hello"}
DOCUMENTS: list[object] = [[{"id": "c1", "utterances": [TURN]}], {"utterances": [TURN]}]
SAMPLES: dict[Format, list[str]] = {
    "jsonl": [json.dumps({"utterances": [TURN]}) + "\n"]
    + [json.dumps(listed, indent=indent) + "\n" for listed in DOCUMENTS for indent in (1, None)],
    "csv": [
        "speaker,text\nAnn,Hello\n",
        "text;speaker\nHello;Ann\n",
        "speaker\ttext\nAnn\tHello\n",
        '"text","speaker"\nHello,Ann\n',
    ],
    "txt": ["Ann: Hello\n", "\nAnn: Hello\n[31.12.23] Bo: Hi\n", "Ann: [x]\n"],
    "whatsapp": [
        "31.12.23, 21:41 - Ann: Hello\nBo: Hi\n",
        "\ufeff\u200e[12/31/23, 9:41:05\u202fPM] Ann: Hello\n",
    ],
    "slack": [
        json.dumps([{"user": "Ann", "text": "Hello", "ts": "1"}], indent=indent) + "\n" for indent in (None, 1, 4)
    ]
    + [
        json.dumps({"ok": True, "messages": [{"user": "Ann", "text": "Hello", "ts": "1"}]}, indent=i) for i in (None, 2)
    ],
    "vtt": ["WEBVTT\n\n00:01.000 --> 00:02.000\n<v Ann>Hello</v>\n"],
    "srt": [
        "1\n00:00:01,000 --> 00:00:02,000\nAnn: Hello\n",
        "\ufeff\n1\n00:00:01,000 --> 00:00:02,000\nAnn: Hello\n",
        "00:00:01,000 --> 00:00:02,000\nAnn: Hello\n",
    ],
}
CASES = [(kind, text) for kind, texts in SAMPLES.items() for text in texts]


@pytest.mark.parametrize(("kind", "text"), CASES)
def test_a_stream_is_told_from_how_it_begins_and_no_line_is_lost(kind: Format, text: str) -> None:
    stream = io.StringIO(text, newline="")
    found, lines = told_from(numbered_lines(stream, "-"), "-", ["speaker", "text"])
    assert found == kind
    assert "".join(line for _, line in lines) == text.removeprefix("\ufeff")


@pytest.mark.parametrize("name", ["chat.txt", "chat.json", "chat"])
@pytest.mark.parametrize(("kind", "text"), CASES)
def test_a_name_that_says_little_leaves_it_to_the_content(tmp_path: Path, kind: Format, text: str, name: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    [chat] = read_conversations(tmp_path / name)
    assert (chat.utterances[0].speaker, chat.utterances[0].text) == next(
        (u.speaker, u.text) for c in read_conversations(tmp_path / name, kind) for u in c.utterances
    )


def test_a_csv_is_told_by_the_columns_that_are_asked_for() -> None:
    columns = formats.Columns(speaker="Who", text="Said")
    [chat] = read_conversations(io.StringIO("Who,Said\nAnn,Hello\n"), columns=columns)
    assert chat.utterances[0].text == "Hello"


def test_what_begins_in_one_way_and_goes_on_in_another_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "chat.txt").write_text("Ann: see below\n31.12.23, 21:41 - Bo: Hello\n")
    with pytest.raises(DataError, match=r"chat\.txt, line 2: .*--from whatsapp, or --from txt"):
        list(read_conversations(tmp_path / "chat.txt"))
    [chat] = read_conversations(tmp_path / "chat.txt", "txt")
    assert [u.speaker for u in chat.utterances] == ["Ann", "Bo"]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("chat.log", "Say what it is with --from: jsonl, csv, txt, whatsapp"), ("chat.zip", "Unpack it")],
)
def test_other_names_are_refused_with_the_remedy(tmp_path: Path, name: str, remedy: str) -> None:
    (tmp_path / name).write_text("Ann: Hello\n")
    with pytest.raises(DataError, match=rf"its format cannot be told from the name\. {remedy}"):
        read_conversations(tmp_path / name)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt"])
def test_a_gap_is_refused_where_the_file_says_what_a_conversation_is(kind: Format) -> None:
    with pytest.raises(DataError, match=f"{kind} says itself what a conversation is"):
        list(read_conversations(io.StringIO(SAMPLES[kind][0]), kind, gap=60))


@pytest.mark.parametrize("gap", [0.0, -1.0, float("nan"), float("inf")])
def test_a_gap_is_a_length_of_time(gap: float) -> None:
    with pytest.raises(DataError, match="the gap is"):
        read_conversations(io.StringIO(SAMPLES["whatsapp"][0]), gap=gap)


@pytest.mark.parametrize("kind", ["whatsapp", "slack", "vtt", "srt"])
def test_an_export_larger_than_fits_is_refused_while_it_is_read(kind: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LARGEST_EXPORT", 100)
    stream = io.StringIO(SAMPLES[kind][0] + "Hello\n" * 10_000)
    with pytest.raises(DataError, match=r"larger than 0 MiB\. Export less at a time"):
        list(read_conversations(stream, kind))
    assert stream.tell() < 10_000


@given(st.text())
def test_no_text_gives_anything_but_conversations_or_a_data_error(text: str) -> None:
    with contextlib.suppress(DataError):
        assert all(c.utterances for c in read_conversations(io.StringIO(text, newline="")))
