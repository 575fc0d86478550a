"""A converted pickle: read back by name or as a folder, with the validation policies of its data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sacl.conversation import Conversation, Corpus, Utterance
from sacl.datasets import iemocap, load_corpus
from sacl.datasets.imported import IMPORTED, imported_name, read_imported, write_imported
from sacl.errors import DataError


def corpus(name: str = "iemocap", train: int = 18) -> Corpus:
    def chats(prefix: str, count: int) -> list[Conversation]:
        # Ids out of order, as a pickle may list them.
        return [Conversation(f"{prefix}{k * 7 % count}", [Utterance("M", "Hello", "sad")]) for k in range(count)]

    splits = {"train": chats("a", train), "valid": chats("b", 4), "test": chats("c", 3)}
    return Corpus(name, iemocap.LABELS, splits)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_imported(tmp_path, corpus(), "emotion", {"layout": "texts"})
    return tmp_path


def test_it_reads_back_the_same_by_name_and_as_a_folder(folder: Path) -> None:
    for found in (load_corpus("iemocap", folder), load_corpus(folder), read_imported(folder, "iemocap")):
        assert found.fingerprint() == corpus().fingerprint()
    assert load_corpus("iemocap", folder).name == "iemocap"
    assert json.loads((folder / IMPORTED).read_text())["source"] == {"layout": "texts"}


def test_it_is_found_in_a_folder_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "iemocap").mkdir()
    write_imported(tmp_path / "iemocap", corpus(), "emotion", {})
    assert load_corpus("iemocap", tmp_path).fingerprint() == corpus().fingerprint()


def test_by_seed_draws_twelve_of_train_and_valid_in_the_files_order(folder: Path) -> None:
    both = [c.id for split in ("train", "valid") for c in corpus()[split]]
    drawn = list(both)
    np.random.RandomState(3).shuffle(drawn)
    found = load_corpus("iemocap", folder, validation="by-seed", seed=3)
    assert {c.id for c in found["valid"]} == set(drawn[:12])
    assert [c.id for c in found["train"]] == [id for id in both if id not in drawn[:12]]
    assert found["test"] == corpus()["test"]


def test_fixed_is_the_files_own_validation_split(folder: Path) -> None:
    assert load_corpus("iemocap", folder, validation="fixed").fingerprint() == corpus().fingerprint()


def test_another_data_set_or_other_labels_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SACL_DATA", raising=False)
    with pytest.raises(DataError, match=r"it holds iemocap, not meld"):
        load_corpus("meld", folder)
    with pytest.raises(DataError, match=r"it holds iemocap with emotion labels, not iemocap with sentiment labels"):
        read_imported(folder, "iemocap", labels="sentiment")


def test_an_option_that_it_does_not_have_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="iemocap has no option 'test_session'"):
        load_corpus("iemocap", folder, test_session=1)
    (tmp_path / "meld").mkdir()
    write_imported(tmp_path / "meld", corpus("meld"), "emotion", {})
    with pytest.raises(DataError, match="validation 'by-seed' is not known for meld"):
        load_corpus("meld", tmp_path / "meld", validation="by-seed")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format_version": 2}', '{"format_version": 1}', "[" * 10000])
def test_a_damaged_manifest_is_told(folder: Path, content: str) -> None:
    (folder / IMPORTED).write_text(content)
    with pytest.raises(DataError, match=r"imported\.json: it (is damaged|has the format 2)"):
        imported_name(folder)


def test_a_missing_part_is_named(folder: Path) -> None:
    (folder / "valid.jsonl").unlink()
    with pytest.raises(DataError, match=r"valid\.jsonl: there is no such file"):
        load_corpus("iemocap", folder)
    (folder / "labels.txt").unlink()
    with pytest.raises(DataError, match=r"labels\.txt: there is no such file"):
        load_corpus("iemocap", folder)
