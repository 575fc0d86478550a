"""What a fine-tuned encoder's folder says of itself, and where vectors from the cache are said to come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.features import Encoder
from sacl.features.corpus import encode_corpus


@pytest.fixture
def copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


@pytest.mark.parametrize(("written", "read"), [("mean", "mean"), ("first", "first"), (None, "first"), (3, "first")])
def test_a_fine_tuned_encoder_is_read_as_it_was_tuned(copy: Path, written: Any, read: str) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "sacl_pooling": written}))
    assert Encoder.load(copy).pooling == read
    assert Encoder.load(copy, pooling="first").pooling == "first"


@pytest.mark.parametrize("config", ["", "[]", "{", "\udcff"])
def test_a_damaged_configuration_is_left_to_transformers(copy: Path, config: str) -> None:
    (copy / "config.json").write_bytes(config.encode("utf-8", "surrogateescape"))
    assert Encoder.load(copy).pooling == "first"


def test_a_folder_is_known_by_its_whole_path(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    assert Encoder.load("copy").identity["name"] == str(copy)


def test_vectors_from_the_cache_come_from_the_encoder_that_was_asked(
    copy: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    corpus = Corpus("c", LabelSet(()), {"all": [Conversation("0", [Utterance("A", "you came")])]})
    for folder in (copy, tiny_folder):
        encoder = Encoder.load(folder, max_tokens=20)
        assert encode_corpus(corpus, encoder, tmp_path / "cache").source == encoder.identity
    assert len(list((tmp_path / "cache").iterdir())) == 1
