"""The temperature: the best there is by a plain search, and harmless where the labels cannot tell."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sacl.conversation import LabelSet
from sacl.model.build import build_model
from sacl.settings import FeatureSettings, ModelSettings
from sacl.training.calibration import COLDEST, HOTTEST, calibration_errors, fit_temperature, tempered
from sacl.training.trained import TrainedModel

OLD = Path(__file__).parents[1] / "fixtures" / "format-1" / "model.safetensors"


def log_probabilities(scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)))


def drawn(seed: int, n: int = 300, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities, and labels drawn from them: they are calibrated as they are."""
    rng = np.random.default_rng(seed)
    scores = log_probabilities(rng.normal(0, 1.5, (n, classes)))
    return scores, np.array([rng.choice(classes, p=np.exp(row)) for row in scores])


def loss(scores: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    total = 0.0
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        if label >= 0:
            total -= row[label] / temperature - math.log(sum(math.exp(x / temperature) for x in row))
    return total


@given(seed=st.integers(0, 1000), n=st.integers(2, 12), scale=st.floats(0.2, 4))
def test_no_temperature_of_a_plain_search_is_better(seed: int, n: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    scores, labels = log_probabilities(rng.normal(0, scale, (n, 3))), rng.integers(-1, 3, n)
    found = fit_temperature(scores, labels)
    known = labels >= 0
    if (scores[known].argmax(axis=1) == labels[known]).all():
        assert found == 1 or known.any()
    else:
        searched = [loss(scores, labels, t) for t in np.geomspace(COLDEST, HOTTEST, 200)]
        assert loss(scores, labels, found) <= min(searched) + 1e-6
        assert COLDEST <= found <= HOTTEST


@pytest.mark.parametrize("overconfidence", [0.4, 1.0, 3.0])
def test_confidences_that_were_scaled_are_scaled_back(overconfidence: float) -> None:
    scores, labels = drawn(0, n=4000)
    scaled = log_probabilities(overconfidence * scores)
    found = fit_temperature(scaled, labels)
    assert found == pytest.approx(overconfidence, rel=0.05)
    assert found == pytest.approx(overconfidence * fit_temperature(scores, labels), rel=1e-4)
    errors = calibration_errors(scaled, labels, found)
    assert errors["ece_after"] < 2.5
    assert overconfidence == 1 or errors["ece_before"] > 4 * errors["ece_after"]


def test_utterances_without_label_do_not_count() -> None:
    scores, labels = drawn(1)
    others = log_probabilities(np.random.default_rng(2).normal(0, 9, (50, 5)))
    with_others = np.concatenate([others, scores]), np.concatenate([np.full(50, -100), labels])
    assert fit_temperature(*with_others) == fit_temperature(scores, labels)


CANNOT_TELL = {
    "no utterance": (np.empty((0, 3)), np.empty(0, dtype=int)),
    "no label": (log_probabilities(np.eye(3)), np.full(3, -1)),
    "one emotion": (np.zeros((4, 1)), np.zeros(4, dtype=int)),
    "all alike": (np.full((4, 3), -math.log(3)), np.array([0, 1, 2, 2])),
}


@pytest.mark.parametrize("case", CANNOT_TELL)
def test_labels_that_cannot_tell_leave_it_at_one(case: str) -> None:
    assert fit_temperature(*CANNOT_TELL[case]) == 1


@pytest.mark.parametrize(("n", "scale"), [(3, 0.3), (3, 6.0), (30, 0.6)])
def test_where_all_are_right_they_are_as_sure_as_the_next_one_is_to_be_right(n: int, scale: float) -> None:
    scores, labels = log_probabilities(scale * np.eye(3)[np.arange(n) % 3]), np.arange(n) % 3
    sure = np.exp(tempered(scores, fit_temperature(scores, labels)))[np.arange(n), labels]
    assert sure.mean() == pytest.approx((n + 1) / (n + 2), abs=1e-6)


def test_where_all_are_right_by_a_hair_it_is_as_sharp_as_it_gets() -> None:
    assert fit_temperature(log_probabilities(np.eye(3) / 1000), np.arange(3)) == COLDEST


def test_worse_than_chance_is_as_flat_as_it_gets() -> None:
    assert fit_temperature(log_probabilities(3 * np.eye(3)), np.array([1, 2, 0])) == pytest.approx(HOTTEST, rel=1e-3)


@pytest.mark.parametrize("wrong", [-np.inf, np.nan])
def test_scores_that_are_not_finite_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        fit_temperature(np.array([[0.0, wrong]]), np.array([0]))
    with pytest.raises(ValueError, match="each of the 2 labels"):
        fit_temperature(np.zeros((1, 2)), np.array([0, 1]))


@given(
    st.lists(st.floats(-30, -0.6875, width=32), min_size=2, max_size=5),
    st.integers(1, 4),
    st.floats(COLDEST, HOTTEST),
)
def test_what_is_most_probable_stays_so_and_probabilities_add_up(
    scores: list[float], ulps: int, temperature: float
) -> None:
    # A close second, which single precision might make equal; two that are close are at most log 1/2 each.
    best = np.float32(max(scores))
    second = best
    for _ in range(ulps):
        second = np.nextafter(second, np.float32(-99))
    row = np.array([*(s for s in scores if s < second), second, best], dtype=np.float32)
    after = tempered(row, temperature)
    assert after.dtype == np.float64
    assert int(after.argmax()) == len(row) - 1
    assert np.exp(after).sum() == pytest.approx(1, abs=1e-12)


def model(temperature: float) -> TrainedModel:
    settings = ModelSettings(hidden_size=2)
    torch.manual_seed(0)
    labels = LabelSet(("calm", "cross", "glad"))
    return TrainedModel(
        build_model(settings, 4, 3), settings, labels, 4, FeatureSettings(), None, None, {}, temperature=temperature
    )


def test_a_model_keeps_its_temperature_to_the_bit(tmp_path: Path) -> None:
    before = model(0.8246913578246913)
    before.save(tmp_path / "model.safetensors")
    after = TrainedModel.load(tmp_path)
    assert after.temperature == before.temperature
    scores = drawn(3)[0]
    assert np.array_equal(after.calibrated(scores), tempered(scores, before.temperature))
    assert not np.allclose(after.calibrated(scores), scores)
    assert np.allclose(replace(after, temperature=1.0).calibrated(scores), scores, atol=1e-12)


def test_a_model_saved_before_there_were_temperatures_has_that_of_one() -> None:
    loaded = TrainedModel.load(OLD)
    assert loaded.temperature == 1
    scores = drawn(4)[0].astype(np.float32)
    assert np.allclose(loaded.calibrated(scores), scores, atol=1e-6)
