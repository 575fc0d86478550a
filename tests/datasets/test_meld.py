"""MELD: the released counts, clean texts, and the defects that its card states."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sacl.conversation import Corpus
from sacl.datasets import meld
from sacl.errors import DataError

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season\r\n"
ROW = "1,{text},{speaker},{emotion},neutral,{dialogue},{utterance},8\r\n"


def row(text: str = "Hello", speaker: str = "Ann", emotion: str = "joy", dialogue: int = 0, utterance: int = 0) -> str:
    return ROW.format(text=text, speaker=speaker, emotion=emotion, dialogue=dialogue, utterance=utterance)


def release(folder: Path, train: bytes | str) -> Path:
    content = train if isinstance(train, bytes) else (HEADER + train).encode()
    (folder / "train_sent_emo.csv").write_bytes(content)
    for name in ("dev", "test"):
        (folder / f"{name}_sent_emo.csv").write_text(HEADER + row(), newline="")
    return folder


@pytest.fixture(scope="module")
def released(shared_data: Path) -> Corpus:
    return meld.read(shared_data / "meld")


def test_a_row_becomes_an_utterance_named_by_its_ids(tmp_path: Path) -> None:
    rows = row(dialogue=3, utterance=1) + row('"Hi, you"', "Bo", "anger", 3, 4) + row(dialogue=5)
    corpus = meld.read(release(tmp_path, rows), expected=None)
    assert [c.id for c in corpus["train"]] == ["3", "5"]
    assert [(u.id, u.speaker, u.text, u.emotion) for u in corpus["train"][0].utterances] == [
        ("1", "Ann", "Hello", "joy"),
        ("4", "Bo", "Hi, you", "anger"),
    ]


def test_sentiments_are_those_of_the_files_own_column(tmp_path: Path) -> None:
    folder = release(tmp_path, row() + row(utterance=1).replace("neutral", "Negative"))
    corpus = meld.read(folder, expected=None, labels="sentiment")
    assert corpus.labels.names == ("neutral", "positive", "negative")
    assert [u.emotion for u in corpus["train"][0].utterances] == ["neutral", "negative"]
    with pytest.raises(DataError, match=r"unknown kind of labels 'valence'\. Use one of: emotion, sentiment"):
        meld.read(folder, labels="valence")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "encoded", [b"it\x92s\xa0caf\xe9\x85", b"it\xc2\x92s\xc2\xa0caf\xc3\xa9\xc2\x85", "it’s café…".encode()]
)
def test_windows_1252_is_repaired_however_it_got_in(tmp_path: Path, encoded: bytes) -> None:
    content = (HEADER + row("TEXT")).encode().replace(b"TEXT", encoded)
    corpus = meld.read(release(tmp_path, content), expected=None)
    assert corpus["train"][0].utterances[0].text == "it’s café…"


def test_other_counts_than_the_published_are_refused_with_both(tmp_path: Path) -> None:
    found = "meld, split train: found 1 conversations with 1 labelled utterances, expected 1038 with 9989. Get"
    with pytest.raises(DataError, match=found):
        meld.read(release(tmp_path, row()))


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (row(emotion="mild"), r"line 2: unknown emotion 'mild'\. Expected one of: neutral"),
        (row() + "2,Hello\r\n", "line 3: the row has 2 cells"),
        (row() + row(), "conversation 0, utterance 0: its id stands twice"),
    ],
)
def test_a_damaged_row_is_placed(tmp_path: Path, rows: str, found: str) -> None:
    with pytest.raises(DataError, match=found):
        meld.read(release(tmp_path, rows), expected=None)


def test_a_missing_file_or_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train_sent_emo\.csv: there is no such file"):
        meld.read(tmp_path)
    with pytest.raises(DataError, match="the column 'Dialogue_ID' is missing"):
        meld.read(release(tmp_path, b"Utterance,Speaker,Emotion\r\n"))


def test_the_release_has_the_counts_of_the_card(released: Corpus) -> None:
    card = {line.split("|")[1].strip(): line.split("|")[2:5] for line in meld.__doc__.splitlines() if line[:1] == "|"}
    for column, split in enumerate(("train", "valid", "test")):
        counts = Counter(u.emotion for u in released.utterances(split))
        for label in meld.LABELS:
            assert int(card[label][column].replace(",", "")) == counts[label]


def test_the_release_has_the_sentiments_of_the_card(shared_data: Path) -> None:
    corpus = meld.read(shared_data / "meld", labels="sentiment")
    for split in corpus.splits:
        counts = Counter(u.emotion for u in corpus.utterances(split))
        assert f"{split} {' '.join(f'{counts[label]:,}' for label in corpus.labels)}" in " ".join(meld.__doc__.split())


def test_the_released_texts_are_clean(released: Corpus) -> None:
    assert all(u.text and u.text.isprintable() and "\N{NO-BREAK SPACE}" not in u.text for u in released.utterances())


def test_the_release_has_the_defects_of_the_card(released: Corpus) -> None:
    train = {c.id: c for c in released["train"]}
    assert list(map(int, train)) == [n for n in range(1039) if n != 60]
    twin, test = train["19"], next(c for c in released["test"] if c.id == "63")
    assert [(u.text, u.emotion) for u in twin.utterances] == [(u.text, u.emotion) for u in test.utterances]
    assert [u.speaker for u in twin.utterances] != [u.speaker for u in test.utterances]
    everything = [c for split in released.splits.values() for c in split]
    gaps = sum(int(c.utterances[-1].id) - int(c.utterances[0].id) + 1 != len(c) for c in everything)
    assert gaps == 69
    assert max(map(len, everything)) == 33
    assert max(len({u.speaker for u in c.utterances}) for c in everything) == 9
    assert sum(len(c) == 1 for c in everything) == 88
