"""What a recognizer may be given: all ways mean the same, and what could mean two things is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, FeatureError, RecipeError
from sacl.formats import Columns, write_conversations
from sacl.recognizer import EmotionRecognizer, Recognition
from sacl.recognizer.inputs import conversations_of

PAIRS = [("Ann", "You came!"), ("Bo", "I did say I would."), ("Ann", "The bus was late again.")]
ROWS = [{"speaker": s, "text": t, "conversation": "0"} for s, t in PAIRS]


class Frame:
    """As pandas: `columns`, and `to_dict("records")`."""

    def __init__(self, rows: list[dict[Any, Any]], columns: list[str] | None = None) -> None:
        self.columns, self._rows = np.array(columns or list(rows[0]), dtype=object), rows

    def to_dict(self, orient: str) -> list[dict[Any, Any]]:
        assert orient == "records"
        return self._rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.columns)


class Series(dict[str, Any]):
    """A row as pandas iterates over it: what it yields are its values."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values())


class IterFrame:
    """Columns, and `iterrows` alone."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.columns, self._rows = list(rows[0]), rows

    def iterrows(self) -> Iterator[tuple[int, Series]]:
        return ((i, Series(row)) for i, row in enumerate(self._rows))


class Polars:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.columns, self._rows = list(rows[0]), rows

    def to_dict(self, as_series: bool = True) -> Any:
        raise AssertionError("Polars gives columns there")

    def to_dicts(self) -> list[dict[str, Any]]:
        return self._rows


class Arrow:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.columns, self.column_names, self._rows = [object()], list(rows[0]), rows

    def to_pylist(self) -> list[dict[str, Any]]:
        return self._rows


class Dataset:
    """As a Hugging Face data set: iterates over rows; its `to_dict` gives columns."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.column_names, self._rows = list(rows[0]), rows

    def to_dict(self) -> Any:
        raise AssertionError

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._rows)


TABLES = [Frame, IterFrame, Polars, Arrow, Dataset, list, iter]


def read(given: Any, **columns: Any) -> tuple[list[Conversation], bool]:
    conversations, is_one = conversations_of(given, Columns(**columns))
    return list(conversations), is_one


def said(conversation: Conversation) -> list[tuple[str, str | None]]:
    return [(u.speaker, u.text) for u in conversation.utterances]


def test_one_conversation_comes_as_itself_as_pairs_or_in_interchange_form() -> None:
    conversation = Conversation("c1", [Utterance(*pair) for pair in PAIRS])
    for one in (conversation, PAIRS, iter(PAIRS), [list(pair) for pair in PAIRS], conversation.to_dict()):
        [found], is_one = read(one)
        assert (said(found), is_one) == (PAIRS, True)


@pytest.mark.parametrize("table", TABLES)
def test_every_kind_of_table_gives_the_same(table: Any) -> None:
    rows = [*ROWS, {"speaker": "Cy", "text": "Hello?", "conversation": "1"}]
    found, is_one = read(table(rows))
    assert not is_one
    assert [(c.id, said(c)) for c in found] == [("0", PAIRS), ("1", [("Cy", "Hello?")])]


@pytest.mark.parametrize("table", [Frame, Dataset])
def test_rows_may_be_whole_conversations(table: Any) -> None:
    conversations = [Conversation(id, [Utterance(*pair) for pair in PAIRS]) for id in "ab"]
    found, is_one = read(table([c.to_dict() for c in conversations]))
    assert (found, is_one) == (conversations, False)


def test_conversations_are_not_read_before_they_are_wanted() -> None:
    def endless() -> Iterator[Conversation]:
        while True:
            yield Conversation("x", [Utterance("A", "hello")])

    conversations, is_one = conversations_of(endless(), Columns())
    assert not is_one
    assert next(conversations).id == "x"


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(["Ann", "Bo"]), st.text("xyz ", max_size=5)),
        min_size=1,
        max_size=20,
    )
)
def test_a_table_reads_as_its_csv_does(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]]
) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    table = [dict(zip(("conversation", "speaker", "text"), row, strict=True)) for row in rows]
    found, _ = read(Frame(table))
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    write_conversations(found, path)
    assert read(path)[0] == found == read(str(path))[0]


def test_columns_may_have_any_names_and_hold_numbers_and_gaps() -> None:
    rows = [
        {"chat id": np.int64(7), "from": 0, "utterance": "hello", "mood": None},
        {"chat id": np.int64(7), "from": 1, "utterance": float("nan"), "mood": np.nan},
        {"chat id": np.int64(8), "from": 1, "utterance": None, "mood": "glad"},
    ]
    found, _ = read(Frame(rows), conversation="chat id", speaker="from", text="utterance", emotion="mood")
    assert [(c.id, said(c)) for c in found] == [("7", [("0", "hello"), ("1", "")]), ("8", [("1", "")])]
    assert [u.emotion for c in found for u in c.utterances] == [None, None, "glad"]


