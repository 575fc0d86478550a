"""`sacl import` and `sacl data import`: folders that are whole or not there, and that training can use."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sacl.cli.convert import import_checkpoint, import_pickle
from sacl.datasets import load_corpus
from sacl.errors import DataError, FeatureError, ModelError
from sacl.experiment.data import load_run_data
from sacl.experiment.recipe import load_recipe
from sacl.features.store import FeatureStore
from sacl.model.dual_lstm import DualLSTM
from sacl.training.trained import TrainedModel

IDS = [f"Ses0{1 + k % 5}F_{k}" for k in range(20)]


def multimodal(bad: bool = False) -> tuple[Any, ...]:
    generator = np.random.default_rng(0)
    vectors = [{id: list(generator.normal(size=(3, width)).astype("f4")) for id in IDS} for width in (5, 3, 2)]
    if bad:
        vectors[1][IDS[3]][1][0] = np.inf
    turns = {id: [f"{id}_{i}" for i in range(3)] for id in IDS}
    labels = {id: [k % 6, (k + 1) % 6, 0] for k, id in enumerate(IDS)}
    return turns, {id: ["M", "F", "M"] for id in IDS}, labels, *vectors, turns, IDS[:16], IDS[16:]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "any.pkl"
    path.write_bytes(pickle.dumps(multimodal()))
    return path


def convert(file: Path, out: Path, dataset: str | None = None, json: bool = False) -> None:
    import_pickle(file, out, dataset, layer=1, labels="emotion", json=json)


@pytest.mark.parametrize("name", ["iemocap", "iemocap-4"])
def test_training_reads_what_was_imported(file: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "made" / "data"
    convert(file, out, name)
    recipe = load_recipe(name, ["features.modalities=[visual, text]"])
    drawn = [load_run_data(recipe, seed, data=out, features=out / "features") for seed in (0, 1)]
    assert {c.id for c in drawn[0].corpus["valid"]} != {c.id for c in drawn[1].corpus["valid"]}
    source = multimodal()
    for data in drawn:
        for split in ("train", "valid", "test"):
            for conversation, rows in zip(*data.split(split), strict=True):
                for utterance, row in zip(conversation.utterances, rows, strict=True):
                    at = int(utterance.id[-1])
                    np.testing.assert_array_equal(row[:2], source[5][conversation.id][at])
                    np.testing.assert_array_equal(row[2:], source[3][conversation.id][at])
    assert len(drawn[0].corpus["valid"]) == 12


def test_the_same_file_gives_the_same_folder(file: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        convert(file, tmp_path / name)
    for made in (tmp_path / "a").rglob("*.*"):
        assert made.read_bytes() == (tmp_path / "b" / made.relative_to(tmp_path / "a")).read_bytes()


def test_the_manifest_says_what_it_was_made_from(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(file, tmp_path / "out", json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["corpus"] == "iemocap"
    assert shown["modalities"] == {"text": 5, "audio": 3, "visual": 2}
    assert shown["counts"]["test"]["utterances"] == 12
    source = json.loads((tmp_path / "out" / "imported.json").read_text())["source"]
    assert source == shown["source"]
    assert source["validation"] == "drawn from train: 2 conversations, 10%, seed 0"
    assert FeatureStore.open(tmp_path / "out" / "features").source == {"name": "vectors of any.pkl", "released": source}


def test_a_person_is_shown_the_counts(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(file, tmp_path / "out")
    shown = capsys.readouterr().out
    assert "frustrated" in shown
    assert "text 5, audio 3, visual 2" in shown


def test_what_fails_leaves_nothing_behind(file: Path, tmp_path: Path) -> None:
    file.write_bytes(pickle.dumps(multimodal(bad=True)))
    with pytest.raises(FeatureError, match=f"conversation {IDS[3]}, utterance .*modality audio: .*not finite"):
        convert(file, tmp_path / "out")
    file.write_bytes(pickle.dumps(multimodal())[:-5])
    with pytest.raises(DataError, match=r"any\.pkl: byte"):
        convert(file, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["any.pkl"]


def test_a_folder_that_holds_something_is_left_alone(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").touch()
    with pytest.raises(DataError, match="it is there and not empty"):
        convert(file, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    (out / "mine.txt").unlink()
    convert(file, out)
    assert (out / "train.jsonl").exists()


def test_the_pickles_in_circulation_are_converted_once(shared_data: Path, tmp_path: Path) -> None:
    import_pickle(
        shared_data / "meld" / "cosmic_meld.pkl", tmp_path / "m", None, layer=1, labels="sentiment", json=False
    )
    corpus = load_corpus("meld", tmp_path / "m", labels="sentiment")
    assert corpus.labels.names == ("neutral", "positive", "negative")
    assert sum(1 for _ in corpus.utterances()) == 13708
    assert not (tmp_path / "m" / "features").exists()
    with pytest.raises(DataError, match="it holds meld with sentiment labels, not meld with emotion labels"):
        load_corpus("meld", tmp_path / "m")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    names = {"context_lstm.": "rnn.", "speaker_lstm.": "rnn_parties.", "classifier.": "cognition_net.smax_fc."}
    state = DualLSTM(6, 7, hidden_size=4).state_dict()
    released = {names[k.split(".")[0] + "."] + k.split(".", 1)[1]: t for k, t in state.items()}
    torch.save(released, tmp_path / "best.pkl")
    return tmp_path / "best.pkl"


@pytest.mark.parametrize(("labels", "first"), [("meld", "neutral"), ("emorynlp", "joyful"), ("g, f,e,d,c,b,a", "g")])
def test_a_checkpoint_becomes_a_model_with_its_labels(
    checkpoint: Path, tmp_path: Path, labels: str, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "model"
    import_checkpoint(checkpoint, out, labels, padding="released", json=True)
    model = TrainedModel.load(out)
    assert model.labels.names[0] == first
    assert model.settings.padding == "released"
    assert json.loads(capsys.readouterr().out)["input_size"] == 6


def test_a_checkpoint_is_never_written_over_a_model(checkpoint: Path, tmp_path: Path) -> None:
    import_checkpoint(checkpoint, tmp_path / "out", "meld", padding="packed", json=False)
    written = (tmp_path / "out" / "model.safetensors").read_bytes()
    with pytest.raises(ModelError, match="there is a model already"):
        import_checkpoint(checkpoint, tmp_path / "out", "emorynlp", padding="packed", json=False)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == written


def test_a_checkpoint_with_unfit_options_is_refused_and_nothing_is_made(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ModelError, match="it tells 7 emotions apart, and 6 labels"):
        import_checkpoint(checkpoint, out, "iemocap", padding="released", json=False)
    with pytest.raises(DataError, match="'medl' names no labels"):
        import_checkpoint(checkpoint, out, "medl", padding="released", json=False)
    with pytest.raises(ModelError, match="unknown padding 'zero'"):
        import_checkpoint(checkpoint, out, "meld", padding="zero", json=False)
    assert not out.exists()
