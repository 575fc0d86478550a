"""The pickles in circulation: speakers, labels, texts and vectors of a whole data set in one file.

A file's layout is told by what it holds, never by its name; each is a list or tuple of dicts keyed by conversation,
then lists of conversation ids. Note the order: test stands before valid.

| layout | dicts | lists |
|---|---|---|
| texts | speakers, emotions, sentences | train, test, valid |
| texts, MELD | speakers, emotions, sentiments, sentences | train, test, valid |
| features | speakers, emotions, four layers of vectors (the last layer first), sentences | train, test, valid |
| features, MELD | speakers, emotions, sentiments, four layers, sentences | train, test, valid |
| multimodal | utterance ids, speakers, labels, text, audio, visual, sentences | train, test, perhaps valid |

Which data set it is can be told where speakers are M and F (IEMOCAP; IEMOCAP-4 if no label exceeds 3 in a multimodal
file), where there are sentiments (MELD), where labels are not whole (CMU-MOSEI), where scenes have names such as
1_2_3 (EmoryNLP) and where speakers are '0' and '1' (DailyDialog). Anything else has to be named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
from sacl.datasets import dailydialog, emorynlp, iemocap, meld, mosei
from sacl.datasets.layouts import LAYERS, MODALITIES, recognised, split_ids, told
from sacl.datasets.plain_names import Budget, Refused
from sacl.datasets.reading import check_choice, repaired
from sacl.datasets.unpickler import read_pickle
from sacl.errors import DataError, place

Labels = Literal["emotion", "sentiment"]
LABELS: Mapping[tuple[str, str], LabelSet] = {
    ("meld", "emotion"): meld.LABELS,
    ("meld", "sentiment"): meld.SENTIMENTS,
    ("emorynlp", "emotion"): emorynlp.LABELS,
    ("emorynlp", "sentiment"): emorynlp.SENTIMENTS,
    ("iemocap", "emotion"): iemocap.LABELS,
    ("iemocap-4", "emotion"): iemocap.FOUR,
    ("dailydialog", "emotion"): dailydialog.LABELS,
    ("mosei", "emotion"): mosei.LABELS,
}
"""Data set and kind of label -> the labels, in index order."""
_MOST_SPEAKERS = 1000


class Released(NamedTuple):
    """What a pickle holds.

    Args:
        corpus: conversations with train, valid and test.
        vectors: modality -> (utterances, width), float32, rows in the corpus's order; none in a file of texts.
        source: layout, and how valid came about; plain JSON values.
    """

    corpus: Corpus
    vectors: dict[str, np.ndarray]
    source: dict[str, Any]


def read_released(path: Path, dataset: str | None = None, *, labels: Labels = "emotion", layer: int = 1) -> Released:
    """A pickle in circulation, read by an unpickler that can run nothing.

    Args:
        path: the file.
        dataset: `meld`, `emorynlp`, `iemocap`, `iemocap-4`, `dailydialog` or `mosei`; by default as far as it can be
            told. `iemocap-4` from a file of six classes drops the utterances labelled excited or frustrated.
        labels: `sentiment` gives MELD's and EmoryNLP's three classes.
        layer: 1 to 4, of a file of features; 1 is the encoder's last layer.

    Raises:
        DataError: not such a pickle, parts that do not fit together, or an option that it cannot serve.
    """
    where = str(path)
    if layer not in range(1, 5):
        raise DataError(f"there is no layer {layer}", where=where, remedy="Use 1, the last one, to 4")
    check_choice("kind of labels", labels, get_args(Labels))
    content = read_pickle(path)
    layout, fields = recognised(content, where)
    dataset = dataset or told(layout, fields, where)
    if (dataset, labels) not in LABELS:
        known = ", ".join(name for name, kind in LABELS if kind == labels)
        raise DataError(f"{dataset!r} with {labels} labels is not known", where=where, remedy=f"Use one of: {known}")
    names = {"features": {"text": LAYERS[layer - 1]}, "multimodal": dict(zip(MODALITIES, MODALITIES, strict=True))}
    reader = _Reader(dataset, labels, fields, names.get(layout, {}), Budget(path.stat().st_size), where)
    splits, validation = split_ids(fields, dataset == "emorynlp", where)
    try:
        corpus, vectors = reader.corpus(splits)
    except Refused as refusal:
        raise DataError(str(refusal), where=where, remedy="Get the file from its authors") from None
    source = {"layout": layout, "validation": validation, **({"layer": layer} if layout == "features" else {})}
    if dataset == "iemocap-4":
        corpus, vectors = _four_classes(corpus, vectors)
    return Released(corpus, vectors, source)


def _four_classes(corpus: Corpus, vectors: Mapping[str, np.ndarray]) -> tuple[Corpus, dict[str, np.ndarray]]:
    """IEMOCAP-4 from IEMOCAP, with the vectors of what is kept. A file of four classes loses nothing."""
    kept = np.array([u.emotion in iemocap.FOUR.names for u in corpus.utterances()])
    four = iemocap.four_classes(corpus)
    if len(kept) == sum(utterances for _, utterances in iemocap.PICKLED.values()):
        iemocap.check_four_pickled(four)
    return four, {name: array[kept] for name, array in vectors.items()}


@dataclass(frozen=True, slots=True)
class _Reader:
    """From the parts of a file to conversations and rows of vectors."""

    dataset: str
    labels: Labels
    fields: Mapping[str, Any]
    modalities: Mapping[str, str]
    budget: Budget
    where: str

    def corpus(self, splits: Mapping[str, Sequence[Any]]) -> tuple[Corpus, dict[str, np.ndarray]]:
        """Every conversation of the splits, and its vectors."""
        rows: dict[str, list[np.ndarray]] = {name: [] for name in self.modalities}
        read: dict[str, list[Conversation]] = {split: [] for split in splits}
        for split, ids in splits.items():
            for id in ids:
                here = place(file=self.where, conversation=id)
                read[split].append(Conversation(str(id), list(self._turns(id, here))))
                for name, part in self.modalities.items():
                    rows[name].append(self._matrix(id, part, len(read[split][-1]), f"{here}, {part}"))
        for name, matrices in rows.items():
            widths = {matrix.shape[1] for matrix in matrices}
            if len(widths) > 1:
                raise DataError(
                    f"its vectors are {min(widths)} to {max(widths)} wide",
                    where=f"{self.where}, {self.modalities[name]}",
                    remedy="Get the file again",
                )
        # Whether a file of IEMOCAP-4 has four classes or all six is seen when its utterances are dropped.
        names = iemocap.LABELS if self.dataset == "iemocap-4" else LABELS[self.dataset, self.labels]
        return Corpus(self.dataset, names, read), {name: np.concatenate(matrices) for name, matrices in rows.items()}

    def _part(self, id: Any, name: str, here: str) -> list[Any]:
        """What a dict holds of a conversation, one entry an utterance."""
        found = self.fields[name].get(id)
        if type(found) is np.ndarray:
            found = found.ravel() if name in ("emotion", "sentiment") else found
            self.budget.spend(found.size)
            found = found.tolist()
        if type(found) not in (list, tuple):
            raise DataError(f"it has no {name}", where=here, remedy="Get the file again")
        return list(found)

    def _turns(self, id: Any, here: str) -> Iterator[Utterance]:
        """Its utterances."""
        texts = self._part(id, "sentences", here)
        labels = self._part(id, self.labels if self.labels in self.fields else "emotion", here)
        speakers = self._part(id, "speakers", here)
        ids = self._part(id, "ids", here) if "ids" in self.fields else [""] * len(texts)
        for name, part in (("labels", labels), ("speakers", speakers), ("ids", ids)):
            if len(part) != len(texts):
                raise DataError(
                    f"it has {len(texts)} sentences and {len(part)} {name}", where=here, remedy="Get the file again"
                )
        self.budget.spend(8 * len(texts))
        for i, (text, label, speaker, name) in enumerate(zip(texts, labels, speakers, ids, strict=True)):
            there = f"{here}, utterance {i}"
            if type(text) is not str or type(name) not in (str, int):
                found = f"its text is of type {type(text).__name__}" if type(text) is not str else "its id is no text"
                raise DataError(found, where=there, remedy="Get the file again")
            self.budget.spend(len(text))
            yield Utterance(self._speaker(speaker, there), repaired(text), self._label(label, there), str(name))

    def _speaker(self, found: Any, here: str) -> str:
        """A name, or `speaker` and its number."""
        if self.dataset == "mosei":
            return "speaker 0"
        if type(found) is np.ndarray and found.ndim == 1:
            found = found[: _MOST_SPEAKERS + 1].tolist()
        if type(found) is str and found.strip():
            return found
        if type(found) is int:
            return f"speaker {found}"
        if type(found) in (list, tuple) and len(found) <= _MOST_SPEAKERS:
            ones = [i for i, x in enumerate(found) if type(x) in (int, float) and x == 1]
            if len(ones) == 1 and all(type(x) in (int, float) and x in (0, 1) for x in found):
                return f"speaker {ones[0]}"
        raise DataError("its speaker is neither a name nor one of several", where=here, remedy="Get the file again")

    def _label(self, found: Any, here: str) -> str:
        """The label's name."""
        if self.dataset == "mosei" and type(found) is float:
            return mosei.sentiment_class(found, here)
        kind = self.labels if "sentiment" in self.fields else "emotion"
        names = iemocap.LABELS if self.dataset == "iemocap-4" else LABELS[self.dataset, kind]
        if type(found) not in (int, float) or found not in range(len(names)):
            shown = found if type(found) in (int, float) else f"of type {type(found).__name__}"
            raise DataError(
                f"its label is {shown}", where=here, remedy=f"Expected 0 to {len(names) - 1}, for {', '.join(names)}"
            )
        name = names.names[int(found)]
        return emorynlp.SENTIMENT[name] if (self.dataset, self.labels) == ("emorynlp", "sentiment") else name

    def _matrix(self, id: Any, part: str, utterances: int, here: str) -> np.ndarray:
        """Its vectors, (utterances, width)."""
        found = self.fields[part].get(id)
        matrix: np.ndarray | None = None
        if type(found) is np.ndarray and found.ndim == 2:
            self.budget.spend(found.size)
            matrix = _numbers(found)
        elif type(found) in (list, tuple) and found:
            rows = [self._row(row) for row in found]
            if len({len(row) for row in rows}) == 1:
                matrix = np.stack(rows)
        if matrix is None or len(matrix) != utterances or not matrix.shape[1]:
            size = "of unequal width or no numbers" if matrix is None else f"of the shape {matrix.shape}"
            raise DataError(
                f"its vectors are {size}, and it has {utterances} utterances", where=here, remedy="Get the file again"
            )
        return matrix

    def _row(self, row: Any) -> np.ndarray:
        if type(row) is np.ndarray:
            self.budget.spend(row.size)
            return _numbers(row.ravel())
        if type(row) in (list, tuple):
            self.budget.spend(len(row))
            if all(type(x) in (int, float) for x in row):
                return _numbers(np.array(row, dtype=np.float64))
        return np.empty(0, dtype=np.float32)


def _numbers(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such where it is kept
        return array.astype(np.float32)
