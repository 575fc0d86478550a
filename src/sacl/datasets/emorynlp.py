"""EmoryNLP: 827 scenes of the series Friends, seven emotions.

| | train | valid | test |
|---|---|---|---|
| conversations | 659 | 89 | 79 |
| utterances | 7,551 | 954 | 984 |
| joyful | 1,677 | 205 | 217 |
| mad | 785 | 97 | 86 |
| peaceful | 638 | 82 | 111 |
| neutral | 2,485 | 322 | 288 |
| sad | 474 | 51 | 70 |
| powerful | 551 | 70 | 96 |
| scared | 941 | 127 | 116 |

Labels in index order: joyful mad peaceful neutral sad powerful scared. With `labels="sentiment"`: negative (mad sad
scared) neutral positive (joyful peaceful powerful), the grouping and the order of the COSMIC study. At most 9 speakers
and 25 utterances a conversation. 12 conversations have a single utterance.

Citation: Zahiri, Choi, "Emotion Detection on TV Show Transcripts with Sequence-based Convolutional Neural Networks",
AAAI workshop on affective content analysis, 2018. Licence: Apache-2.0 for the annotation; the dialogue itself belongs
to the makers of the series.

Read from `emorynlp_train_final.csv`, `emorynlp_dev_final.csv` and `emorynlp_test_final.csv`, the smaller release that
the published rows use (the official JSON has 713, 99 and 85 conversations). A conversation is one scene, named
Season_Episode_Scene as in the feature files in circulation; within a split they are sorted by that name as text, the
released code's order. An utterance is named by its Utterance_ID.

Known defects:
- 61 utterances name two to four speakers. As in the pickles in circulation, from which the published rows come, the
  first name of the list, which is in alphabetical order, speaks. `joint="own"` makes each distinct list a speaker of
  its own; that changes who speaks in 43 conversations.
- Validation episode 4-21 retells old scenes: its scenes 7, 8 and 9 share passages with training scenes 1-5-15, 2-7-11
  and 3-15-7. Otherwise no episode stands in two splits.
- Utterance ids have gaps in 661 conversations, and most start at 2: unlabelled lines of the transcript were left out
  of the release, so the context is not whole.
- Times are not read. Texts are plain ASCII.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.datasets.reading import Counts, check_choice, check_counts, emotion, rows
from sacl.errors import DataError, place

LABELS = LabelSet(("joyful", "mad", "peaceful", "neutral", "sad", "powerful", "scared"))
SENTIMENTS = LabelSet(("negative", "neutral", "positive"))
SENTIMENT: Mapping[str, str] = {
    **dict.fromkeys(("mad", "sad", "scared"), "negative"),
    "neutral": "neutral",
    **dict.fromkeys(("joyful", "peaceful", "powerful"), "positive"),
}
FILES: Mapping[str, str] = {
    "train": "emorynlp_train_final.csv",
    "valid": "emorynlp_dev_final.csv",
    "test": "emorynlp_test_final.csv",
}
Joint = Literal["first", "own"]
Labels = Literal["emotion", "sentiment"]
EXPECTED: Counts = {"train": (659, 7551), "valid": (89, 954), "test": (79, 984)}

_COLUMNS = ("Utterance", "Speaker", "Emotion", "Scene_ID", "Utterance_ID", "Season", "Episode")


def read(
    folder: Path, joint: Joint = "first", expected: Counts | None = EXPECTED, labels: Labels = "emotion"
) -> Corpus:
    """The released CSVs of a folder.

    Args:
        folder: holds the three files.
        joint: who speaks an utterance of several speakers: the first of them, or a speaker of its own (`Ann & Bo`).
        expected: what the counts are checked against; None for a part of the data.
        labels: the seven emotions, or three sentiments, grouped as in the card.

    Raises:
        DataError: a file that is missing or damaged, or other counts than expected.
    """
    if joint not in get_args(Joint):
        raise DataError(
            f"unknown way {joint!r} to read joint speech", remedy=f"Use one of: {', '.join(get_args(Joint))}"
        )
    check_choice("kind of labels", labels, get_args(Labels))
    names = LABELS if labels == "emotion" else SENTIMENTS
    known = {name: name if labels == "emotion" else SENTIMENT[name] for name in LABELS}
    splits = {split: _split(folder / file, joint, known) for split, file in FILES.items()}
    check_counts("emorynlp", splits, expected)
    return Corpus("emorynlp", names, splits)


def _split(path: Path, joint: Joint, known: Mapping[str, str]) -> list[Conversation]:
    turns: dict[str, list[Utterance]] = {}
    for n, row in rows(path, _COLUMNS):
        names = _speakers(row["Speaker"], path, n)
        speaker = names[0] if joint == "first" else " & ".join(names)
        label = emotion(row["Emotion"], known, path, n)
        scene = "_".join((row["Season"], row["Episode"], row["Scene_ID"]))
        turns.setdefault(scene, []).append(Utterance(speaker, row["Utterance"], label, row["Utterance_ID"]))
    return [Conversation(id, turns[id]) for id in sorted(turns)]


def _speakers(text: str, path: Path, line: int) -> list[str]:
    """The names in a Python list written as text."""
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"its speaker {text!r:.60} is not a list of names",
            where=place(file=path, line=line),
            remedy="Get the released files again",
        )
    return names
