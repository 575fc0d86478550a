"""A recognizer fitted on one's own conversations: any labels, whole conversations held out, from scratch or not."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sacl.conversation import Conversation, LabelSet, Utterance
from sacl.errors import DataError, FeatureError, RecipeError
from sacl.formats import write_conversations
from sacl.recognizer import EmotionRecognizer
from sacl.recognizer.fitting import divide

PHRASES = {
    "delighted": ["What a lovely surprise!", "I could dance all night.", "You remembered, thank you!"],
    "fed up": ["Who left the gate open again?", "I told you not to touch it.", "That is the last straw."],
}
QUICK: dict[str, Any] = {"epochs": 4, "hidden_size": 8}


def spoken(n: int, seed: int = 0, vectors: bool = False) -> list[Conversation]:
    """Conversations whose labels can be told from their texts, or from the sign of their vectors."""
    draw = random.Random(seed)
    conversations = []
    for i in range(n):
        turns = []
        for _ in range(4):
            emotion = draw.choice(sorted(PHRASES))
            sign = 1 if emotion == "fed up" else -1
            vector = np.array([sign + draw.gauss(0, 0.3) for _ in range(5)]) if vectors else None
            text = None if vectors else draw.choice(PHRASES[emotion])
            turns.append(Utterance(draw.choice("AB"), text, emotion, vector=vector))
        conversations.append(Conversation(f"c{i}", turns))
    return conversations


def right(recognizer: EmotionRecognizer, conversations: list[Conversation]) -> float:
    pairs = zip(conversations, recognizer.predict(conversations), strict=True)
    return float(
        np.mean([u.emotion == r.emotion for c, turns in pairs for u, r in zip(c.utterances, turns, strict=True)])
    )


def test_three_lines_from_a_file_to_a_saved_recognizer(tmp_path: Path) -> None:
    write_conversations(spoken(12), tmp_path / "mine.jsonl")
    recognizer = EmotionRecognizer.fit(tmp_path / "mine.jsonl", epochs=8)
    folder = recognizer.save_pretrained(tmp_path / "mine")
    again = EmotionRecognizer.from_pretrained(folder)
    assert list(again.labels) == ["delighted", "fed up"]
    pairs = [("Ann", "That is the last straw."), ("Bo", "You remembered, thank you!")]
    assert [r.emotion for r in again.predict(pairs)] == ["fed up", "delighted"]
    assert again.predict(pairs) == recognizer.predict(pairs)
    assert again.trained.temperature == recognizer.trained.temperature


def test_it_learns_from_vectors_and_needs_no_encoder_then() -> None:
    recognizer = EmotionRecognizer.fit(spoken(30, vectors=True), learning_rate=0.01, **QUICK)
    assert recognizer.encoder is None
    assert right(recognizer, spoken(10, seed=1, vectors=True)) > 0.9


def test_a_seed_gives_the_same_model_and_another_seed_another() -> None:
    def weights(seed: int) -> torch.Tensor:
        state = EmotionRecognizer.fit(spoken(12, vectors=True), seed=seed, **QUICK).trained.model.state_dict()
        return torch.cat([t.flatten() for t in state.values()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_a_causal_one_can_be_streamed(tmp_path: Path) -> None:
    recognizer = EmotionRecognizer.fit(spoken(12, vectors=True), bidirectional=False, **QUICK)
    assert recognizer.stream().add("A", vector=np.ones(5)).emotion in PHRASES
    recognizer.save_pretrained(tmp_path)
    assert EmotionRecognizer.from_pretrained(tmp_path, causal=True).stream()


@settings(max_examples=50)
@given(
    moods=st.lists(st.lists(st.sampled_from([None, "x", "y", "z"]), min_size=1, max_size=4), min_size=1, max_size=15),
    seed=st.integers(0, 3),
)
def test_whole_conversations_are_held_out_and_no_emotion_with_them(moods: list[list[str | None]], seed: int) -> None:
    conversations = [Conversation(f"c{i}", [Utterance("A", "hm", e) for e in turns]) for i, turns in enumerate(moods)]
    used = {e for turns in moods for e in turns if e is not None}

    def can_go(turns: list[str | None]) -> bool:
        own = set(turns) - {None}
        return bool(own) and all(sum(e in other for other in moods) > 1 for e in own)

    if len(used) < 2 or not any(can_go(turns) for turns in moods):
        with pytest.raises(DataError, match=r"none can be held out|only emotion|no utterance is labelled"):
            divide(conversations, None, None, None, seed)
        return
    division = divide(conversations, None, None, None, seed)
    train, valid = division.corpus["train"], division.corpus["valid"]
    assert sorted(c.id for c in (*train, *valid)) == sorted(c.id for c in conversations)
    assert division.held_out == tuple(c.id for c in valid)
    assert 1 <= len(valid) <= max(1, round(0.15 * len(conversations)))
    assert {u.emotion for c in train for u in c.utterances} >= used
    assert all(any(u.emotion for u in c.utterances) for c in valid)


def test_what_was_held_out_is_said(caplog: pytest.LogCaptureFixture) -> None:
    conversations = spoken(20, vectors=True)
    with caplog.at_level(logging.INFO, "sacl"):
        recognizer = EmotionRecognizer.fit(conversations, seed=1, **QUICK)
    assert len(recognizer.held_out) == 3
    assert f"held out 3 of 20 conversations: {', '.join(recognizer.held_out)}" in caplog.text
    assert recognizer.trained.about["conversations"] == {"train": 17, "valid": 3}
    assert EmotionRecognizer.fit(conversations, seed=2, **QUICK).held_out != recognizer.held_out


def test_nothing_is_held_out_where_validation_is_given() -> None:
    recognizer = EmotionRecognizer.fit(spoken(8, vectors=True), valid=spoken(3, seed=1, vectors=True), **QUICK)
    assert recognizer.held_out == ()
    assert recognizer.trained.about["conversations"] == {"train": 8, "valid": 3}


def test_validation_selects_and_calibrates_and_is_not_trained_on() -> None:
    train, valid = spoken(12, vectors=True), spoken(4, seed=1, vectors=True)
    wrong = [
        Conversation(c.id, [Utterance(u.speaker, None, "fed up", vector=u.vector) for u in c.utterances]) for c in valid
    ]
    one, other = (EmotionRecognizer.fit(train, valid=v, **QUICK | {"epochs": 1}) for v in (valid, wrong))
    for name, tensor in one.trained.model.state_dict().items():
        assert torch.equal(tensor, other.trained.model.state_dict()[name])
    assert one.trained.temperature != other.trained.temperature


def test_one_may_start_from_a_saved_model_and_the_card_tells_the_calibration_error(tmp_path: Path) -> None:
    init = EmotionRecognizer.fit(spoken(20, vectors=True), **QUICK)
    errors = init.trained.about["calibration"]
    assert set(errors) == {"ece_before", "ece_after"}
    card = (init.save_pretrained(tmp_path / "mine") / "README.md").read_text(encoding="utf-8")
    assert f"{errors['ece_before']:.2f} / {errors['ece_after']:.2f}" in card
    again = spoken(6, seed=2, vectors=True)
    by_path, by_model = (EmotionRecognizer.fit(again, init=i, epochs=1) for i in (tmp_path / "mine", init))
    for name, tensor in by_model.trained.model.state_dict().items():
        assert torch.equal(tensor, by_path.trained.model.state_dict()[name])


def test_starting_from_another_keeps_its_weights_and_its_classifier_if_the_labels_are_the_same() -> None:
    init = EmotionRecognizer.fit(spoken(30, vectors=True), learning_rate=0.01, **QUICK)
    still = {"epochs": 1, "learning_rate": 1e-12}
    same = EmotionRecognizer.fit(spoken(6, seed=2, vectors=True), init=init, **still)
    for name, tensor in init.trained.model.state_dict().items():
        assert torch.allclose(same.trained.model.state_dict()[name], tensor, atol=1e-6), name
    assert same.trained.standardisation is init.trained.standardisation
    renamed = [
        Conversation(c.id, [Utterance(u.speaker, None, f"{u.emotion}!", vector=u.vector) for u in c.utterances])
        for c in spoken(6, seed=2, vectors=True)
    ]
    other = EmotionRecognizer.fit(renamed, init=init, **still)
    assert list(other.labels) == ["delighted!", "fed up!"]
    moved = {
        name
        for name, tensor in init.trained.model.state_dict().items()
        if not torch.allclose(other.trained.model.state_dict()[name], tensor, atol=1e-6)
    }
    assert moved == {"classifier.weight", "classifier.bias"}
    assert other.trained.about["started_from"]["corpus"] == "own conversations"


def test_labels_keep_the_order_that_is_asked_for_or_that_of_the_model_to_start_from() -> None:
    backwards = ["fed up", "delighted", "never seen"]
    init = EmotionRecognizer.fit(spoken(8, vectors=True), labels=backwards, **QUICK)
    assert list(init.labels) == backwards
    init = EmotionRecognizer.fit(spoken(8, vectors=True), labels=backwards[:2], **QUICK)
    assert list(EmotionRecognizer.fit(spoken(8, vectors=True), init=init, epochs=1).labels) == backwards[:2]


def test_a_table_of_labelled_rows_is_read_and_progress_is_told() -> None:
    rows = [
        {"chat": c.id, "who": u.speaker, "said": u.text, "mood": u.emotion} for c in spoken(8) for u in c.utterances
    ]
    columns = {"conversation": "chat", "speaker": "who", "text": "said", "emotion": "mood"}
    told: list[tuple[str, int, int]] = []
    recognizer = EmotionRecognizer.fit(rows, columns=columns, progress=lambda *said: told.append(said), epochs=2)
    assert list(recognizer.labels) == sorted(PHRASES)
    assert [said for said in told if said[0] == "train"] == [("train", 1, 2), ("train", 2, 2)]
    assert told[0][0] == "encode"


def test_conversations_of_one_id_are_told_apart() -> None:
    conversations = [Conversation("same", c.utterances) for c in spoken(8, vectors=True)]
    assert len(EmotionRecognizer.fit(conversations, **QUICK).held_out) == 1


def only(emotion: str | None, n: int = 4) -> list[Conversation]:
    return [Conversation(f"c{i}", [Utterance("A", "hello", emotion)]) for i in range(n)]


@pytest.mark.parametrize(
    ("conversations", "options", "error", "told"),
    [
        (only(None), {}, DataError, "no utterance is labelled. Give some"),
        (only("calm"), {}, DataError, "'calm' is the only emotion"),
        (only("calm", 1) + only("glad", 1), {}, DataError, "of 2 conversations none can be held out.*valid="),
        (only("calm"), {"labels": ["glad", "sad"]}, DataError, "unknown emotion 'calm'.*glad, sad"),
        (spoken(4), {"valid": only(None)}, DataError, "'valid' has no labelled utterance"),
        ([], {}, DataError, "no utterances"),
        (spoken(4), {"epoch": 3}, RecipeError, "fit: there is no setting 'epoch'. Did you mean epochs"),
        (spoken(4), {"epochs": 0}, RecipeError, "training.epochs: .*greater than or equal to 1"),
        (spoken(4), {"bidirectional": False, "min_speaker_utterances": 2}, RecipeError, "set it to 1"),
        (spoken(4), {"monitor_test": True}, RecipeError, "no setting 'monitor_test'"),
    ],
)
def test_what_cannot_be_fitted_is_told(
    conversations: list[Conversation], options: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        EmotionRecognizer.fit(conversations, **options)


def test_the_model_to_start_from_has_fixed_its_network_and_its_features(make: Any) -> None:
    init = EmotionRecognizer(make(labels=sorted(PHRASES)))
    with pytest.raises(RecipeError, match="hidden_size cannot be set: it is the one of the model to start from"):
        EmotionRecognizer.fit(spoken(4, vectors=True), init=init, hidden_size=9)
    with pytest.raises(FeatureError, match="reads vectors and has no encoder"):
        EmotionRecognizer.fit(spoken(4), init=init)
    fitted = EmotionRecognizer.fit(spoken(4, vectors=True), init=init, dropout=0.5, epochs=1)
    assert fitted.trained.settings == init.trained.settings.model_copy(update={"dropout": 0.5})
    assert isinstance(fitted.labels, LabelSet)
