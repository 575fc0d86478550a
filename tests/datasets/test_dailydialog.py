"""DailyDialog: read from a small release made up here."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacl.datasets import dailydialog, load_corpus
from sacl.errors import DataError

TEXT = "Where were you ? __eou__ At the lake . __eou__ Without me ? __eou__\n\nSo you won ? __eou__ I did ! __eou__\n"
LABELS = "0 4 1 \n\n6 4 \n"


def release(root: Path, text: str = TEXT, labels: str = LABELS, plain_names: bool = False) -> Path:
    for name in ("train", "validation", "test"):
        (root / name).mkdir(parents=True)
        files = ("text", "emotion") if plain_names else (name, f"emotion_{name}")
        (root / name / f"dialogues_{files[0]}.txt").write_text(text)
        (root / name / f"dialogues_{files[1]}.txt").write_text(labels)
    return root


@pytest.mark.parametrize("plain_names", [False, True])
def test_two_speakers_take_turns_with_a_label_each(tmp_path: Path, plain_names: bool) -> None:
    corpus = load_corpus("dailydialog", release(tmp_path, plain_names=plain_names), expected=None)
    assert list(corpus.splits) == ["train", "valid", "test"]
    assert [(c.id, [(u.speaker, u.text, u.emotion) for u in c.utterances]) for c in corpus["valid"]] == [
        (
            "1",
            [
                ("A", "Where were you ?", "no_emotion"),
                ("B", "At the lake .", "happiness"),
                ("A", "Without me ?", "anger"),
            ],
        ),
        ("3", [("A", "So you won ?", "surprise"), ("B", "I did !", "happiness")]),
    ]


def test_the_published_counts_are_expected_and_those_of_the_card(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split train: found 2 conversations with 5 .* expected 11118 with 87170"):
        dailydialog.read(release(tmp_path))
    for numbers in dailydialog.EXPECTED.values():
        assert all(f"{n:,}" in dailydialog.__doc__ for n in numbers)


@pytest.mark.parametrize(
    ("text", "labels", "found"),
    [
        (TEXT, "0 4\n\n6 4\n", r"dialogues_train\.txt, line 1: it has 3 utterances, and line 1 of .* 2 labels"),
        (TEXT, "0 4 1\n\n6 7\n", r"dialogues_emotion_train\.txt, line 3: its label is '7'"),
        (TEXT, "0 4 1\n\n6 x\n", "its label is 'x'"),
        (TEXT, "0 4 1\n", r"dialogues_emotion_train\.txt: it has fewer lines than dialogues_train\.txt"),
        ("Hi __eou__\n", "0\n1\n", r"dialogues_train\.txt: it has fewer lines than dialogues_emotion_train\.txt"),
    ],
)
def test_what_does_not_fit_together_is_placed(tmp_path: Path, text: str, labels: str, found: str) -> None:
    with pytest.raises(DataError, match=found):
        dailydialog.read(release(tmp_path, text, labels), expected=None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (release(tmp_path) / "test" / "dialogues_emotion_test.txt").unlink()
    with pytest.raises(DataError, match=r"dialogues_emotion_test\.txt: there is no such file"):
        dailydialog.read(tmp_path, expected=None)
