"""`sacl encode --finetune`: from texts to an adapted encoder, its vectors, a model trained on them, and predictions."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from sacl.conversation import Corpus
from sacl.datasets import load_corpus
from sacl.datasets.imported import write_imported
from sacl.features import Encoder, FeatureStore
from sacl.training.finetune import CARD_FILE

TINY = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "tiny_encoder.py"))
Sacl = Callable[..., Any]

RECIPE = """\
name: words
description: a few words
data: {name: DATA}
features: {pooling: mean}
model: {hidden_size: 4}
training: {batch_size: 8, epochs: 2, learning_rate: 0.02}
seeds: [0]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: `base`, an encoder, `words`, a corpus, and `words.yaml`, a recipe for it."""
    monkeypatch.chdir(tmp_path)
    TINY["write_encoder"](tmp_path / "base")
    TINY["write_corpus"](tmp_path / "words")
    (tmp_path / "words.yaml").write_text(RECIPE.replace("DATA", str(tmp_path / "words")), encoding="utf-8")
    return tmp_path


@pytest.fixture
def encode(sacl: Sacl, here: Path) -> Sacl:
    """encode("--out", "tuned"): `encode words --finetune`, quickly, with more options."""

    def run(*options: str | Path, data: str = "words") -> Any:
        quick = ["--epochs", "2", "--learning-rate", "0.01", "--cache", here / "cache"]
        return sacl("encode", data, "--finetune", "--encoder", "base", "--pooling", "mean", *quick, *options)

    return run


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_the_folder_holds_the_encoder_and_its_vectors(encode: Sacl, here: Path) -> None:
    code, out, err = encode("--out", "new/tuned", "--json")
    assert code == 0, err
    document = json.loads(out)
    card = json.loads((here / "new" / "tuned" / "encoder" / CARD_FILE).read_text())
    assert "model.safetensors" in card.pop("files")  # their digests are for whoever reads the folder
    assert document["finetuned"] == card
    assert (card["corpus"], Path(card["base"]["name"]).name, len(card["epochs"])) == ("words", "base", 2)
    assert (card["settings"]["epochs"], card["settings"]["learning_rate"], card["warnings"]) == (2, 0.01, [])
    corpus, store = load_corpus("words"), FeatureStore.open("new/tuned")
    store.check(corpus)
    adapted = Encoder.load("new/tuned/encoder", pooling="mean")
    texts = [u.text or "" for u in corpus.utterances("test")]
    np.testing.assert_allclose(np.concatenate(store.rows("test")), adapted.encode(texts), atol=1e-5)
    assert store.source["name"] == str(here / "new" / "tuned" / "encoder")
    assert store.source["finetuned on"] == "words, train"
    assert tree(here / "new") == sorted(
        ["tuned", *(f"tuned/{name}" for name in tree(here / "new" / "tuned"))]
    )  # nothing beside it
    assert (document["sha256"], document["modalities"]) == (store.sha256, {"text": 16})


def test_a_person_sees_every_epochs_validation_accuracy(encode: Sacl, here: Path) -> None:
    code, out, err = encode("--out", "tuned", "--seed", "3", "--dropout", "0.2", "--threads", "1")
    assert code == 0, err
    card = json.loads((here / "tuned" / "encoder" / CARD_FILE).read_text())
    assert (card["settings"]["seed"], card["settings"]["dropout"]) == (3, 0.2)
    assert "features.encoder=tuned/encoder and features.pooling=mean" in " ".join(out.split())
    rows = [line for line in out.splitlines() if line.startswith("│ epoch")]
    for row, figures in zip(rows, card["epochs"], strict=True):
        assert f"{figures['valid_accuracy']:.2f}" in row
        assert ("*" in row) == (figures["epoch"] == card["epoch"])
    assert out.splitlines()[-1].endswith("encoded (text 16 numbers each), in tuned")
    assert all(cell_len(line) <= 80 for line in out.splitlines())


def test_a_model_trained_on_the_vectors_finds_the_encoder_from_elsewhere(
    sacl: Sacl, encode: Sacl, here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encode("--out", "tuned").code == 0
    assert sacl("train", "words.yaml", "--features", "tuned", "--out", here / "run", "--jobs", "1").code == 0
    (here / "chat.txt").write_text("Ann: it was sunny\nBo: never stop\n")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    code, _, err = sacl("predict", here / "run", here / "chat.txt", "--json")
    assert code == 0, err
    assert sacl("evaluate", here / "run").code == 0
    # The vectors that it was trained on are those that it reads now.
    read = sacl("predict", here / "run", here / "words" / "test.jsonl", "--json").out
    shutil.rmtree(here / "cache")
    assert sacl("predict", here / "run", here / "words" / "test.jsonl", "--json").out == read


def test_a_recipe_that_names_the_encoder_gives_what_its_vectors_give(sacl: Sacl, encode: Sacl, here: Path) -> None:
    assert encode("--out", "tuned").code == 0
    options = ["--set", f"features.encoder={here / 'tuned' / 'encoder'}", "--cache", here / "cache", "--jobs", "1"]
    assert sacl("train", "words.yaml", *options, "--out", "named").code == 0
    assert sacl("train", "words.yaml", "--features", "tuned", "--out", "given", "--jobs", "1").code == 0
    results = [json.loads((here / run / "seed-0" / "result.json").read_text()) for run in ("named", "given")]
    assert results[0]["test"] == results[1]["test"]
    assert results[0]["data"]["features"] == results[1]["data"]["features"]
    (here / "chat.txt").write_text("Ann: it was sunny\nBo: never stop\n")
    assert sacl("predict", "named", "chat.txt", "--json").out == sacl("predict", "given", "chat.txt", "--json").out


def test_the_test_split_changes_nothing_of_the_encoder(encode: Sacl, here: Path) -> None:
    TINY["write_corpus"](here / "others" / "words", test_seed=1)
    assert (here / "others/words/test.jsonl").read_bytes() != (here / "words/test.jsonl").read_bytes()
    assert encode("--out", "one").code == 0
    assert encode("--out", "two", data="others/words").code == 0
    for name in tree(here / "one" / "encoder"):
        assert (here / "one" / "encoder" / name).read_bytes() == (here / "two" / "encoder" / name).read_bytes()


def test_the_same_again_elsewhere_is_known_by_its_own_place(encode: Sacl, here: Path) -> None:
    """Its vectors are in the cache already, under the place of the first."""
    assert encode("--out", "one").code == encode("--out", "two").code == 0
    assert FeatureStore.open("one").sha256 == FeatureStore.open("two").sha256
    assert FeatureStore.open("two").source["name"] == str(here / "two" / "encoder")


def test_an_empty_folder_is_filled(encode: Sacl, here: Path) -> None:
    (here / "tuned").mkdir()
    assert encode("--out", "tuned").code == 0
    assert (here / "tuned" / "encoder" / "config.json").exists()


@pytest.mark.parametrize("where", ["training", "encoding"])
def test_an_interrupt_leaves_nothing(where: str, encode: Sacl, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    # While training; and when the encoder is saved and its vectors are not.
    place = "sacl.training.finetune._validated" if where == "training" else "sacl.features.encoder.Encoder.encode"
    monkeypatch.setattr(place, interrupt)
    before = tree(here)
    assert encode("--out", "tuned").code == 130
    assert [name for name in tree(here) if not name.startswith("cache")] == before


@pytest.mark.parametrize(
    ("told", "options"),
    [
        ("needs a folder", []),
        ("something is there already", ["--out", "words"]),
        ("--learning-rate: it is -1.0", ["--out", "tuned", "--learning-rate", "-1"]),
        ("--dropout: it is 1.0", ["--out", "tuned", "--dropout", "1"]),
        ("--epochs", ["--out", "tuned", "--epochs", "0"]),
        ("no device 'toaster'", ["--out", "tuned", "--device", "toaster"]),
        ("loss of fine-tuning", ["--out", "tuned", "--learning-rate", "1e30"]),
        ("unknown pooling", ["--out", "tuned", "--pooling", "max"]),
    ],
)
def test_what_is_at_fault_is_told_in_one_line(told: str, options: list[str], encode: Sacl, here: Path) -> None:
    before = tree(here)
    code, out, err = encode(*options)
    assert (code, out) == (2, "")
    assert err.startswith("sacl: ")
    assert err.count("\n") == 1
    assert told in err
    assert tree(here) == before


def test_a_corpus_without_validation_is_refused(encode: Sacl, here: Path) -> None:
    (here / "words" / "valid.jsonl").unlink()
    assert "there is no split 'valid'" in encode("--out", "tuned").err
    assert "there is no split 'train'" in encode("--out", "tuned", data="words/train.jsonl").err
    assert not (here / "tuned").exists()


@pytest.mark.parametrize("option", ["--epochs=3", "--learning-rate=0.1", "--dropout=0.1", "--seed=1", "--threads=1"])
def test_a_setting_of_fine_tuning_is_not_passed_over_without_it(option: str, sacl: Sacl, here: Path) -> None:
    code, _, err = sacl("encode", "words", option)
    assert code == 2
    assert f"{option.partition('=')[0]}: it is a setting of --finetune" in err


def test_iemocaps_trap_is_said_in_the_card_and_shown(sacl: Sacl, encode: Sacl, here: Path) -> None:
    words = load_corpus("words")
    (here / "iemocap").mkdir()
    write_imported(here / "iemocap", Corpus("iemocap", words.labels, words.splits), "emotion", {})
    code, out, err = encode("--out", "tuned", "--data", "iemocap", data="iemocap")
    assert code == 0, err
    card = json.loads((here / "tuned" / "encoder" / CARD_FILE).read_text())
    [warning] = card["warnings"]
    assert "fixed validation split" in warning
    assert "data.validation=fixed" in warning
    assert warning.split() == " ".join(out.split("Beware: ")[1].split("\n\n")[0].split()).split()
    # Its vectors are those that training reads, whichever conversations the recipe validates on.
    for validation in ("by-seed", "fixed"):
        settings = ["--set", "data.name=iemocap", "--set", f"data.validation={validation}", "--data", "iemocap"]
        run = sacl("train", "words.yaml", *settings, "--features", "tuned", "--out", validation, "--jobs", "1")
        assert run.code == 0, run.err
