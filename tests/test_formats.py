"""Conversations from and to files: what is written is read back, and every fault is one placed line."""

from __future__ import annotations

import contextlib
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, FeatureError
from sacl.formats import Format, read_conversations, write_conversations

TWO = [
    Conversation("c1", [Utterance("Ann", "You came!", "joy", time=0.5), Utterance("Bo", "I said, so I came.", id="x")]),
    Conversation("c2", [Utterance("Ann", 'He said "no".\nTwice.', "anger")]),
]


def read(text: str, format: Format) -> list[Conversation]:
    return list(read_conversations(io.StringIO(text, newline=""), format))


def line(*turns: object, **more: object) -> str:
    return json.dumps({"id": "c1", "utterances": turns, **more})


# What is written is read back.

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
names = texts.filter(str.strip)
times = st.none() | st.floats(allow_nan=False, allow_infinity=False)
vectors = st.none() | st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4).map(np.array)


def conversations(vectors: st.SearchStrategy[np.ndarray | None]) -> st.SearchStrategy[list[Conversation]]:
    turns = st.builds(Utterance, names, texts, st.none() | names, st.just(""), times, vectors)
    chats = st.builds(Conversation, names, st.lists(turns, min_size=1, max_size=4))
    return st.lists(chats, min_size=1, max_size=4, unique_by=lambda c: c.id)


@given(chats=conversations(vectors), suffix=st.sampled_from(["jsonl", "jsonl.gz"]))
def test_jsonl_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, chats: list[Conversation], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("formats") / f"chats.{suffix}"
    assert write_conversations(chats, path) == len(chats)
    back = list(read_conversations(path))
    assert [c.to_dict() for c in back] == [c.to_dict() for c in chats]


@given(chats=conversations(st.none()))
def test_csv_reads_back_the_same(tmp_path_factory: pytest.TempPathFactory, chats: list[Conversation]) -> None:
    path = tmp_path_factory.mktemp("formats") / "chats.csv"
    write_conversations(chats, path)
    assert list(read_conversations(path)) == chats


@given(st.lists(st.lists(st.tuples(names, texts), min_size=1, max_size=3), min_size=1, max_size=3))
def test_speaker_lines_read_back_the_same_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, chats: list[list[tuple[str, str]]]
) -> None:
    path = tmp_path_factory.mktemp("formats") / "chats.txt"
    given = [Conversation(str(i), [Utterance(*turn) for turn in turns]) for i, turns in enumerate(chats)]
    with contextlib.suppress(DataError):
        write_conversations(given, path)
    assert not path.exists() or list(read_conversations(path)) == given


