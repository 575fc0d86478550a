"""How good predictions are, the field's way: accuracy, weighted and macro F1, F1 by class, confusion, confidence."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

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


class ReliabilityBin(NamedTuple):
    """Utterances of like confidence: how many, and in percent their mean confidence and how many are right."""

    utterances: int
    confidence: float
    accuracy: float


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> list[ReliabilityBin]:
    """The bins of a reliability diagram that hold an utterance, by rising confidence.

    Args:
        labels, probabilities, bins: see `expected_calibration_error`, also for what is raised.
    """
    confidence, right = _confidence(labels, probabilities)
    # The ends are left out: rounding may lift a confidence above 1.
    which = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence, side="left")
    held = []
    for b in np.unique(which):
        inside = which == b
        means = 100.0 * float(confidence[inside].mean()), 100.0 * float(right[inside].mean())
        held.append(ReliabilityBin(int(inside.sum()), *means))
    return held


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error in percent: |accuracy - confidence| by bin, averaged by the bins' utterances.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.

    Args:
        labels: shape (utterances,), index of the emotion; a negative label is left out.
        probabilities: shape (utterances, emotions); the highest is the confidence, its emotion the prediction.
        bins: of equal width between 0 and 1; a confidence on an edge lies in the lower one.

    Raises:
        ValueError: no labelled utterance, or unlike numbers of labels and probabilities.

    >>> round(expected_calibration_error(np.array([0, 1]), np.array([[0.8, 0.2], [0.8, 0.2]])), 2)
    30.0
    """
    held = reliability(labels, probabilities, bins)
    return sum(b.utterances * abs(b.accuracy - b.confidence) for b in held) / sum(b.utterances for b in held)


class Selective(NamedTuple):
    """What is left and how good it is where only utterances of a least confidence are answered.

    Args:
        threshold: shape (points,), the least confidence, falling: every confidence that occurs.
        coverage: shape (points,), share of the utterances that are answered, in percent; the last is 100.
        accuracy: shape (points,), share of these that are right, in percent; the last is plain accuracy.
    """

    threshold: np.ndarray
    coverage: np.ndarray
    accuracy: np.ndarray


def selective_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> Selective:
    """Accuracy against coverage, at every threshold that makes a difference.

    El-Yaniv and Wiener 2010, "On the Foundations of Noise-free Selective Classification"; the score that selects is the
    highest probability.

    Args:
        labels, probabilities: see `expected_calibration_error`, also for what is raised.

    >>> selective_accuracy(np.array([0, 0]), np.array([[0.9, 0.1], [0.4, 0.6]])).accuracy.tolist()
    [100.0, 50.0]
    """
    confidence, right = _confidence(labels, probabilities)
    order = np.argsort(-confidence)
    falling = confidence[order]
    # A threshold lets all utterances of a confidence pass, or none.
    last = np.flatnonzero(np.append(falling[1:] < falling[:-1], True))
    answered = last + 1
    hits = np.cumsum(right[order])[last]
    return Selective(falling[last], 100.0 * answered / len(right), 100.0 * hits / answered)


def _confidence(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the labelled utterances: the highest probability, and whether its emotion is the label."""
    if len(labels) != len(probabilities):
        raise ValueError(f"{len(labels)} labels and probabilities of {len(probabilities)}: give as many of both")
    known = labels >= 0
    if not known.any():
        raise ValueError("there is no labelled utterance: give at least one")
    kept = probabilities[known]
    return kept.max(axis=1).astype(np.float64), kept.argmax(axis=1) == labels[known]