@pytest.mark.parametrize("column", ["call", "ticketNumber", "chat id", "meetings"])
def test_a_column_that_would_tell_conversations_apart_is_not_passed_over(column: str) -> None:
    rows = [{"speaker": "Ann", "text": "hello", column: i} for i in range(2)]
    with pytest.raises(DataError, match=f"no column 'conversation', but one '{column}'"):
        read(rows)
    assert [c.id for c in read(rows, conversation=column)[0]] == ["0", "1"]
    assert len(read([{"speaker": "Ann", column: "hello"}], text=column)[0]) == 1


def test_a_table_without_conversations_is_a_single_one() -> None:
    found, is_one = read([{"speaker": s, "text": t} for s, t in PAIRS])
    assert ([said(c) for c in found], is_one) == ([PAIRS], False)


SPEECH = {"speaker": "A", "text": "hello"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "no utterances"),
        (iter([]), "no utterances"),
        (None, "NoneType is no conversation. Give a Conversation"),
        (7, "int is no conversation"),
        (b"Ann: hello", "it is 65, not a"),
        ("Ann: Hello\nBo: Hi", r"no such file.*\(speaker, text\) pairs"),
        ("a\0b", "no such file"),
        (["hello", "hi"], "element 0: a text alone does not say who speaks"),
        ([("Ann", "hello"), "hi"], "element 1: a text alone"),
        ([("Ann", "hello", "joy")], r"element 0: it is \('Ann', 'hello', 'joy'\), not a"),
        ([("Ann", 3)], "element 0: it is"),
        ([[("Ann", "hello"), ("Bo", "hi")]], "list of pairs, not a pair. Make each list of pairs a Conversation"),
        ([Utterance("A", "hello")], "element 0: it is Utterance"),
        ([Conversation("x", [Utterance("A", "hello")]), ("A", "hello")], "element 1: it is a tuple, and those before"),
        ([SPEECH, ("A", "hello")], "row 1: it is a tuple, not a row"),
        ({"speaker": ["A"], "text": ["hello"]}, "a mapping of 'speaker', 'text', not a conversation"),
        ({"train": [SPEECH], "test": [SPEECH]}, "a mapping of 'train', 'test'"),
        ([{"utterances": [], "text": "x"}], "'utterances' and 'text': it may be"),
        ([{"who": "A", "text": "hello"}], "no column 'speaker'. There are: 'who', 'text'.*columns={'speaker'"),
        (
            [SPEECH | {"dialogue_id": 3}],
            "no column 'conversation', but one 'dialogue_id'.*{'conversation': 'dialogue_id'}",
        ),
        ([SPEECH | {"Conversation": 3}], "no column 'conversation', but one 'Conversation'"),
        ([SPEECH | {"text": 3}], "row 0, conversation 0, utterance 0: its text is of type int"),
        ([SPEECH, SPEECH | {"speaker": None}], "row 1, conversation 0, utterance 1: it has no speaker"),
        ([SPEECH | {"conversation": None}], "row 0: its conversation is empty"),
        ([SPEECH | {"conversation": c} for c in "aba"], "row 2, conversation a: the conversation comes back.*Sort"),
        ([SPEECH | {"conversation": "a"}, SPEECH], "row 1: there is no column 'conversation'"),
        ([SPEECH | {"utterance": "u1"}, SPEECH | {"utterance": "u1"}], "its id stands twice"),
        (Frame([SPEECH], columns=["speaker", "text", "text"]), "the column 'text' stands twice"),
    ],
)
def test_what_is_ambiguous_or_wrong_is_told(given: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read(given)


def test_a_column_that_the_caller_names_must_be_there() -> None:
    with pytest.raises(DataError, match="no column 'chat'"):
        read([SPEECH], conversation="chat")


@pytest.fixture
def recognizer(make: Any) -> EmotionRecognizer:
    from sacl.features.encoder import Encoder

    return EmotionRecognizer(make(width=384, encoder=dict(Encoder.load().identity), standardised=False))


def test_predict_gives_a_list_for_one_and_a_list_of_lists_for_any_number(
    recognizer: EmotionRecognizer, tmp_path: Path
) -> None:
    one = recognizer.predict(PAIRS)
    assert all(isinstance(r, Recognition) for r in one)
    conversation = Conversation("0", [Utterance(*pair) for pair in PAIRS])
    write_conversations([conversation], tmp_path / "chat.txt")
    several: list[Any] = [[conversation], tmp_path / "chat.txt", Frame(ROWS), ROWS]
    assert [recognizer.predict(given) for given in several] == [[one]] * 4
    three = recognizer.predict([conversation] * 3)
    assert [[r.emotion for r in turns] for turns in three] == [[r.emotion for r in one]] * 3


def test_labels_of_a_table_change_nothing_not_even_odd_ones(recognizer: EmotionRecognizer) -> None:
    labelled = [row | {"emotion": mood} for row, mood in zip(ROWS, (3, " ", "a\0b"), strict=True)]
    assert recognizer.predict(labelled) == recognizer.predict(ROWS)


def test_predict_reads_columns_of_other_names(recognizer: EmotionRecognizer) -> None:
    renamed = [{"from": row["speaker"], "body": row["text"]} for row in ROWS]
    assert recognizer.predict(renamed, columns={"speaker": "from", "text": "body"}) == recognizer.predict(ROWS)
    with pytest.raises(DataError, match="columns: these are no names of columns"):
        recognizer.predict(renamed, columns={"who": "from"})


def test_below_the_threshold_the_emotion_is_uncertain_and_nothing_else_changes(recognizer: EmotionRecognizer) -> None:
    plain = recognizer.predict(PAIRS)
    level = sorted(r.probability for r in plain)[1]
    told = recognizer.predict(PAIRS, threshold=level)
    assert [r.emotion for r in told] == [r.emotion if r.probability >= level else "uncertain" for r in plain]
    assert [(r.probability, r.probabilities) for r in told] == [(r.probability, r.probabilities) for r in plain]
    assert [(r.likeliest, r.confidence) for r in told] == [(r.emotion, r.probability) for r in plain]
    assert recognizer.predict(PAIRS, threshold=0) == recognizer.predict(PAIRS, threshold=np.float32(0)) == plain  # type: ignore[call-overload]
    assert {r.emotion for r in recognizer.predict(PAIRS, threshold=1)} == {"uncertain"}


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), "0.5", True])
def test_a_threshold_that_is_no_probability_is_refused(recognizer: EmotionRecognizer, threshold: Any) -> None:
    with pytest.raises(RecipeError, match="the threshold is"):
        recognizer.predict(PAIRS, threshold=threshold)


