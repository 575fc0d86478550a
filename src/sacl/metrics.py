"""How good predictions are, the field's way: accuracy, weighted and macro F1, F1 by class, confusion."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures of one set of predictions, all in percent.

    Args:
        accuracy: share of utterances named rightly; equal to micro-F1.
        weighted_f1: F1 by class, averaged by support; the field's headline.
        macro_f1: F1 by class, averaged over the classes that occur in labels or predictions.
        f1: F1 by class, in label order; 0 for a class that is neither present nor predicted.
        support: utterances of each class.
    """

    accuracy: float
    weighted_f1: float
    macro_f1: float
    f1: tuple[float, ...]
    support: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)


def score(labels: np.ndarray, predictions: np.ndarray, classes: int) -> Scores:
    """Scores of predictions against labels.

    Args:
        labels: shape (utterances,), index of the emotion; every utterance is labelled.
        predictions: shape (utterances,).
        classes: how many emotions there are.

    Raises:
        ValueError: no utterances, different numbers of them, or an index that is no emotion's.

    >>> score(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).accuracy
    66.66666666666667
    """
    if not len(labels) or len(labels) != len(predictions):
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions: give as many of both, at least one")
    matrix = confusion(labels, predictions, classes)
    right, support, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    f1 = 100.0 * 2 * right / np.maximum(support + predicted, 1)
    present = support + predicted > 0
    return Scores(
        accuracy=100.0 * float(right.sum()) / len(labels),
        weighted_f1=float((f1 * support).sum()) / len(labels),
        macro_f1=float(f1[present].mean()),
        f1=tuple(float(x) for x in f1),
        support=tuple(int(n) for n in support),
    )


def confusion(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Shape (classes, classes): utterances by label (row) and prediction (column).

    Raises:
        ValueError: an index that is no emotion's; it would be counted as another's.
    """
    both = np.stack([labels, predictions]).astype(np.int64)
    if both.size and (both.min() < 0 or both.max() >= classes):
        raise ValueError(
            f"indices from {both.min()} to {both.max()}: give 0 to {classes - 1}, labelled utterances only"
        )
    return np.bincount(both[0] * classes + both[1], minlength=classes * classes).reshape(classes, classes)


def micro_f1(labels: np.ndarray, predictions: np.ndarray, without: Collection[int] = ()) -> float:
    """Micro-averaged F1 in percent, over all emotions but some: on DailyDialog the headline, without `no_emotion`.

    An utterance of an emotion left out still counts against the emotion that was predicted for it.

    Args:
        labels: shape (utterances,), index of the emotion; every utterance is labelled.
        predictions: shape (utterances,).
        without: the emotions that are left out; with none it equals accuracy.

    Returns:
        0 where no emotion that counts is present or predicted.

    >>> round(micro_f1(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1]), without=[0]), 2)
    40.0
    """
    if len(labels) != len(predictions):
        raise ValueError(f"{len(labels)} labels and {len(predictions)} predictions: give as many of both")
    present = ~np.isin(labels, list(without))
    predicted = ~np.isin(predictions, list(without))
    right = int((present & (labels == predictions)).sum())
    return 100.0 * 2 * right / max(int(present.sum()) + int(predicted.sum()), 1)
