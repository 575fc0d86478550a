"""Where a model errs: confused pairs, length and position, emotion shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sacl.metrics import Scores, confusion, score

BINS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, None))
"""Of conversation lengths and of positions in a conversation, both from 1: first and last of each bin."""


@dataclass(frozen=True, slots=True)
class ConfusedPair:
    """A label, and another emotion that was predicted in its place.

    Args:
        label, prediction: indices of emotions.
        count: how often.
        share: of the label's utterances, in percent.
        examples: positions of such utterances.
    """

    label: int
    prediction: int
    count: int
    share: float
    examples: tuple[int, ...]


class Group(NamedTuple):
    """Scores of some of the utterances."""

    name: str
    utterances: int
    scores: Scores


def confused_pairs(
    labels: np.ndarray, probabilities: np.ndarray, *, most: int = 10, examples: int = 3
) -> list[ConfusedPair]:
    """The pairs most often confused, the most frequent first; equal counts in order of the labels.

    Args:
        labels: shape (utterances,); a negative label is left out.
        probabilities: shape (utterances, emotions), or their logarithms; the highest is the prediction.
        most: pairs at most.
        examples: positions a pair at most, those predicted with most certainty first.
    """
    known = labels >= 0
    predictions = probabilities.argmax(axis=1)
    matrix = confusion(labels[known], predictions[known], probabilities.shape[1])
    support = matrix.sum(axis=1)
    wrong = matrix - np.diag(matrix.diagonal())
    pairs = []
    for cell in np.argsort(-wrong.ravel(), kind="stable")[:most]:
        label, prediction = (int(i) for i in np.unravel_index(cell, wrong.shape))
        count = int(wrong[label, prediction])
        if count:
            where = np.flatnonzero((labels == label) & (predictions == prediction))
            surest = where[np.argsort(-probabilities[where, prediction], kind="stable")][:examples]
            share = 100.0 * count / int(support[label])
            pairs.append(ConfusedPair(label, prediction, count, share, tuple(int(i) for i in surest)))
    return pairs


def by_length(labels: np.ndarray, predictions: np.ndarray, classes: int, lengths: Sequence[int]) -> list[Group]:
    """Scores by the length of the conversation, in the bins `BINS`.

    Args:
        labels, predictions: shape (utterances,), conversation after conversation; a negative label is left out.
        classes: how many emotions there are.
        lengths: utterances of each conversation.
    """
    _check(labels, lengths)
    return _binned(labels, predictions, classes, np.repeat(lengths, lengths))


def by_position(labels: np.ndarray, predictions: np.ndarray, classes: int, lengths: Sequence[int]) -> list[Group]:
    """Scores by the position in the conversation, from 1, in the bins `BINS`; see `by_length`."""
    _check(labels, lengths)
    return _binned(labels, predictions, classes, np.concatenate([np.arange(1, n + 1) for n in lengths]))


def by_shift(
    labels: np.ndarray, predictions: np.ndarray, classes: int, lengths: Sequence[int], speakers: Sequence[object]
) -> list[Group]:
    """Scores with and without emotion shift, and of utterances before which the speaker has no label.

    An utterance is a shift where its label is another than the last that the same speaker has in the conversation;
    utterances without a label are passed over.

    Args:
        labels, predictions, classes, lengths: see `by_length`.
        speakers: one an utterance, meaningful within the conversation.
    """
    _check(labels, lengths)
    if len(speakers) != len(labels):
        raise ValueError(f"{len(speakers)} speakers and {len(labels)} labels: give one of each for every utterance")
    conversation = np.repeat(np.arange(len(lengths)), lengths).tolist()
    last: dict[tuple[int, object], int] = {}
    kinds = np.empty(len(labels), dtype=np.int64)
    for i, (key, label) in enumerate(zip(zip(conversation, speakers, strict=True), labels.tolist(), strict=True)):
        kinds[i] = 2 if key not in last else int(last[key] == label)
        if label >= 0:
            last[key] = label
    names = ("shift", "no shift", "speaker's first")
    return _groups(labels, predictions, classes, [(name, kinds == kind) for kind, name in enumerate(names)])


def _binned(labels: np.ndarray, predictions: np.ndarray, classes: int, values: np.ndarray) -> list[Group]:
    masks = []
    for first, last in BINS:
        name = f"{first}" if first == last else f"{first} and more" if last is None else f"{first}-{last}"
        masks.append((name, (values >= first) & (values <= (last or np.inf))))
    return _groups(labels, predictions, classes, masks)


def _groups(
    labels: np.ndarray, predictions: np.ndarray, classes: int, masks: Sequence[tuple[str, np.ndarray]]
) -> list[Group]:
    """Groups without a labelled utterance are left out."""
    groups = []
    for name, mask in masks:
        inside = mask & (labels >= 0)
        if inside.any():
            groups.append(Group(name, int(inside.sum()), score(labels[inside], predictions[inside], classes)))
    return groups


def _check(labels: np.ndarray, lengths: Sequence[int]) -> None:
    if sum(lengths) != len(labels):
        raise ValueError(
            f"the lengths add up to {sum(lengths)}, and there are {len(labels)} labels: give every utterance"
        )
