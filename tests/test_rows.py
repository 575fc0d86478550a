"""Rows of a CSV: columns of any names, conversations that stand together, and every fault placed."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from sacl import interchange
from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError
from sacl.formats import Columns, read_conversations


def read(text: str, /, **columns: str | None) -> list[Conversation]:
    return list(read_conversations(io.StringIO(text, newline=""), "csv", Columns(**columns)))  # type: ignore[arg-type]


HEADER = "conversation,speaker,text,emotion\n"


def test_the_rows_of_a_conversation_are_its_turns() -> None:
    chats = read(HEADER + 'a,Ann,Hello,joy\na,Bo,"Hi,\nyou",\nb,Ann,Bye,\n')
    assert [(c.id, [(u.speaker, u.text, u.emotion) for u in c.utterances]) for c in chats] == [
        ("a", [("Ann", "Hello", "joy"), ("Bo", "Hi,\nyou", None)]),
        ("b", [("Ann", "Bye", None)]),
    ]


def test_a_csv_without_a_conversation_column_is_one_conversation() -> None:
    [chat] = read("text,speaker\nHello,Ann\nHi,Bo\n")
    assert (chat.id, [u.speaker for u in chat.utterances]) == ("0", ["Ann", "Bo"])


def test_a_column_of_texts_named_utterance_holds_no_ids() -> None:
    [chat] = read("utterance,speaker\nHello,Ann\nHello,Bo\n", text="utterance")
    assert [(u.id, u.text) for u in chat.utterances] == [("0", "Hello"), ("1", "Hello")]


def test_columns_of_any_name_are_read_and_others_ignored() -> None:
    [chat] = read(
        "Dialog, Who,Said,Feels,When,Turn,Sentiment\nd1,Ann,Hello,joy,2.5,t7,positive\n",
        conversation="Dialog",
        speaker="Who",
        text="Said",
        emotion="Feels",
        time="When",
        utterance="Turn",
    )
    assert chat == Conversation("d1", [Utterance("Ann", "Hello", "joy", "t7", 2.5)])


def test_an_utterance_column_may_bear_the_name_of_another_default() -> None:
    [chat] = read("Speaker,Utterance\nAnn,Hello\n", speaker="Speaker", text="Utterance")
    assert chat.utterances[0].text == "Hello"


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        ("speaker,words\nAnn,Hello\n", "line 1: the column 'text' is missing. The file has: 'speaker', 'words'"),
        ("speaker,words\nAnn,Hello\n", "line 1: .* or say which to read; .*--speaker-column, --text-column"),
        ("speaker;words\nAnn;Hello\n", "line 1: the column 'text' is missing. The file has: 'speaker', 'words'"),
        ("speaker;text\nAnn;Hello;you\n", "line 2: the row has 3 cells, the header 2"),
        ("speaker,text,text\nAnn,a,b\n", "line 1: the column 'text' stands twice"),
        ("time,speaker,text,time\n1,Ann,a,2\n", "line 1: the column 'time' stands twice"),
        ("speaker,text,Emotion\nAnn,a,joy\n", "line 1: there is no column 'emotion', but one 'Emotion'"),
        ("speaker,text,emotions\nAnn,a,joy\n", "line 1: there is no column 'emotion', but one 'emotions'"),
        ("speaker,text,conversation_id\nAnn,a,c1\n", "line 1: there is no column 'conversation', but one"),
        (HEADER + "a,Ann,Hello\n", "line 2: the row has 3 cells, the header 4"),
        (HEADER + "a,Ann,Hello, you,joy\n", "line 2: the row has 5 cells, the header 4"),
        (HEADER + "a,Ann,\"one\ntwo\",joy\na,Bo\n", "line 4: the row has 2 cells"),
        (HEADER + 'a,Ann,"Hello" you,joy\n', "line 2: it is not CSV"),
        (HEADER + 'a,Ann,Hi,\na,Ann,"Hello,joy\n' + "a,Ann,Hi,\n" * 9, "line 3: it is not CSV"),
        (HEADER + f"a,Ann,{'x' * 200_000},joy\n", "line 2: it is not CSV .field larger than"),
        (HEADER + "a,,Hello,joy\n", "line 2, conversation a, utterance 0: it has no speaker"),
        (HEADER + "a,Ann,Hi,joy\n ,Bo,Hello,joy\n", "line 3: its conversation is empty"),
        (HEADER + "a,Ann,1,\nb,Ann,2,\na,Ann,3,\n", "line 4, conversation a: .*comes back.*Sort the file"),
        ("speaker,text,time\nAnn,Hi,noon\n", "line 2, conversation 0: its time is 'noon'"),
        ("speaker,text,time\nAnn,Hi,nan\n", "line 2, conversation 0, utterance 0: its time is not a finite number"),
        ("speaker,text,utterance\nAnn,Hi,1\nBo,Hi,1\n", "line 2, conversation 0, utterance 1: its id stands twice"),
        ("speaker,text\rAnn,Hi\r", "line 1: it is not CSV"),
    ],
)  # fmt: skip
def test_a_row_of_csv_at_fault_is_placed(tmp_path: Path, bad: str, found: str) -> None:
    (tmp_path / "a.csv").write_bytes(bad.encode())
    with pytest.raises(DataError, match=f"a.csv, {found}") as caught:
        list(read_conversations(tmp_path / "a.csv"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "column",
    [
        "call",
        "ticket",
        "session_id",
        "chat_id",
        "Dialogue_ID",
        "thread_id",
        "case",
        "meeting",
        "room",
        "channel",
        "callIds",
    ],
)
def test_a_column_that_would_tell_conversations_apart_is_not_passed_over(column: str) -> None:
    text = f"{column},speaker,text\n1,Ann,Hello\n2,Bo,Hi\n"
    with pytest.raises(
        DataError, match=f"no column 'conversation', but one '{column}'.*--conversation-column '{column}'"
    ):
        read(text)
    assert [c.id for c in read(text, conversation=column)] == ["1", "2"]


@pytest.mark.parametrize("column", ["recall", "caller", "locally", "bathroom", "showcase"])
def test_a_word_within_another_tells_nothing_apart(column: str) -> None:
    assert len(read(f"{column},speaker,text\n1,Ann,Hello\n2,Bo,Hi\n")) == 1


def test_columns_that_are_read_as_something_else_tell_nothing_apart() -> None:
    [chat] = read("call,chat\nAnn,Hello\nBo,Hi\n", speaker="call", text="chat")
    assert len(chat) == 2


@pytest.mark.parametrize("mark", [";", "\t"])
def test_cells_stand_between_what_the_header_has(mark: str) -> None:
    text = '\n"speaker",text,time\nAnn,"Hello, you; there\t!\nBye",1\n'.replace(",t", mark + "t")
    text = text.replace("Ann,", "Ann" + mark).replace('",1', f'"{mark}1')
    [chat] = read(text)
    assert chat.utterances[0].text == "Hello, you; there\t!\nBye"
    assert chat.utterances[0].time == 1.0


def test_a_column_that_was_asked_for_by_name_must_be_there() -> None:
    with pytest.raises(DataError, match="the column 'feeling' is missing"):
        read("speaker,text\nAnn,Hello\n", emotion="feeling")


def test_labels_that_are_not_to_be_read_are_not_and_their_column_may_have_any_name() -> None:
    [chat] = read("speaker,text,Emotion,emotion\nAnn,Hello,joy,anger\n", emotion=None)
    assert chat.utterances[0].emotion is None


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("2.5", 2.5),
        ("1970-01-02", 86400.0),
        ("1970-01-01 00:01:40", 100.0),
        ("1970-01-01T00:01:40.5", 100.5),
        ("1970-01-01T02:00:00+02:00", 0.0),
        ("1970-01-01T00:00:07Z", 7.0),
    ],
)
def test_a_time_is_seconds_or_a_date(cell: str, seconds: float) -> None:
    [chat] = read(f"speaker,text,time\nAnn,Hello,{cell}\n")
    assert chat.utterances[0].time == seconds


def test_a_conversation_comes_back_however_many_were_between() -> None:
    rows = "".join(f"c{i},Ann,Hello,\n" for i in range(5000))
    assert len(read(HEADER + rows)) == 5000
    with pytest.raises(DataError, match="line 5002, conversation c17: the conversation comes back"):
        read(HEADER + rows + "c17,Ann,Hello,\n")


def test_a_conversation_too_long_to_be_read_as_one_is_refused_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interchange, "MOST_TURNS", 10)
    endless = "speaker,text\n" + "Ann,Hello\n" * 1000
    stream = io.StringIO(endless)
    with pytest.raises(DataError, match=r"line 13, conversation 0: .*more than 10 turns.*conversation column"):
        list(read_conversations(stream, "csv"))
    assert stream.tell() < len(endless) / 2
