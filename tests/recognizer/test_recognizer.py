"""The recognizer: one path from conversations to emotions, whatever way they come in."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sacl.conversation import Conversation, Utterance
from sacl.datasets import load_corpus
from sacl.errors import DataError, FeatureError, ModelError, SaclError
from sacl.experiment.recipe import parse_recipe
from sacl.experiment.study import study
from sacl.recognizer import EmotionRecognizer, Recognition, find_model

PHRASES = {
    "glad": ["What a lovely surprise!", "I could dance all night.", "You remembered, thank you!"],
    "cross": ["Who left the gate open again?", "I told you not to touch it.", "That is the last straw."],
    "calm": ["The bus leaves at nine.", "It is on the second shelf.", "We could walk, I suppose."],
}


def turns(draw: random.Random, n: int, vectors: bool) -> list[dict[str, object]]:
    result = []
    for _ in range(n):
        emotion = draw.choice(sorted(PHRASES))
        said = {"vector": [draw.gauss(0, 1) for _ in range(5)]} if vectors else {"text": draw.choice(PHRASES[emotion])}
        result.append({"speaker": draw.choice("ABC"), "emotion": emotion, **said})
    return result


def train(folder: Path, vectors: bool) -> Path:
    """A run of two seeds on a few conversations, with vectors or with texts for the encoder that needs no network."""
    draw = random.Random(0)
    data = folder / "data"
    data.mkdir()
    for split, size in (("train", 8), ("valid", 3), ("test", 6)):
        lines = [json.dumps({"id": f"{split}-{i}", "utterances": turns(draw, 1 + i, vectors)}) for i in range(size)]
        (data / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    content = {
        "name": "small",
        "description": "a few conversations",
        "data": {"name": str(data)},
        "model": {"hidden_size": 6},
        "training": {"batch_size": 4, "epochs": 3, "learning_rate": 0.01},
        "seeds": [0, 1],
    }
    study(parse_recipe(content, "test"), folder / "run", jobs=1)
    return folder / "run"


@pytest.fixture(scope="module")
def vector_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("vectors"), vectors=True)


@pytest.fixture(scope="module")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("texts"), vectors=False)


def table(results: list[list[Recognition]]) -> np.ndarray:
    return np.array([list(r.probabilities.values()) for turns in results for r in turns])


def predictions(seed: Path) -> np.ndarray:
    lines = (seed / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return np.array([list(json.loads(line)["probabilities"].values()) for line in lines])


@pytest.mark.parametrize("run", ["vector_run", "text_run"])
def test_it_gives_the_runs_own_predictions(run: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(run)
    test = load_corpus(str(folder.parent / "data"))["test"]
    for seed in (folder / "seed-0", folder / "seed-1"):
        trained = EmotionRecognizer.from_pretrained(seed).trained
        # A run's predictions are the network's own scores, as its figures are.
        recognizer = EmotionRecognizer(replace(trained, temperature=1.0))
        results = list(recognizer.predict_many(test))
        assert np.abs(table(results) - predictions(seed)).max() < 1e-5
        assert [[r.id for r in c] for c in results] == [[u.id for u in c.utterances] for c in test]


def test_pairs_and_a_conversation_are_read_alike(text_run: Path) -> None:
    recognizer = EmotionRecognizer.from_pretrained(text_run)
    pairs = [("Ann", "You remembered, thank you!"), ("Bo", "It is on the second shelf."), ("Ann", "What a surprise!")]
    conversation = Conversation("x", [Utterance(speaker, text) for speaker, text in pairs])
    from_pairs = recognizer.predict(pairs)
    assert from_pairs == recognizer.predict(conversation)
    assert [(r.speaker, r.text, r.id) for r in from_pairs] == [(*pair, str(i)) for i, pair in enumerate(pairs)]
    for r in from_pairs:
        assert list(r.probabilities) == list(recognizer.labels)
        assert sum(r.probabilities.values()) == pytest.approx(1, abs=1e-6)
        assert r.probability == r.probabilities[r.emotion] == max(r.probabilities.values())


def test_labels_of_the_input_change_nothing_not_even_unknown_ones(vector_run: Path) -> None:
    recognizer = EmotionRecognizer.from_pretrained(vector_run)
    said = [Utterance("A", vector=np.ones(5), emotion=e) for e in ("glad", None, "never heard of")]
    bare = [Utterance("A", vector=np.ones(5)) for _ in said]
    assert recognizer.predict(Conversation("x", said)) == recognizer.predict(Conversation("x", bare))


@pytest.mark.parametrize("chunk", [1, 2, 5, 1000])
def test_the_chunk_does_not_matter(chunk: int, vector_run: Path) -> None:
    recognizer = EmotionRecognizer.from_pretrained(vector_run)
    corpus = load_corpus(str(vector_run.parent / "data"))
    conversations = [*corpus["test"], *corpus["train"], *corpus["valid"]]
    alone = [recognizer.predict(c) for c in conversations]
    together = list(recognizer.predict_many(conversations, chunk=chunk))
    assert np.abs(table(alone) - table(together)).max() < 1e-5


def test_it_reads_no_further_than_a_chunk_ahead(vector_run: Path) -> None:
    recognizer = EmotionRecognizer.from_pretrained(vector_run)
    read: list[int] = []

    def endless() -> object:
        for i in itertools.count():
            read.append(i)
            yield Conversation("same id", [Utterance("A", vector=np.full(5, i))])

    results = recognizer.predict_many(endless(), chunk=3)  # type: ignore[arg-type]
    for _ in range(4):
        next(results)
    assert len(read) == 6


def test_no_conversation_gives_no_result(vector_run: Path) -> None:
    assert list(EmotionRecognizer.from_pretrained(vector_run).predict_many([])) == []


@pytest.mark.parametrize(
    ("utterances", "error", "told"),
    [
        ([Utterance("A", vector=np.ones(4))], FeatureError, r"conversation odd: .*4 wide, and the model reads 5"),
        ([Utterance("A", "hello")], FeatureError, r"conversation odd, utterance 0: it has no vector"),
        ([Utterance("A", vector=np.array([np.nan] * 5))], FeatureError, r"odd, utterance 0: .*not finite"),
        ([Utterance("A", vector=np.ones(5)), Utterance("A", vector=np.ones(6))], FeatureError, r"utterance 1: .*6 num"),
        (
            [Utterance("A", vector=np.ones(5)), Utterance("A", "hello")],
            FeatureError,
            r"utterance 1: it has no vector, and an",
        ),
        ([Utterance("A", vector=np.ones((1, 5)))], FeatureError, r"has the shape \(1, 5\)"),
    ],
)
def test_a_conversation_that_does_not_fit_is_named(
    utterances: list[Utterance], error: type[SaclError], told: str, vector_run: Path
) -> None:
    recognizer = EmotionRecognizer.from_pretrained(vector_run)
    fine = Conversation("fine", [Utterance("A", vector=np.ones(5))])
    with pytest.raises(error, match=told):
        recognizer.predict(Conversation("odd", utterances))
    with pytest.raises(error):
        list(recognizer.predict_many([fine, Conversation("odd", utterances)]))


def test_nothing_said_is_told(vector_run: Path) -> None:
    with pytest.raises(DataError, match="no utterances"):
        EmotionRecognizer.from_pretrained(vector_run).predict([])


def test_of_two_conversations_of_one_id_the_position_tells_which_is_meant(vector_run: Path) -> None:
    recognizer = EmotionRecognizer.from_pretrained(vector_run)
    fine, odd = (Conversation("x", [Utterance("A", vector=np.ones(width))]) for width in (5, 4))
    with pytest.raises(FeatureError, match=r"1 \(x\)"):
        list(recognizer.predict_many([fine, odd]))


def test_paths_to_a_run_a_seed_and_a_file_find_the_model(vector_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = max(
        (vector_run / f"seed-{s}" for s in (0, 1)),
        key=lambda f: json.loads((f / "result.json").read_text())["valid"]["weighted_f1"],
    )
    file = best / "model.safetensors"
    assert find_model(vector_run) == find_model(best) == find_model(file) == file
    conversation = Conversation("x", [Utterance("A", vector=np.ones(5))])
    monkeypatch.chdir(vector_run)
    results = [
        EmotionRecognizer.from_pretrained(p).predict(conversation) for p in (".", best, str(file), Path(best.name))
    ]
    assert all(result == results[0] for result in results)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    "damage",
    [flipped, lambda d: d[:-1], lambda d: d[: len(d) // 2], lambda d: b"", lambda d: b"\xff" * 100, lambda d: d + b"x"],
)
def test_a_damaged_model_is_refused(damage: Callable[[bytes], bytes], vector_run: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(damage((vector_run / "seed-0" / "model.safetensors").read_bytes()))
    with pytest.raises(ModelError, match="damaged"):
        EmotionRecognizer.from_pretrained(model)


def test_what_is_no_model_is_told(vector_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file or folder"):
        EmotionRecognizer.from_pretrained(tmp_path / "nothing")
    with pytest.raises(ModelError, match="no completed model"):
        EmotionRecognizer.from_pretrained(tmp_path)
    with pytest.raises(ModelError, match="damaged"):
        EmotionRecognizer.from_pretrained(vector_run / "recipe.yaml")


def test_an_encoder_that_has_changed_since_is_refused(text_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sacl.training.trained import TrainedModel

    trained = TrainedModel.load(find_model(text_run))
    assert trained.encoder is not None
    with pytest.raises(FeatureError, match="not those that the features were made with"):
        EmotionRecognizer(
            type(trained)(
                **{f: getattr(trained, f) for f in trained.__slots__}
                | {"encoder": {**trained.encoder, "sha256": "0" * 64}}
            )
        )