def test_the_plainest_speaker_lines_are_not_refused(tmp_path: Path) -> None:
    chats = [Conversation("0", [Utterance("Ann", "You came!"), Utterance("Dr. Bo", "")])] * 2
    write_conversations(chats, tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "Ann: You came!\nDr. Bo:\n\nAnn: You came!\nDr. Bo:\n"


def test_the_same_conversations_give_the_same_bytes_gzipped_too(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_conversations(TWO, tmp_path / name)
    content = (tmp_path / "a.jsonl.gz").read_bytes()
    assert content == (tmp_path / "b.jsonl.gz").read_bytes()
    assert content[4:8] == bytes(4)  # the header's time


# Writing leaves nothing half-written.


def test_a_failure_halfway_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_conversations(TWO, path)
    before = path.read_bytes()

    def breaking() -> Iterator[Conversation]:
        yield TWO[0]
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_conversations(breaking(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "turn", "found"),
    [
        ("a.csv", Utterance("Ann", vector=np.ones(2)), "CSV holds no vector"),
        ("a.txt", Utterance("Ann", "Hello", "joy"), "holds no emotion"),
        ("a.txt", Utterance("Ann", "Hello", time=1.0), "holds no time"),
        ("a.txt", Utterance("Ann", "Hello\nagain"), "would not read back the same"),
        ("a.txt", Utterance("Ann, or Bo", "Hello"), "would not read back the same"),
        ("a.jsonl", Utterance("Ann", vector=np.array([1.0, np.nan])), "not finite"),
        ("a.jsonl", Utterance("Ann", "Hello", time=float("inf")), "not a finite number"),
        ("a.jsonl", Utterance("Ann", "\ud83d"), "lone surrogate"),
        ("a.jsonl", Utterance(" ", "Hello"), "its speaker is empty"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_not_dropped(
    tmp_path: Path, name: str, turn: Utterance, found: str
) -> None:
    with pytest.raises((DataError, FeatureError), match=f"conversation c9, utterance 0: .*{found}"):
        write_conversations([Conversation("c9", [turn])], tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_nothing_to_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no conversation to write"):
        write_conversations([], tmp_path / "a.jsonl")
    assert not list(tmp_path.iterdir())


def test_csv_refuses_two_conversations_of_one_id(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="conversation c1: another conversation has the same id"):
        write_conversations([TWO[0], TWO[0]], tmp_path / "a.csv")


def test_a_folder_that_is_missing_or_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent.*a\.csv: it cannot be written"):
        write_conversations(TWO, tmp_path / "absent" / "a.csv")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file.a\.csv: it cannot be written"):
        write_conversations(TWO, tmp_path / "file" / "a.csv")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.txt"])
def test_reading_does_not_hold_the_file_in_memory(tmp_path: Path, name: str) -> None:
    turns = [Utterance("Ann", "so long a line" * 60)] * 10
    path = tmp_path / name
    write_conversations((Conversation(str(i), [*turns]) for i in range(300)), path)
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_conversations(path)) == 300
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < path.stat().st_size / 4


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_results_are_read_again_as_conversations(tmp_path: Path, name: str, indent: int | None) -> None:
    turn = {
        "id": "t",
        "speaker": "Ann",
        "text": "Hi",
        "emotion": "joy",
        "probability": 0.5,
        "probabilities": {"joy": 0.5},
    }
    chats = [{"id": "c", "utterances": [turn]}, {"utterances": [turn]}]
    (tmp_path / name).write_text(json.dumps(chats, indent=indent))
    read = list(read_conversations(tmp_path / name))
    assert read == [Conversation(id, [Utterance("Ann", "Hi", "joy", "t")]) for id in ("c", "1")]
    (tmp_path / name).write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    assert list(read_conversations(tmp_path / name)) == read


def test_a_list_at_fault_is_placed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('[{"utterances": [{"speaker": "Ann", "text": "Hi"}]},\n {"turns": []}]')
    with pytest.raises(DataError, match=r"a\.jsonl, line 1, element 1: it is not a conversation"):
        list(read_conversations(tmp_path / "a.jsonl"))
    (tmp_path / "a.jsonl").write_text("[{\n")
    with pytest.raises(DataError, match=r"a\.jsonl, line 1: it is not JSON"):
        list(read_conversations(tmp_path / "a.jsonl"))


# Speaker: text.


def test_blank_lines_part_conversations_and_other_lines_go_on() -> None:
    chats = read("\nAnn: You came!\n  Really.\nBo:I said so.\n\n\nBo: Well?\n", "txt")
    assert [[(u.speaker, u.text) for u in c.utterances] for c in chats] == [
        [("Ann", "You came! Really. Bo:I said so.")],
        [("Bo", "Well?")],
    ]


@pytest.mark.parametrize(
    ("speaker", "text"),
    [("Ann", "a: b"), ("Dr. O'Neil-Smith", "x"), ("Speaker 1", ""), ("1", "x"), ("Žižek", "x"), ("A" * 40, "x")],
)
def test_these_are_speakers(speaker: str, text: str) -> None:
    [chat] = read(f"{speaker}: {text}\n", "txt")
    assert (chat.utterances[0].speaker, chat.utterances[0].text) == (speaker, text)


@pytest.mark.parametrize(
    "text",
    ["at 12:30", "12:30 sharp", "https://example.org", "Well, listen: no", "Wait! So: no", ": x", "B" * 41 + ": x"],
)
def test_these_are_no_speakers_but_go_on_with_the_turn(text: str) -> None:
    [chat] = read(f"Ann: Hello\n{text}\n", "txt")
    assert chat.utterances[0].text == f"Hello {text}"


@pytest.mark.parametrize(
    "line",
    [
        "({}) Ann: at 12:30: now",
        "[{}] Ann: at 12:30: now",
        "[{} AM] Ann: at 12:30: now",
        "{} Ann: at 12:30: now",
        "{} pm - Ann: at 12:30: now",
        "2024-01-31 {} Ann: at 12:30: now",
        "2024-01-31T{}Z Ann: at 12:30: now",
        "[31.12.2023, {}] Ann: at 12:30: now",
        "31/12/23 {} Ann: at 12:30: now",
        "[2024-01-31] Ann: at 12:30: now",
        "Ann ({}): at 12:30: now",
        "Ann [2024-01-31 {}]: at 12:30: now",
    ],
)
@pytest.mark.parametrize("clock", ["9:15", "10:15:03", "00:01:02.500"])
def test_a_clock_or_date_beside_the_speaker_is_no_part_of_the_name(line: str, clock: str) -> None:
    first = line.format(clock)
    [chat] = read(f"{first}\n{first.replace('Ann', 'Bo Lee')}\nand {clock} more\n", "txt")
    assert [(u.speaker, u.text) for u in chat.utterances] == [
        ("Ann", "at 12:30: now"),
        ("Bo Lee", f"at 12:30: now and {clock} more"),
    ]


def test_a_long_line_of_spaces_takes_no_longer_than_it_is_long() -> None:
    with pytest.raises(DataError, match="starts without a speaker"):
        read(f"Ann{' ' * 2**20}[10:15]{' ' * 2**20}x\n", "txt")


@pytest.mark.parametrize("first", ["31.12.2023 ora 21.15 - Matti: Hei", "[31.12.2023 noin 21.15] Matti: Hei"])
def test_a_first_line_with_a_date_and_time_of_an_unknown_form_is_refused(first: str) -> None:
    with pytest.raises(DataError, match=r"line 1: (it begins with a date and a time in no form|.*without a speaker)"):
        read(f"{first}\n", "txt")


@pytest.mark.parametrize("text", ["Hello\n", "Ann: Hello\n\nand then\n"])
def test_a_conversation_that_starts_without_a_speaker_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=f"line {text.count(chr(10))}: the conversation starts without a speaker"):
        read(text, "txt")


@given(st.text(), st.sampled_from(["jsonl", "csv", "txt"]))
def test_no_text_whatever_gives_anything_but_conversations_or_a_data_error(text: str, format: Format) -> None:
    with contextlib.suppress(DataError, FeatureError):
        for chat in read_conversations(io.StringIO(text, newline=""), format):
            assert chat.utterances
