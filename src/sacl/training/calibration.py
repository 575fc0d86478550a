"""Confidences that mean what they say: one temperature for all scores, fitted on validation (Guo et al. 2017)."""

from __future__ import annotations

import math

import numpy as np

from sacl.metrics import expected_calibration_error

COLDEST, HOTTEST = 0.1, 10.0
"""Temperatures are looked for between these."""

BOUNDS = math.log(COLDEST), math.log(HOTTEST)


def tempered(log_probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """log-softmax(log p / T): flatter above 1, sharper below; what is most probable stays so.

    Args:
        log_probabilities: shape (..., emotions), finite.
        temperature: positive.

    Returns:
        Double precision, of the same shape. In single precision two emotions might come to be equally probable.
    """
    from scipy.special import log_softmax

    return np.asarray(log_softmax(log_probabilities.astype(np.float64) / temperature, axis=-1))


def fit_temperature(log_probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least negative log-likelihood on validation, between `COLDEST` and `HOTTEST`.

    Where all labels are the most probable emotion the likelihood only grows as T falls. Then T makes the n of them as
    probable on average as Laplace's rule of succession says that the next one will be right: (n + 1) / (n + 2).

    It is 1, which changes nothing, where the labels cannot tell: none are given, or no temperature is better.

    Args:
        log_probabilities: shape (utterances, emotions), finite.
        labels: shape (utterances,); a negative label is left out.

    Raises:
        ValueError: log-probabilities that are not finite, or not one row a label.
    """
    if len(log_probabilities) != len(labels) or not np.isfinite(log_probabilities).all():
        raise ValueError(f"give finite log-probabilities, one row for each of the {len(labels)} labels")
    from scipy.optimize import minimize_scalar

    known = labels >= 0
    scores, gold = log_probabilities[known], labels[known]
    if len(gold) == 0 or scores.shape[1] == 1:
        return 1.0
    if (scores.argmax(axis=1) == gold).all():
        return _by_succession(scores, gold)

    def loss(log_temperature: float) -> float:
        return -float(_of_gold(scores, gold, log_temperature).mean())

    # Convex in 1/T (a log-sum-exp less a linear term), so in log T there is one minimum.
    found = minimize_scalar(loss, bounds=BOUNDS, method="bounded", options={"xatol": 1e-7})
    return math.exp(found.x) if found.fun < loss(0.0) - 1e-12 else 1.0


def _of_gold(scores: np.ndarray, gold: np.ndarray, log_temperature: float) -> np.ndarray:
    return np.take_along_axis(tempered(scores, math.exp(log_temperature)), gold[:, None], axis=1)


def _by_succession(scores: np.ndarray, gold: np.ndarray) -> float:
    from scipy.optimize import brentq

    wanted = (len(gold) + 1) / (len(gold) + 2)

    def above(log_temperature: float) -> float:
        return float(np.exp(_of_gold(scores, gold, log_temperature)).mean()) - wanted

    coldest, hottest = BOUNDS
    # It falls as T grows.
    if above(coldest) <= 0:
        return COLDEST
    if above(hottest) >= 0:
        return HOTTEST
    return math.exp(brentq(above, coldest, hottest, xtol=1e-7))


def calibration_errors(log_probabilities: np.ndarray, labels: np.ndarray, temperature: float) -> dict[str, float]:
    """Expected calibration error in percent, before the temperature and after it; for arguments see above."""
    before, after = (np.exp(tempered(log_probabilities, t)) for t in (1.0, temperature))
    return {
        "ece_before": expected_calibration_error(labels, before),
        "ece_after": expected_calibration_error(labels, after),
    }
