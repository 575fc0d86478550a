"""MELD: 1,432 conversations from the series Friends, seven emotions.

| | train | valid | test |
|---|---|---|---|
| conversations | 1,038 | 114 | 280 |
| utterances | 9,989 | 1,109 | 2,610 |
| neutral | 4,710 | 470 | 1,256 |
| surprise | 1,205 | 150 | 281 |
| fear | 268 | 40 | 50 |
| sadness | 683 | 111 | 208 |
| joy | 1,743 | 163 | 402 |
| disgust | 271 | 22 | 68 |
| anger | 1,109 | 153 | 345 |

Labels in index order: neutral surprise fear sadness joy disgust anger. With `labels="sentiment"`, from the release's
own column: neutral positive negative (train 4,710 2,334 2,945; valid 470 233 406; test 1,256 521 833). At most 9
speakers and 33 utterances a conversation. 88 conversations have a single utterance.

Citation: Poria, Hazarika, Majumder, Naik, Cambria, Mihalcea, "MELD: A Multimodal Multi-Party Dataset for Emotion
Recognition in Conversations", ACL 2019. Licence: GPL-3.0 for the release; the dialogue itself belongs to the makers
of the series.

Read from `train_sent_emo.csv`, `dev_sent_emo.csv` and `test_sent_emo.csv`. Conversations keep the files' order, by
Dialogue_ID, and are named by it; an utterance is named by its Utterance_ID. Ids start anew in every split.

Known defects:
- Test conversation 63 also stands in train (19): two utterances of the same words and labels, by other speakers.
- Test conversation 84 (three utterances) repeats words of train 12 under other labels. Three more pairs of training
  conversations share passages (39 and 518, 312 and 698, 376 and 725).
- Splits share episodes: 142 of the test split's 143 also stand in train. A conversation of the test set is new, its
  people and plot are not.
- Training ids run from 0 to 1038, and 60 is missing, hence "1,039 conversations" elsewhere.
- Utterance ids have gaps in 69 conversations, and ten training conversations start at 1: those turns were lost.
- Season, episode and times are not read: they name the wrong scene in places, and times go backwards in 31
  conversations.
- Copies differ in encoding: apostrophes, dashes and the like stand as Windows-1252 in some (as the C1 control
  characters U+0080-U+009F, in some 3,700 utterances), as Unicode in others. Both are read as Unicode, and give the
  same texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.datasets.reading import Counts, check_choice, check_counts, emotion, rows

LABELS = LabelSet(("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"))
SENTIMENTS = LabelSet(("neutral", "positive", "negative"))
Labels = Literal["emotion", "sentiment"]
FILES: Mapping[str, str] = {
    "train": "train_sent_emo.csv",
    "valid": "dev_sent_emo.csv",
    "test": "test_sent_emo.csv",
}
EXPECTED: Counts = {"train": (1038, 9989), "valid": (114, 1109), "test": (280, 2610)}

_COLUMNS = ("Utterance", "Speaker", "Dialogue_ID", "Utterance_ID")


def read(folder: Path, expected: Counts | None = EXPECTED, labels: Labels = "emotion") -> Corpus:
    """The released CSVs of a folder.

    Args:
        folder: holds the three files.
        expected: what the counts are checked against; None for a part of the data.
        labels: the seven emotions, or the three sentiments of the release's own column.

    Raises:
        DataError: a file that is missing or damaged, or other counts than expected.
    """
    check_choice("kind of labels", labels, get_args(Labels))
    names = LABELS if labels == "emotion" else SENTIMENTS
    splits = {split: _split(folder / file, labels.capitalize(), names) for split, file in FILES.items()}
    check_counts("meld", splits, expected)
    return Corpus("meld", names, splits)


def _split(path: Path, column: str, names: LabelSet) -> list[Conversation]:
    known = {name: name for name in names}
    turns: dict[str, list[Utterance]] = {}
    for n, row in rows(path, (*_COLUMNS, column)):
        label = emotion(row[column], known, path, n)
        turn = Utterance(row["Speaker"], row["Utterance"], label, row["Utterance_ID"])
        turns.setdefault(row["Dialogue_ID"], []).append(turn)
    return [Conversation(id, utterances) for id, utterances in turns.items()]