def test_a_label_named_uncertain_and_a_threshold_do_not_go_together(make: Any, talk: Any) -> None:
    recognizer = EmotionRecognizer(make(labels=("calm", "uncertain")))
    assert len(recognizer.predict(talk("AB"))) == 2
    with pytest.raises(Exception, match="an emotion named 'uncertain'"):
        recognizer.predict(talk("AB"), threshold=0.5)


def test_probabilities_are_calibrated(make: Any, talk: Any) -> None:
    plain, flatter = (EmotionRecognizer(make(temperature=t)) for t in (1.0, 2.0))
    for one, other in zip(plain.predict(talk("ABAB")), flatter.predict(talk("ABAB")), strict=True):
        roots = np.sqrt(list(one.probabilities.values()))
        assert list(other.probabilities.values()) == pytest.approx(roots / roots.sum(), abs=1e-6)
        assert one.emotion == other.emotion


def test_an_encoded_conversation_gives_the_same_and_is_not_encoded_again(
    recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, moved = recognizer.predict(PAIRS), recognizer.influence(PAIRS, 1)
    labelled = Conversation("c", [Utterance(*pair, emotion="odd", id=f"m{i}") for i, pair in enumerate(PAIRS)])
    encoded = recognizer.encode(labelled)
    assert encoded == labelled  # vectors do not count in a comparison
    monkeypatch.setattr(type(recognizer.encoder), "encode", None)
    assert [r.probabilities for r in recognizer.predict(encoded)] == [r.probabilities for r in plain]
    assert [i.moved for i in recognizer.influence(encoded, "m1")] == [i.moved for i in moved]
    assert recognizer.encode(encoded) is encoded


def test_what_cannot_be_encoded_is_told(recognizer: EmotionRecognizer, make: Any) -> None:
    some = Conversation("c", [Utterance("A", "hello"), Utterance("A", "hi", vector=np.ones(384))])
    with pytest.raises(FeatureError, match=r"utterance 1: it has a vector, and an utterance before it has none"):
        recognizer.encode(some)
    with pytest.raises(FeatureError, match="it has no vector"):
        EmotionRecognizer(make()).encode(PAIRS)
