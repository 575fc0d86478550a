"""CMU-MOSEI: videos of people who give their opinion, each utterance with a sentiment; seven classes.

| as published | train | valid | test |
|---|---|---|---|
| conversations (videos) | 2,249 | 300 | 676 |
| utterances | 16,327 | 1,871 | 4,662 |

Labels in index order: strongly negative, negative, weakly negative, neutral, weakly positive, positive,
strongly positive. A sentiment s in [-3, 3] belongs to [-3,-2) [-2,-1) [-1,0) {0} (0,1] (1,2] (2,3]; see
`sentiment_class`.

Citation: Bagher Zadeh, Liang, Poria, Cambria, Morency, "Multimodal Language Analysis in the Wild: CMU-MOSEI Dataset and
Interpretable Dynamic Fusion Graph", ACL 2018. It is not downloaded for you.

Read from what `sacl data import PICKLE --as mosei --out DIR` made of a multimodal pickle. Labels in it that are floats
are sentiments and fall under the rule above; whole numbers of type int are class indices, 0 to 6.
A corpus of your own, as JSONL with vectors or texts, needs no import: write these seven names into `labels.txt` and
each utterance's class, from `sentiment_class`, as its emotion, and train with `--set data.name=FOLDER`.

A video has one speaker, so the speaker LSTM reads the same as the context LSTM, or nothing where a video has a single
utterance.

Known defects:
- The published row of this project was scored on some 4,184 test utterances; which ones is not known. What a file holds
  is counted, and compared with nothing: no figure here claims to match that row.
- Where a file lists no validation videos, a tenth of the training videos is drawn, with a fixed seed; the import says
  so.
- Most sentiments are mild: two of the seven classes hold most utterances, and accuracy says little.
"""

from __future__ import annotations

import math
from pathlib import Path

from sacl.conversation import Corpus, LabelSet
from sacl.datasets.imported import IMPORTED, read_imported
from sacl.datasets.reading import Counts, check_counts
from sacl.errors import DataError

LABELS = LabelSet(
    (
        "strongly negative",
        "negative",
        "weakly negative",
        "neutral",
        "weakly positive",
        "positive",
        "strongly positive",
    )
)
FILES = (IMPORTED,)
EXPECTED: Counts | None = None


def sentiment_class(sentiment: float, where: str = "") -> str:
    """The class of a sentiment in [-3, 3]. `where` goes into the DataError that any other number raises.

    >>> sentiment_class(-1.0), sentiment_class(0.0), sentiment_class(1.0)
    ('weakly negative', 'neutral', 'weakly positive')
    """
    if not -3 <= sentiment <= 3:
        raise DataError(f"its sentiment is {sentiment}", where=where, remedy="Expected a number from -3 to 3")
    if sentiment < 0:  # closed on the left: -2 is negative, -1 weakly negative
        return LABELS.names[0 if sentiment < -2 else 1 if sentiment < -1 else 2]
    return LABELS.names[3 + math.ceil(sentiment)]


def read(folder: Path, expected: Counts | None = EXPECTED) -> Corpus:
    """What `sacl data import --as mosei` wrote.

    Raises:
        DataError: a file that is missing or damaged, or other counts than expected.
    """
    corpus = read_imported(folder, "mosei")
    check_counts("mosei", corpus.splits, expected)
    return corpus
