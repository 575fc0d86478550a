"""Whether one system is better than another: over seeds, and over test conversations.

A seed is one training run, a conversation one draw of the data: the paired t test asks whether another training run
would turn the order round, the bootstrap whether another test split would. Wilcoxon's signed-rank test is not offered:
with five seeds its least two-sided p is 2/32 = .0625, so it cannot reach .05 there, whatever the systems.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Measure = Literal["accuracy", "weighted_f1", "macro_f1"]
MEASURES: tuple[Measure, ...] = ("accuracy", "weighted_f1", "macro_f1")
# Confusion counts of this many resamples are held at once; it bounds memory and changes no figure.
_CHUNK = 500


class Interval(NamedTuple):
    """A figure in percent, and the bounds of its interval."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """First system minus second, in points; the bounds of its interval; the two-sided p of no difference."""

    difference: float
    low: float
    high: float
    p: float


def paired_t(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Paired t test over seeds.

    Args:
        a: a figure of the first system, one a seed.
        b: of the second, the same seeds in the same order.

    Returns:
        Mean of a - b, and the two-sided p; 1 where the systems agree on every seed.

    Raises:
        ValueError: different numbers of seeds, or fewer than two.

    >>> difference, p = paired_t([57.1, 56.8, 57.3], [56.0, 56.1, 56.0])
    >>> round(difference, 2), round(p, 3)
    (1.03, 0.028)
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"{len(a)} and {len(b)} seeds: give the same seeds of both, at least two")
    from scipy.stats import ttest_rel

    difference = math.fsum(x - y for x, y in zip(a, b, strict=True)) / len(a)
    with warnings.catch_warnings():
        # Differences that are all (nearly) one: t is infinite or not defined, and SciPy says so as a warning.
        warnings.simplefilter("ignore", RuntimeWarning)
        p = float(ttest_rel(a, b).pvalue)
    return difference, 1.0 if math.isnan(p) else p


def bootstrap_interval(
    labels: np.ndarray,
    predictions: np.ndarray,
    conversations: np.ndarray,
    classes: int,
    *,
    generator: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
) -> dict[str, Interval]:
    """Percentile intervals of one system's figures, by resampling whole test conversations.

    The figure is the mean over seeds, every seed on the same resample. The interval tells how much depends on these
    test conversations; it does not hold the spread over seeds. (Efron and Tibshirani 1993, chapter 13.)

    Args:
        labels: shape (utterances,); a negative label is context only, and left out.
        predictions: shape (utterances,) or (seeds, utterances).
        conversations: shape (utterances,), a number or id of the conversation that each belongs to.
        classes: how many emotions there are.
        generator: draws the resamples.
        resamples: how many.
        level: share of the resamples within the interval.

    Returns:
        `accuracy`, `weighted_f1` and `macro_f1`.

    Raises:
        ValueError: no labelled utterance, different numbers of utterances, or an index that is no emotion's.
    """
    counts = _by_conversation(labels, predictions, conversations, classes)
    values = _figures(counts.sum(axis=0))
    drawn = _resampled(counts, _draws(len(counts), resamples, generator))
    return {name: Interval(float(values[name].mean()), *_percentiles(drawn[name], level)) for name in MEASURES}


def bootstrap_difference(
    labels: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    conversations: np.ndarray,
    classes: int,
    *,
    generator: np.random.Generator,
    measure: Measure = "weighted_f1",
    resamples: int = 2000,
    level: float = 0.95,
) -> Difference:
    """Paired bootstrap over test conversations of the difference between two systems.

    Both systems, all their seeds included, are scored on the same resamples; a system's figure is its mean over seeds.
    p is twice the share of resamples on the rarer side of zero, those of no difference counted on both sides and one
    added to count and number, so that it is never 0.

    Args:
        labels, conversations, classes, generator, resamples, level: see `bootstrap_interval`.
        a: predictions of the first system, shape (utterances,) or (seeds, utterances).
        b: of the second, on the same utterances; its number of seeds may differ.
        measure: which figure.

    Raises:
        ValueError: see `bootstrap_interval`.
    """
    first, second = (_by_conversation(labels, predictions, conversations, classes) for predictions in (a, b))
    draws = _draws(len(first), resamples, generator)
    drawn = _resampled(first, draws)[measure] - _resampled(second, draws)[measure]
    # Rounding must not put equal systems on one side of zero.
    drawn[np.abs(drawn) < 1e-9] = 0.0
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    difference = _figures(first.sum(axis=0))[measure].mean() - _figures(second.sum(axis=0))[measure].mean()
    p = min(1.0, 2 * (rarer + 1) / (resamples + 1))
    return Difference(float(difference), *_percentiles(drawn, level), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number, in the order given (Holm 1979): below .05 still means what it says.

    >>> [round(p, 3) for p in holm([0.03, 0.01, 0.04])]
    [0.06, 0.03, 0.06]
    """
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, (len(p_values) - rank) * p_values[i])
        corrected[i] = min(1.0, highest)
    return corrected


def _by_conversation(
    labels: np.ndarray, predictions: np.ndarray, conversations: np.ndarray, classes: int
) -> np.ndarray:
    """Confusion counts, shape (conversations, seeds, classes, classes); only conversations with a label."""
    predictions = np.atleast_2d(predictions)
    if not len(labels) == predictions.shape[1] == len(conversations):
        raise ValueError(
            f"{len(labels)} labels, {predictions.shape[1]} predictions and {len(conversations)} conversation ids: "
            "give one of each for every utterance"
        )
    known = np.asarray(labels) >= 0
    if not known.any():
        raise ValueError("there is no labelled utterance: give at least one")
    named = np.stack([labels[known], *predictions[:, known]])
    if named.min() < 0 or named.max() >= classes:
        raise ValueError(f"indices from {named.min()} to {named.max()}: give emotions from 0 to {classes - 1}")
    _, conversation = np.unique(conversations[known], return_inverse=True)
    cells = labels[known] * classes + predictions[:, known]
    seeds, size = len(predictions), classes * classes
    flat = (conversation.reshape(-1) * seeds + np.arange(seeds)[:, None]) * size + cells
    count = int(conversation.max()) + 1
    return np.bincount(flat.ravel(), minlength=count * seeds * size).reshape(count, seeds, classes, classes)


def _figures(counts: np.ndarray) -> dict[Measure, np.ndarray]:
    """`sacl.metrics.score` on many confusion matrices at once: (..., classes, classes) -> (...), in percent."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    support, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    utterances = support.sum(axis=-1)
    f1 = 100.0 * 2 * right / np.maximum(support + predicted, 1)
    return {
        "accuracy": 100.0 * right.sum(axis=-1) / utterances,
        "weighted_f1": (f1 * support).sum(axis=-1) / utterances,
        "macro_f1": f1.sum(axis=-1) / (support + predicted > 0).sum(axis=-1),
    }


def _draws(conversations: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """How often each conversation is drawn in each resample, shape (resamples, conversations)."""
    return generator.multinomial(conversations, np.full(conversations, 1 / conversations), size=resamples)


def _resampled(counts: np.ndarray, draws: np.ndarray) -> dict[Measure, np.ndarray]:
    """Figures of every resample, mean over seeds: shape (resamples,) each. A resample's counts are a weighted sum."""
    # In floating point the product runs in BLAS; counts stay exact up to 2^53.
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    parts = [
        _figures((draws[i : i + _CHUNK] @ flat).reshape(-1, *counts.shape[1:])) for i in range(0, len(draws), _CHUNK)
    ]
    return {name: np.concatenate([part[name].mean(axis=-1) for part in parts]) for name in MEASURES}


def _percentiles(drawn: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
