"""What a conversation, a label set and a corpus are, refuse, and keep."""

from __future__ import annotations

import dataclasses
import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.errors import DataError

LABELS = LabelSet(("sad", "calm"))


def chat(*emotions: str | None, id: str = "c1") -> Conversation:
    return Conversation(id, [Utterance("Ann", f"line {i}", emotion) for i, emotion in enumerate(emotions)])


def corpus(**splits: list[Conversation]) -> Corpus:
    return Corpus("ours", LABELS, splits)


def test_utterances_without_an_id_are_named_by_their_position() -> None:
    conversation = Conversation("c1", [Utterance("Ann", "a"), Utterance("Bo", "b", id="x"), Utterance("Ann", "c")])
    assert [u.id for u in conversation.utterances] == ["0", "x", "2"]


def test_a_conversation_does_not_change_with_the_list_it_was_made_from() -> None:
    turns = [Utterance("Ann", "a")]
    conversation = Conversation("c1", turns)
    turns.append(Utterance("Bo", "b"))
    assert len(conversation) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        conversation.id = "c2"  # type: ignore[misc]


def test_a_conversation_without_utterances_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="conversation c7: it has no utterances"):
        Conversation("c7", [])


def test_an_utterance_with_neither_text_nor_vector_is_refused_by_place() -> None:
    with pytest.raises(DataError, match=r"conversation c7, utterance 1: .*neither text nor vector"):
        Conversation("c7", [Utterance("Ann", "a"), Utterance("Bo")])


def test_a_vector_or_an_empty_text_is_enough() -> None:
    assert len(Conversation("c1", [Utterance("Ann", vector=np.zeros(3)), Utterance("Bo", "")])) == 2


@pytest.mark.parametrize("ids", [("x", "x"), ("1", "")])
def test_two_utterances_of_one_id_are_refused_also_where_a_position_is_one(ids: tuple[str, str]) -> None:
    with pytest.raises(DataError, match="stands twice"):
        Conversation("c1", [Utterance("Ann", "a", id=id) for id in ids])


def test_the_interchange_form_leaves_out_what_is_not_known() -> None:
    bare = Conversation("c1", [Utterance("Ann", "a"), Utterance("Bo", "b", "sad", "x", 1.5, np.array([1, 2]))])
    assert bare.to_dict() == {
        "id": "c1",
        "utterances": [
            {"speaker": "Ann", "text": "a"},
            {"id": "x", "speaker": "Bo", "text": "b", "emotion": "sad", "time": 1.5, "vector": [1.0, 2.0]},
        ],
    }


def test_the_interchange_form_keeps_zeros_and_empty_texts() -> None:
    [turn] = Conversation("c1", [Utterance("Ann", "", time=0.0)]).to_dict()["utterances"]
    assert turn == {"speaker": "Ann", "text": "", "time": 0.0}


def test_the_interchange_form_of_32_bit_vectors_is_json() -> None:
    vector = np.array([0.1, 0.2], dtype=np.float32)
    json.dumps(Conversation("c1", [Utterance("Ann", vector=vector)]).to_dict())


@given(st.lists(st.text(min_size=1), min_size=1, unique=True))
def test_an_index_and_its_name_are_inverse(names: list[str]) -> None:
    labels = LabelSet(tuple(names))
    assert [labels.index(name) for name in labels] == list(range(len(labels)))


@pytest.mark.parametrize(("names", "found"), [(("sad", "sad"), "'sad' stands twice")])
def test_an_empty_or_repeated_label_set_is_refused(names: tuple[str, ...], found: str) -> None:
    with pytest.raises(DataError, match=found):
        LabelSet(names)


def test_an_unknown_emotion_is_refused_with_the_place_and_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"a\.csv, line 3: unknown emotion 'Sad'. Use one of: sad, calm"):
        LABELS.index("Sad", where="a.csv, line 3")


def test_a_corpus_refuses_a_label_outside_its_set_by_place() -> None:
    with pytest.raises(DataError, match="ours, split test, conversation c1, utterance 1: unknown emotion 'glad'"):
        corpus(train=[chat("sad")], test=[chat("sad", "glad")])


def test_unlabelled_utterances_belong_to_any_corpus() -> None:
    assert [u.emotion for u in corpus(train=[chat(None, "sad")]).utterances("train")] == [None, "sad"]


def test_an_id_may_come_back_in_another_split_only() -> None:
    corpus(train=[chat("sad")], test=[chat("sad")])
    with pytest.raises(DataError, match="split train, conversation c1: its id stands twice"):
        corpus(train=[chat("sad"), chat("calm")])


def test_a_split_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(DataError, match=r"no split 'dev'\. Use one of: train, test"):
        corpus(train=[chat("sad")], test=[chat("calm")])["dev"]


def test_utterances_run_over_one_split_or_all_in_order() -> None:
    both = corpus(train=[chat("sad", "calm")], test=[chat("calm", id="c2")])
    assert [u.emotion for u in both.utterances("test")] == ["calm"]
    assert [u.emotion for u in both.utterances()] == ["sad", "calm", "calm"]


BASE = corpus(train=[chat("sad", "calm"), chat(None, id="c2")])


def test_the_fingerprint_is_that_of_the_content() -> None:
    same = Corpus("another name", LABELS, {"train": (chat("sad", "calm"), chat(None, id="c2"))})
    assert same.fingerprint() == BASE.fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        corpus(train=[chat(None, id="c2"), chat("sad", "calm")]),
        corpus(train=[chat("calm", "sad"), chat(None, id="c2")]),
        corpus(train=[chat("sad", "calm"), chat("sad", id="c2")]),
        corpus(test=[chat("sad", "calm"), chat(None, id="c2")]),
        corpus(train=[chat("sad", "calm")], test=[chat(None, id="c2")]),
        Corpus("ours", LabelSet(("calm", "sad")), BASE.splits),
    ],
    ids=["order of conversations", "labels", "one more label", "split name", "split border", "order of labels"],
)
def test_the_fingerprint_changes_with(other: Corpus) -> None:
    assert other.fingerprint() != BASE.fingerprint()


@pytest.mark.parametrize("change", [{"speaker": "Bo"}, {"text": "line  0"}, {"id": "x"}, {"time": 0.0}])
def test_the_fingerprint_changes_with_every_field_of_an_utterance(change: dict[str, object]) -> None:
    turn = Utterance("Ann", "line 0", "sad")
    one, other = (
        corpus(train=[Conversation("c1", [u])])
        for u in (turn, dataclasses.replace(turn, **change))  # type: ignore[arg-type]
    )
    assert one.fingerprint() != other.fingerprint()
