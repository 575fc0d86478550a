"""A live conversation: what the causal model says of it afterwards, turn by turn, at a constant price."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from sacl.conversation import Utterance
from sacl.errors import DataError, FeatureError, ModelError, RecipeError, SaclError
from sacl.features.encoder import Encoder
from sacl.recognizer import EmotionRecognizer, Recognition, Stream


def live(stream: Stream, utterances: Any) -> list[Recognition]:
    return [stream.add(u.speaker, u.text, vector=u.vector, id=u.id) for u in utterances]


def numbers(results: list[Recognition]) -> np.ndarray:
    return np.array([list(r.probabilities.values()) for r in results])


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@settings(max_examples=25)
@given(
    speakers=st.lists(st.sampled_from("ABCDEFGH"), min_size=1, max_size=60),
    seed=st.integers(0, 9),
    standardised=st.booleans(),
)
def test_it_says_what_is_said_of_the_whole_conversation(
    make: Any, talk: Any, double: bool, layers: int, speakers: list[str], seed: int, standardised: bool
) -> None:
    trained = make(causal=True, double=double, layers=layers, seed=seed, standardised=standardised, temperature=1.7)
    recognizer, conversation = EmotionRecognizer(trained), talk(speakers, seed)
    whole = recognizer.predict(conversation)
    turns = live(recognizer.stream(), conversation.utterances)
    assert np.abs(numbers(turns) - numbers(whole)).max() < 1e-6
    assert [(t.id, t.speaker, t.text) for t in turns] == [(t.id, t.speaker, t.text) for t in whole]


def test_a_long_conversation_of_many_speakers_does_not_drift(make: Any, talk: Any) -> None:
    draw = np.random.default_rng(3)
    conversation = talk([f"speaker {i}" for i in draw.integers(0, 40, size=1000)])
    recognizer = EmotionRecognizer(make(causal=True, hidden_size=32))
    stream = recognizer.stream()
    turns = live(stream, conversation.utterances)
    assert np.abs(numbers(turns) - numbers(recognizer.predict(conversation))).max() < 1e-6
    assert (stream.turns, stream.speakers) == (1000, 40)


def test_texts_are_encoded_turn_by_turn(make: Any) -> None:
    encoder = Encoder.load()
    trained = make(causal=True, width=384, standardised=False, encoder=dict(encoder.identity))
    recognizer = EmotionRecognizer(trained)
    said = [("Ann", "You came!"), ("Bo", "I did say I would."), ("Ann", "The bus leaves at nine."), ("Ann", "")]
    stream = recognizer.stream()
    turns = [stream.add(*pair) for pair in said]
    assert np.abs(numbers(turns) - numbers(recognizer.predict(said))).max() < 1e-5
    assert [(t.id, t.speaker, t.text) for t in turns] == [(str(i), *pair) for i, pair in enumerate(said)]


def test_a_turn_depends_on_no_other_stream(make: Any, talk: Any) -> None:
    recognizer = EmotionRecognizer(make(causal=True))
    one, other = talk("ABAB", 1).utterances, talk("AABB", 2).utterances
    mixed_one, mixed_other = recognizer.stream(), recognizer.stream()
    mixed = [
        (mixed_one.add(a.speaker, vector=a.vector), mixed_other.add(b.speaker, vector=b.vector))
        for a, b in zip(one, other, strict=True)
    ]
    assert [a for a, _ in mixed] == live(recognizer.stream(), one)
    assert [b for _, b in mixed] == live(recognizer.stream(), other)


class Work(TorchDispatchMode):
    """Notes every operation and the shapes that it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[str, tuple[torch.Size, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.done.append((str(func), tuple(a.shape for a in args if isinstance(a, torch.Tensor))))
        return func(*args, **(kwargs or {}))


def test_the_thousandth_turn_costs_what_the_second_costs(make: Any, talk: Any) -> None:
    stream = EmotionRecognizer(make(causal=True)).stream()
    utterances = talk("AB" * 500).utterances
    work = []
    for u in utterances:
        with Work() as noted:
            stream.add(u.speaker, vector=u.vector)
        work.append(noted.done)
    assert len(work[1]) > 5
    assert all(done == work[2] for done in work[2:])
    # A speaker's first turn starts from zeros, which have to be made.
    assert len(work[1]) - len(work[2]) <= 4


def test_a_model_that_reads_later_turns_is_refused(make: Any) -> None:
    with pytest.raises(ModelError, match=r"reads the later turns too.*from_pretrained\(causal=True\)"):
        EmotionRecognizer(make()).stream()
    with pytest.raises(ModelError, match=r"kind linear cannot be read turn by turn.*dual_lstm"):
        EmotionRecognizer(make(kind="linear", causal=True)).stream()


@pytest.mark.parametrize(
    ("turn", "error", "told"),
    [
        ({"speaker": "A"}, DataError, "utterance 1: it has neither text nor vector"),
        ({"speaker": None, "text": "hello"}, DataError, "its speaker is None"),
        ({"speaker": "A", "text": 3}, DataError, "its text is 3"),
        ({"speaker": "A", "text": "hello"}, FeatureError, "the model has no encoder"),
        ({"speaker": "A", "vector": np.ones(4)}, FeatureError, "are 4 wide, and the model reads 5"),
        ({"speaker": "A", "vector": np.full(5, np.inf), "id": "x9"}, FeatureError, "utterance x9: .*not finite"),
        ({"speaker": "A", "vector": np.ones((1, 5))}, FeatureError, r"shape \(1, 5\)"),
    ],
)
def test_a_turn_that_is_refused_was_not_read(
    make: Any, talk: Any, turn: dict[str, Any], error: type[SaclError], told: str
) -> None:
    recognizer, utterances = EmotionRecognizer(make(causal=True)), talk("AAB").utterances
    stream = recognizer.stream()
    first = stream.add("A", vector=utterances[0].vector)
    with pytest.raises(error, match=told):
        stream.add(**turn)
    rest = [stream.add(u.speaker, vector=u.vector) for u in utterances[1:]]
    assert [first, *rest] == live(recognizer.stream(), utterances)


def test_the_threshold_leaves_turns_open_and_their_probabilities_as_they_are(make: Any, talk: Any) -> None:
    recognizer, utterances = EmotionRecognizer(make(causal=True)), talk("ABAB").utterances
    plain = live(recognizer.stream(), utterances)
    level = sorted(r.probability for r in plain)[1]
    open_too = live(recognizer.stream(threshold=level), utterances)
    assert [r.emotion == "uncertain" for r in open_too] == [r.probability < level for r in plain]
    assert [r.probabilities for r in open_too] == [r.probabilities for r in plain]
    assert [r.likeliest for r in open_too] == [r.emotion for r in plain]
    with pytest.raises(RecipeError, match="threshold is 2"):
        recognizer.stream(threshold=2)


def test_a_vector_is_taken_in_place_of_the_encoders(make: Any, talk: Any) -> None:
    encoder = Encoder.load()
    recognizer = EmotionRecognizer(make(causal=True, width=384, encoder=dict(encoder.identity)))
    vector = encoder.encode(["The last straw."])[0]
    given_both = recognizer.stream().add("A", "Something else.", vector=vector)
    assert given_both.probabilities == recognizer.stream().add("A", "The last straw.").probabilities
    assert isinstance(Utterance("A", vector=vector).vector, np.ndarray)
