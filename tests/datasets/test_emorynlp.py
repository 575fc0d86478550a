"""EmoryNLP: the released counts, scenes as conversations, and who speaks when several do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sacl.conversation import Corpus
from sacl.datasets import emorynlp
from sacl.errors import DataError

HEADER = "Utterance,Speaker,Emotion,Scene_ID,Utterance_ID,Season,Episode\n"


def row(speakers: str = "['Ann']", emotion: str = "Joyful", scene: int = 1, utterance: int = 1) -> str:
    return f'Hello,"{speakers}",{emotion},{scene},{utterance},2,7\n'


def release(folder: Path, train: str) -> Path:
    (folder / "emorynlp_train_final.csv").write_text(HEADER + train)
    for name in ("dev", "test"):
        (folder / f"emorynlp_{name}_final.csv").write_text(HEADER + row())
    return folder


def speakers(corpus: Corpus, split: str = "train") -> list[list[str]]:
    return [[u.speaker for u in c.utterances] for c in corpus[split]]


@pytest.fixture(scope="module")
def released(shared_data: Path) -> Corpus:
    return emorynlp.read(shared_data / "emorynlp")


def test_conversations_are_scenes_sorted_by_name_as_text(tmp_path: Path) -> None:
    corpus = emorynlp.read(release(tmp_path, row(scene=2) + row(scene=11) + row(scene=1)), expected=None)
    assert [c.id for c in corpus["train"]] == ["2_7_1", "2_7_11", "2_7_2"]
    assert corpus["train"][0].utterances[0].emotion == "joyful"


def test_a_list_of_speakers_is_one_of_its_own_or_its_first(tmp_path: Path) -> None:
    rows = row() + row("['Ann', 'Bo']", utterance=2) + row("['Bo']", utterance=3) + row("['Ann', 'Bo']", utterance=4)
    folder = release(tmp_path, rows)
    assert speakers(emorynlp.read(folder, expected=None)) == [["Ann", "Ann", "Bo", "Ann"]]
    assert speakers(emorynlp.read(folder, "own", expected=None)) == [["Ann", "Ann & Bo", "Bo", "Ann & Bo"]]


@pytest.mark.parametrize("bad", ["Ann", "[]", "[1]", "('Ann',)", "__import__('os').getcwd()", "[" * 300, "['Ann'"])
def test_what_is_not_a_list_of_names_is_refused_and_never_run(tmp_path: Path, bad: str) -> None:
    with pytest.raises(DataError, match=r"emorynlp_train_final\.csv, line 2: its speaker .* is not a list of names"):
        emorynlp.read(release(tmp_path, row(bad)), expected=None)


def test_sentiments_are_grouped_emotions(tmp_path: Path) -> None:
    rows = "".join(row(emotion=name.capitalize(), utterance=i) for i, name in enumerate(emorynlp.LABELS))
    corpus = emorynlp.read(release(tmp_path, rows), expected=None, labels="sentiment")
    assert corpus.labels.names == ("negative", "neutral", "positive")
    felt = {name: u.emotion for name, u in zip(emorynlp.LABELS, corpus["train"][0].utterances, strict=True)}
    assert [name for name in felt if felt[name] == "positive"] == ["joyful", "peaceful", "powerful"]
    assert [name for name in felt if felt[name] == "negative"] == ["mad", "sad", "scared"]


def test_an_unknown_way_to_read_joint_speech_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown way 'last'.*Use one of: first, own"):
        emorynlp.read(tmp_path, "last")  # type: ignore[arg-type]


def test_the_release_has_the_counts_of_the_card(released: Corpus) -> None:
    card = {
        line.split("|")[1].strip(): line.split("|")[2:5] for line in emorynlp.__doc__.splitlines() if line[:1] == "|"
    }
    for column, split in enumerate(("train", "valid", "test")):
        counts = Counter(u.emotion for u in released.utterances(split))
        for label in emorynlp.LABELS:
            assert int(card[label][column].replace(",", "")) == counts[label]


def test_the_release_has_the_speakers_of_the_card(released: Corpus, shared_data: Path) -> None:
    own = emorynlp.read(shared_data / "emorynlp", joint="own")
    assert sum(" & " in u.speaker for u in own.utterances()) == 61

    def partitions(corpus: Corpus) -> list[list[int]]:
        return [[who.index(name) for name in who] for split in corpus.splits for who in speakers(corpus, split)]

    assert sum(a != b for a, b in zip(partitions(released), partitions(own), strict=True)) == 43
    everything = [c for split in own.splits.values() for c in split]
    assert max(len({u.speaker for u in c.utterances}) for c in everything) == 9
    assert max(map(len, everything)) == 25
    assert sum(len(c) == 1 for c in everything) == 12


def test_the_released_texts_are_plain(released: Corpus) -> None:
    assert all(u.text and u.text.isascii() and u.text.isprintable() for u in released.utterances())
