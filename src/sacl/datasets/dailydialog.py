"""DailyDialog: 13,118 written everyday dialogues of two people, seven labels.

| | train | valid | test |
|---|---|---|---|
| conversations | 11,118 | 1,000 | 1,000 |
| utterances | 87,170 | 8,069 | 7,740 |

Labels in index order: no_emotion anger disgust fear happiness sadness surprise. Counts are as others published them:
the release itself was not at hand when this reader was written. Two speakers take turns; they are named A and B.

Most utterances (83 %) are `no_emotion`. Studies therefore report micro-F1 without it, on the other six: accuracy and
weighted F1 say little here.

Citation: Li, Su, Shen, Li, Cao, Niu, "DailyDialog: A Manually Labelled Multi-turn Dialogue Dataset", IJCNLP 2017.
Licence: CC BY-NC-SA 4.0. It is not downloaded for you.

Read from the folders `train`, `validation` and `test` of the release, in each `dialogues_train.txt` and
`dialogues_emotion_train.txt` (with the folder's name), or `dialogues_text.txt` and `dialogues_emotion.txt`. A dialogue
is a line, `__eou__` ends an utterance; the line of the same number holds the labels. A conversation is named by its
line.

Known defects:
- The splits share near-duplicates: some test dialogues stand, word for word or almost, in train.
- Labels are of the writer's topic as much as of the words; annotators agreed on 79 % of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.datasets.reading import Counts, check_counts, lines
from sacl.errors import DataError, place

LABELS = LabelSet(("no_emotion", "anger", "disgust", "fear", "happiness", "sadness", "surprise"))
FOLDERS: Mapping[str, str] = {"train": "train", "valid": "validation", "test": "test"}
FILES = tuple(f"{folder}/dialogues_{name}.txt" for folder in FOLDERS.values() for name in (folder, "text"))
EXPECTED: Counts = {"train": (11118, 87170), "valid": (1000, 8069), "test": (1000, 7740)}
END = "__eou__"


def read(folder: Path, expected: Counts | None = EXPECTED) -> Corpus:
    """The released text files of a folder.

    Args:
        folder: holds the folders train, validation and test.
        expected: what the counts are checked against; None for a part of the data.

    Raises:
        DataError: a file that is missing or damaged, or other counts than expected.
    """
    splits = {split: _split(folder / name, name) for split, name in FOLDERS.items()}
    check_counts("dailydialog", splits, expected)
    return Corpus("dailydialog", LABELS, splits)


def _split(folder: Path, name: str) -> list[Conversation]:
    short = (folder / "dialogues_text.txt").exists()
    texts = folder / ("dialogues_text.txt" if short else f"dialogues_{name}.txt")
    labels = folder / ("dialogues_emotion.txt" if short else f"dialogues_emotion_{name}.txt")
    conversations = []
    for said, felt in zip_longest(_filled(texts), _filled(labels)):
        if said is None or felt is None:
            raise DataError(
                f"it has fewer lines than {(labels if said is None else texts).name}",
                where=str(texts if said is None else labels),
                remedy="Get the released files again",
            )
        (n, line), (m, codes) = said, felt
        turns = [turn.strip() for turn in line.strip().removesuffix(END).split(END)]
        emotions = [_label(code, place(file=labels, line=m)) for code in codes.split()]
        if len(turns) != len(emotions):
            raise DataError(
                f"it has {len(turns)} utterances, and line {m} of {labels.name} {len(emotions)} labels",
                where=place(file=texts, line=n),
                remedy="Use the release's files by split; its single file of all dialogues has such lines",
            )
        pairs = zip(turns, emotions, strict=True)
        conversations.append(
            Conversation(str(n), [Utterance("AB"[i % 2], text, emotion) for i, (text, emotion) in enumerate(pairs)])
        )
    return conversations


def _filled(path: Path) -> list[tuple[int, str]]:
    return [(n, line) for n, line in lines(path) if line.strip()]


def _label(code: str, where: str) -> str:
    if not (code.isascii() and code.isdigit() and len(code) == 1) or int(code) >= len(LABELS):
        raise DataError(f"its label is {code!r:.40}", where=where, remedy=f"Expected 0 to {len(LABELS) - 1}")
    return LABELS.names[int(code)]
