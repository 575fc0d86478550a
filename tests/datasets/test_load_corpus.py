"""One call gives a corpus: by name from the places where data lie, or from files of one's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sacl.conversation import Conversation, Utterance
from sacl.datasets import DATASETS, load_corpus, sample
from sacl.datasets.download import cached
from sacl.errors import DataError
from sacl.formats import Columns, write_conversations

MELD_ROW = "Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\nHello,{speaker},joy,0,0\n"


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SACL_DATA", raising=False)


def meld_at(folder: Path, speaker: str) -> Path:
    folder.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (folder / f"{split}_sent_emo.csv").write_text(MELD_ROW.format(speaker=speaker))
    return folder


def who(data: Path | None = None) -> str:
    return load_corpus("meld", data=data, expected=None)["train"][0].utterances[0].speaker


def chat(*emotions: str | None) -> list[Conversation]:
    return [Conversation("c1", [Utterance("Ann", "Hello", emotion) for emotion in emotions])]


def test_a_known_data_set_is_found_in_data_then_sacl_data_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"MELD is not there: none of .*cache.*Get it with `sacl data fetch meld`"):
        who()
    meld_at(cached("meld"), "cached")
    assert who() == "cached"
    meld_at(tmp_path / "env" / "meld", "env/meld")
    monkeypatch.setenv("SACL_DATA", str(tmp_path / "env"))
    assert who() == "env/meld"
    monkeypatch.setenv("SACL_DATA", str(meld_at(tmp_path / "flat", "env")))
    assert who() == "env"
    meld_at(tmp_path / "data" / "meld", "data/meld")
    assert who(tmp_path / "data") == "data/meld"
    assert who(tmp_path / "data" / "meld") == "data/meld"


def test_a_part_of_a_known_data_set_is_told_by_the_file_that_lacks(tmp_path: Path) -> None:
    (meld_at(tmp_path / "meld", "Ann") / "dev_sent_emo.csv").unlink()
    with pytest.raises(DataError, match=r"dev_sent_emo\.csv: there is no such file"):
        load_corpus("meld", data=tmp_path)


def test_iemocap_tells_where_to_ask_for_it() -> None:
    with pytest.raises(DataError, match=r"IEMOCAP is not there: .*Ask for it at https://sail"):
        load_corpus("iemocap")


def test_the_real_data_sets_are_found_by_name(shared_data: Path) -> None:
    for name in ("meld", "emorynlp"):
        assert load_corpus(name, data=shared_data).name == name


def test_the_sample_corpus_is_found_without_any_data() -> None:
    corpus = load_corpus("sample")
    assert corpus.labels is sample.LABELS
    assert {u.emotion for u in corpus.utterances("train")} >= set(sample.LABELS)


def test_a_folder_of_ones_own_is_a_corpus_of_its_files(tmp_path: Path) -> None:
    write_conversations(chat("sad", None, "calm"), tmp_path / "train.jsonl")
    write_conversations(chat("calm"), tmp_path / "test.csv")
    corpus = load_corpus(tmp_path)
    assert list(corpus.splits) == ["train", "test"]
    assert corpus.labels.names == ("calm", "sad")
    assert corpus.name == tmp_path.name


def test_labels_txt_gives_the_labels_and_their_order(tmp_path: Path) -> None:
    write_conversations(chat("sad"), tmp_path / "train.jsonl.gz")
    (tmp_path / "labels.txt").write_text("sad\n calm \n\n")
    assert load_corpus(str(tmp_path)).labels.names == ("sad", "calm")


def test_a_label_that_train_does_not_have_is_placed(tmp_path: Path) -> None:
    write_conversations(chat("sad"), tmp_path / "train.jsonl")
    write_conversations(chat("glad"), tmp_path / "test.jsonl")
    with pytest.raises(DataError, match="split test, conversation c1, utterance 0: unknown emotion 'glad'"):
        load_corpus(tmp_path)


def test_a_file_is_a_corpus_with_one_split(tmp_path: Path) -> None:
    path = tmp_path / "chats.csv"
    path.write_text("who,text,emotion\nAnn,Hello,joy\n")
    corpus = load_corpus(path, columns=Columns(speaker="who"))
    assert (corpus.name, list(corpus.splits)) == ("chats", ["all"])
    assert corpus["all"][0].utterances[0].speaker == "Ann"


def test_a_path_may_bear_the_name_of_a_known_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meld").mkdir()
    write_conversations(chat("sad"), tmp_path / "meld" / "train.jsonl")
    monkeypatch.chdir(tmp_path)
    assert load_corpus("./meld").labels.names == ("sad",)
    assert load_corpus(Path("meld")).labels.names == ("sad",)


def test_what_is_no_data_set_is_told_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it holds none of train, valid, test as \.jsonl"):
        load_corpus(tmp_path)
    with pytest.raises(DataError, match=r"no such data set, folder or file\. Use one of: sample, meld, emorynlp"):
        load_corpus("medl")
    with pytest.raises(DataError, match="no such data set, folder or file"):
        load_corpus("long" * 2000)


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    write_conversations(chat("sad"), tmp_path / "train.jsonl")
    write_conversations(chat("sad"), tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"both train\.jsonl and train\.csv"):
        load_corpus(tmp_path)


def test_a_corpus_without_any_label_has_none(tmp_path: Path) -> None:
    write_conversations(chat(None), tmp_path / "chats.jsonl")
    assert load_corpus(tmp_path / "chats.jsonl").labels.names == ()


def test_an_emotion_that_train_lacks_tells_of_the_list_of_labels(tmp_path: Path) -> None:
    write_conversations(chat("calm"), tmp_path / "train.jsonl")
    write_conversations(chat("glad"), tmp_path / "valid.jsonl")
    with pytest.raises(DataError, match=r"unknown emotion 'glad'.*Use one of: calm; or list .* in labels\.txt"):
        load_corpus(tmp_path)
    (tmp_path / "labels.txt").write_text("calm\nglad\n", encoding="utf-8")
    assert load_corpus(tmp_path).labels.names == ("calm", "glad")


def test_a_folder_that_is_named_is_the_only_one_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACL_DATA", str(tmp_path / "elsewhere"))
    for name in ("train", "dev", "test"):
        (tmp_path / "elsewhere" / "meld").mkdir(parents=True, exist_ok=True)
        (tmp_path / "elsewhere" / "meld" / f"{name}_sent_emo.csv").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="MELD is not there") as refused:
        load_corpus("meld", tmp_path / "typo")
    assert "elsewhere" not in str(refused.value)


@pytest.mark.parametrize("name", DATASETS)
def test_every_card_states_labels_in_index_order(name: str) -> None:
    info = DATASETS[name]
    assert f"Labels in index order: {' '.join(info.labels)}" in " ".join(info.card.replace(",", "").split())


def test_importing_the_readers_imports_nothing_heavy() -> None:
    heavy = {"torch", "pandas", "scipy", "sklearn", "transformers", "requests", "pooch"}
    code = f"import sys; import sacl.datasets; print(sorted({heavy} & set(sys.modules)))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == "[]\n"
