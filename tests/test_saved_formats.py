"""What an earlier version saved keeps loading: a file of every `format_version` lies under `fixtures/`.

Each was written by the version that introduced it, from `by_formula` and the conversations below; the tests expect what
these say, not what the program of that time read back. To add a version, write its files into a folder of its own with
`python tests/test_saved_formats.py FOLDER` and never touch the earlier ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.experiment.recipe import parse_recipe
from sacl.experiment.run import read_result
from sacl.experiment.study import open_study, study
from sacl.features.store import FeatureStore, write_store
from sacl.formats import write_conversations
from sacl.recognizer import EmotionRecognizer
from sacl.settings import FeatureSettings, ModelSettings
from sacl.training.checkpoint import load, save
from sacl.training.trained import Standardisation, TrainedModel

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir() if path.is_dir())
LABELS = LabelSet(("calm", "glad", "cross"))


def by_formula(*shape: int) -> Tensor:
    return torch.sin(torch.arange(float(np.prod(shape)))).reshape(shape)


def conversations(prefix: str) -> list[Conversation]:
    return [
        Conversation(
            f"{prefix}{i}",
            [
                Utterance(
                    "Ann" if j % 2 else "Bo", emotion=LABELS.names[(i + j) % 3], vector=by_formula(4).numpy() * (i + j)
                )
                for j in range(3)
            ],
        )
        for i in range(3)
    ]


CORPUS = Corpus("tiny", LABELS, {split: conversations(split) for split in ("train", "valid", "test")})
SETTINGS = ModelSettings(hidden_size=2)


def model() -> TrainedModel:
    from sacl.model.build import build_model

    network = build_model(SETTINGS, 4, len(LABELS))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(by_formula(*parameter.shape))
    standardisation = Standardisation(by_formula(4), 1 + by_formula(4).abs())
    return TrainedModel(network, SETTINGS, LABELS, 4, FeatureSettings(), None, standardisation, {"seed": 0})


@pytest.mark.parametrize("version", VERSIONS)
def test_a_saved_model_keeps_loading(version: str) -> None:
    loaded = TrainedModel.load(FIXTURES / version / "model.safetensors")
    expected = model()
    assert (loaded.labels, loaded.settings, loaded.input_size) == (LABELS, SETTINGS, 4)
    assert loaded.standardisation is not None
    assert torch.equal(loaded.standardisation.mean, by_formula(4))
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name


@pytest.mark.parametrize("version", VERSIONS)
def test_a_saved_checkpoint_keeps_loading(version: str) -> None:
    tensors, content = load(FIXTURES / version / "checkpoint.safetensors", "checkpoint")
    assert torch.equal(tensors["a"], by_formula(2, 3))
    assert content == {"history": [{"epoch": 1}]}


@pytest.mark.parametrize("version", VERSIONS)
def test_saved_features_keep_loading(version: str) -> None:
    store = FeatureStore.open(FIXTURES / version / "features")
    store.check(CORPUS)
    assert np.array_equal(store.rows("valid")[2][1], by_formula(4).numpy() * 3)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_saved_run_keeps_loading(version: str) -> None:
    run = FIXTURES / version / "run"
    recipe, record = open_study(run)
    assert recipe.seeds == [5]
    assert record["data"]["corpus"] == "data"
    assert read_result(run / "seed-5")["labels"] == list(LABELS)
    turns = EmotionRecognizer.from_pretrained(run).predict(CORPUS["test"][0])
    assert [turn.emotion in LABELS.names for turn in turns] == [True] * 3


def write(folder: Path) -> None:
    """Writes one of everything that is saved."""
    folder.mkdir(parents=True)
    model().save(folder / "model.safetensors")
    save(folder / "checkpoint.safetensors", "checkpoint", {"a": by_formula(2, 3)}, {"history": [{"epoch": 1}]})
    vectors = np.stack([u.vector for u in CORPUS.utterances() if u.vector is not None])
    write_store(folder / "features", CORPUS, {"vector": vectors}, {"name": "by formula"})
    data = folder / "data"
    data.mkdir()
    for split in CORPUS.splits:
        write_conversations(CORPUS[split], data / f"{split}.jsonl")
    (data / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    recipe = {
        "name": "tiny",
        "description": "of the fixtures",
        "data": {"name": str(data)},
        "model": {"hidden_size": 2},
        "training": {"epochs": 2},
        "seeds": [5],
    }
    study(parse_recipe(recipe, "fixture"), folder / "run")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
