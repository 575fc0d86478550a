"""The sample corpus: 240 short everyday conversations that come with the package, every line of them invented for it.

| | train | valid | test |
|---|---|---|---|
| conversations | 150 | 30 | 60 |
| utterances | 1,185 | 242 | 468 |
| neutral | 336 | 61 | 149 |
| surprise | 145 | 24 | 49 |
| fear | 142 | 30 | 60 |
| sadness | 134 | 36 | 54 |
| joy | 164 | 32 | 54 |
| disgust | 130 | 34 | 48 |
| anger | 134 | 25 | 54 |

Labels in index order: neutral surprise fear sadness joy disgust anger (MELD's). Two to four speakers a conversation,
six to ten turns. Licence: CC0 1.0, no rights reserved.

How it was made: written line by line for this package by a language model, conversation by conversation, without
templates. The brief asked for natural spoken English about everyday situations in which about half of the turns can be
named only by one who has read the rest ("It's still in the kitchen."), for the same short lines to come back under
different emotions, and for no word that gives an emotion away. Each turn's label was given by its writer; a second
reading mended what a stranger might dispute. No other person has annotated it, so there is no measure of agreement.
Conversations were divided over the splits by a fixed draw, stratified by the emotion that leads them.

Known defects: its conversations are more alike, and its emotions more frequent and steadier, than people's are. It is
there to try things on and to test with. What a model scores here says nothing about real conversations.
"""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

from sacl.conversation import Corpus, LabelSet
from sacl.datasets.reading import Counts, check_counts
from sacl.errors import DataError
from sacl.formats import read_conversations

LABELS = LabelSet(("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"))
EXPECTED: Counts | None = {"train": (150, 1185), "valid": (30, 242), "test": (60, 468)}


def read(folder: Path | None = None, expected: Counts | None = EXPECTED) -> Corpus:
    """The packaged corpus; `folder` is taken, as by every reader, and not needed.

    Raises:
        DataError: the package is damaged.
    """
    packaged = folder or files("sacl.datasets") / "sample"
    splits = {}
    for split in ("train", "valid", "test"):
        try:
            text = (packaged / f"{split}.jsonl").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            found = f"the sample corpus lacks its {split} split ({getattr(error, 'strerror', 'it is damaged')})"
            raise DataError(found, remedy="Install the package again") from None
        splits[split] = list(read_conversations(io.StringIO(text), format="jsonl"))
    check_counts("sample", splits, expected)
    return Corpus("sample", LABELS, splits)
