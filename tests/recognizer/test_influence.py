"""Occlusion: what each other turn does to the probability of an utterance's emotion."""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, RecipeError
from sacl.recognizer import EmotionRecognizer, influence

ONE_LAYER: dict[str, Any] = {}
OTHERS: list[dict[str, Any]] = [{"layers": 2}, {"kind": "transformer", "hidden_size": 8}, {"padding": "released"}]


def occluded_by_hand(recognizer: EmotionRecognizer, conversation: Conversation, target: int) -> list[float]:
    """Replaces a turn's vector by the one that standardises to zero, and predicts all over again."""
    standardisation = recognizer.trained.standardisation
    blank = np.zeros(5, np.float32) if standardisation is None else standardisation.mean.numpy()
    whole = recognizer.predict(conversation)[target]
    moved = []
    for i in range(len(conversation)):
        turns = [Utterance(u.speaker, vector=u.vector) for u in conversation.utterances]
        turns[i] = Utterance(turns[i].speaker, vector=blank)
        without = recognizer.predict(Conversation("x", turns))[target]
        moved.append(whole.probability - without.probabilities[whole.emotion])
    return [m for i, m in enumerate(moved) if i != target]


@pytest.mark.parametrize("settings", [ONE_LAYER, {"causal": True}, {"standardised": False}, {"double": True}, *OTHERS])
def test_it_is_what_leaving_the_vector_out_does(make: Any, talk: Any, settings: dict[str, Any]) -> None:
    recognizer = EmotionRecognizer(make(temperature=1.3, **settings))
    conversation = talk("ABACBBAC")
    for target in (1, 4, 7):
        found = recognizer.influence(conversation, target)
        expected = occluded_by_hand(recognizer, conversation, target)
        assert [i.position for i in found] == [i for i in range(8) if i != target]
        assert [i.moved for i in found] == pytest.approx(expected, abs=1e-6)
        assert max(abs(i.moved) for i in found) > 1e-3


def test_to_a_causal_model_later_turns_are_nothing(make: Any, talk: Any) -> None:
    found = EmotionRecognizer(make(causal=True)).influence(talk("ABABAB"), 2)
    assert [i.moved != 0 for i in found] == [True, True, False, False, False]


@given(turns=st.integers(1, 12), data=st.data(), nearest=st.integers(0, 15))
def test_the_nearest_turns_are_looked_at(make: Any, talk: Any, turns: int, data: st.DataObject, nearest: int) -> None:
    target = data.draw(st.integers(0, turns - 1))
    recognizer, conversation = EmotionRecognizer(make()), talk("AB" * turns)
    conversation = Conversation("x", conversation.utterances[:turns])
    found = recognizer.influence(conversation, target, nearest)
    positions = [i.position for i in found]
    assert positions == sorted(positions)
    assert len(found) == min(nearest, turns - 1)
    left_out = set(range(turns)) - set(positions) - {target}
    assert all(abs(p - target) <= abs(q - target) for p in positions for q in left_out)
    # Fewer of them does not change what each one is said to do.
    all_of_them = {i.position: i for i in recognizer.influence(conversation, target)}
    assert all(i.moved == pytest.approx(all_of_them[i.position].moved, abs=1e-6) for i in found)


def test_an_utterance_is_named_by_id_or_position(make: Any, talk: Any) -> None:
    recognizer = EmotionRecognizer(make())
    turns = [Utterance(u.speaker, "said", id=f"m{i}", vector=u.vector) for i, u in enumerate(talk("ABA").utterances)]
    conversation = Conversation("x", turns)
    found = recognizer.influence(conversation, "m1")
    assert found == recognizer.influence(conversation, 1) == recognizer.influence(conversation, np.int64(1))  # type: ignore[arg-type]
    assert [(i.id, i.speaker, i.text) for i in found] == [("m0", "A", "said"), ("m2", "A", "said")]


@pytest.mark.parametrize("utterance", ["7", 3, -1, True, None])
def test_an_utterance_that_is_not_there_is_told(make: Any, talk: Any, utterance: Any) -> None:
    with pytest.raises(DataError, match=f"conversation talk: there is no utterance {utterance!r}. Give a"):
        EmotionRecognizer(make()).influence(talk("ABA"), utterance)


def test_one_conversation_is_wanted_and_a_number_of_turns(make: Any, talk: Any) -> None:
    recognizer = EmotionRecognizer(make())
    with pytest.raises(DataError, match="may be several conversations"):
        recognizer.influence([talk("AB")], 0)  # type: ignore[list-item]
    for nearest in (-1, 2.5, True):
        with pytest.raises(RecipeError, match="nearest is"):
            recognizer.influence(talk("AB"), 0, nearest)  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [ONE_LAYER, {"layers": 2}])
def test_it_can_be_cancelled_and_tells_how_far_it_is(
    make: Any, talk: Any, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(influence, "_UTTERANCES", 20)
    recognizer, conversation = EmotionRecognizer(make(**settings)), talk("AB" * 5)
    told: list[tuple[str, int, int]] = []
    recognizer.influence(conversation, 4, progress=lambda *said: told.append(said))
    assert told[-1] == ("influence", 9, 9)
    assert told == sorted(told)
    asked: list[None] = []
    with pytest.raises(CancelledError):
        recognizer.influence(conversation, 4, cancelled=lambda: asked.append(None) or True)  # type: ignore[func-returns-value]
    assert len(asked) == 1


def test_cancelled_half_way_of_a_long_conversation(make: Any, talk: Any) -> None:
    asked: list[None] = []
    with pytest.raises(CancelledError):
        EmotionRecognizer(make()).influence(
            talk("AB" * 200),
            4,
            cancelled=lambda: asked.append(None) or len(asked) > 3,  # type: ignore[func-returns-value]
        )
    assert len(asked) == 4


def test_cancelled_half_way_reads_no_further(make: Any, talk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influence, "_UTTERANCES", 20)
    recognizer, conversation = EmotionRecognizer(make(layers=2)), talk("AB" * 5)
    told: list[int] = []
    with pytest.raises(CancelledError):
        recognizer.influence(
            conversation, 4, cancelled=lambda: len(told) >= 2, progress=lambda _, done, __: told.append(done)
        )
    assert told == [2, 4]
