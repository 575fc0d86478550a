"""Scores, against scikit-learn; confidence, against plain loops."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from sacl.metrics import confusion, expected_calibration_error, micro_f1, reliability, score, selective_accuracy

CLASSES = 5
PAIRS = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40)


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = zip(*pairs, strict=True)
    return np.array(labels), np.array(predictions)


@given(pairs=PAIRS)
def test_every_figure_equals_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predictions = arrays(pairs)
    ours = score(labels, predictions, CLASSES)
    f1 = {
        average: f1_score(labels, predictions, average=average, zero_division=0.0) for average in ("weighted", "macro")
    }
    by_class = f1_score(labels, predictions, average=None, labels=range(CLASSES), zero_division=0.0)
    assert ours.accuracy == pytest.approx(100 * accuracy_score(labels, predictions), abs=1e-9)
    assert ours.accuracy == pytest.approx(100 * f1_score(labels, predictions, average="micro"), abs=1e-9)
    assert ours.weighted_f1 == pytest.approx(100 * f1["weighted"], abs=1e-9)
    assert ours.macro_f1 == pytest.approx(100 * f1["macro"], abs=1e-9)
    assert ours.f1 == pytest.approx(100 * by_class, abs=1e-9)
    assert list(ours.support) == [int((labels == c).sum()) for c in range(CLASSES)]
    assert (
        confusion(labels, predictions, CLASSES) == confusion_matrix(labels, predictions, labels=range(CLASSES))
    ).all()


@given(pairs=PAIRS, seed=st.integers(0, 1000))
def test_the_order_of_utterances_and_the_names_of_classes_do_not_matter(
    pairs: list[tuple[int, int]], seed: int
) -> None:
    labels, predictions = arrays(pairs)
    rng = np.random.default_rng(seed)
    order, names = rng.permutation(len(labels)), rng.permutation(CLASSES)
    ours = score(labels, predictions, CLASSES)
    assert score(labels[order], predictions[order], CLASSES) == ours
    renamed = score(names[labels], names[predictions], CLASSES)
    for figure in ("accuracy", "weighted_f1", "macro_f1"):
        assert getattr(renamed, figure) == pytest.approx(getattr(ours, figure), abs=1e-9)
    assert [renamed.f1[names[c]] for c in range(CLASSES)] == pytest.approx(list(ours.f1), abs=1e-9)


@given(pairs=PAIRS, without=st.sets(st.integers(0, CLASSES - 1), max_size=CLASSES - 1))
def test_micro_f1_without_some_classes_equals_scikit_learns(pairs: list[tuple[int, int]], without: set[int]) -> None:
    labels, predictions = arrays(pairs)
    kept = [c for c in range(CLASSES) if c not in without]
    theirs = f1_score(labels, predictions, average="micro", labels=kept, zero_division=0.0)
    assert micro_f1(labels, predictions, without) == pytest.approx(100 * theirs, abs=1e-9)


def test_a_class_that_is_neither_present_nor_predicted_counts_in_no_average() -> None:
    scores = score(np.array([0, 1]), np.array([0, 1]), 4)
    assert scores.macro_f1 == 100
    assert scores.f1 == (100, 100, 0, 0)
    assert scores.support == (1, 1, 0, 0)


def test_the_figures_as_plain_numbers_go_into_json() -> None:
    plain = score(np.array([0, 1]), np.array([0, 0]), 2).to_dict()
    assert plain["accuracy"] == 50.0
    assert {type(x) for value in plain.values() for x in (value if isinstance(value, tuple) else [value])} == {
        int,
        float,
    }


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_small_integers_do_not_overflow(dtype: type[np.integer]) -> None:
    labels = np.arange(100, dtype=dtype)
    assert score(labels, labels, 100).weighted_f1 == 100


@pytest.mark.parametrize(("labels", "predictions"), [([], []), ([0], []), ([0, 1], [0])])
def test_no_utterances_or_unlike_numbers_of_them_are_refused(labels: list[int], predictions: list[int]) -> None:
    with pytest.raises(ValueError, match=f"{len(labels)} labels and {len(predictions)} predictions"):
        score(np.array(labels, dtype=int), np.array(predictions, dtype=int), 2)


@pytest.mark.parametrize(
    ("labels", "predictions"), [([0, -100], [0, 0]), ([0, 0], [0, 2]), ([2, 0], [0, 0]), ([1], [-1])]
)
def test_an_index_of_no_emotion_is_refused_rather_than_counted_as_anothers(
    labels: list[int], predictions: list[int]
) -> None:
    with pytest.raises(ValueError, match="give 0 to 1"):
        score(np.array(labels), np.array(predictions), 2)


@st.composite
def confident(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels, some missing, and probabilities: coarse ones, so that confidences tie and lie on edges of bins."""
    counts = draw(st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3).filter(any), min_size=1, max_size=30))
    labels = draw(
        st.lists(st.integers(-1, 2), min_size=len(counts), max_size=len(counts)).filter(lambda y: max(y) >= 0)
    )
    array = np.array(counts, dtype=float)
    return np.array(labels), array / array.sum(axis=1, keepdims=True)


def pairs_of(labels: np.ndarray, probabilities: np.ndarray) -> list[tuple[float, bool]]:
    """Confidence, and whether the prediction is right, of every labelled utterance."""
    return [
        (max(p), list(p).index(max(p)) == y)
        for y, p in zip(labels.tolist(), probabilities.tolist(), strict=True)
        if y >= 0
    ]


@given(given_=confident(), bins=st.integers(1, 20))
def test_calibration_error_equals_the_plain_loop(given_: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    pairs = pairs_of(*given_)
    edges = np.linspace(0, 1, bins + 1)
    expected = 0.0
    for low, high in pairwise(edges):
        inside = [(c, r) for c, r in pairs if low < c <= high]
        if inside:
            confidence, right = (sum(column) / len(inside) for column in zip(*inside, strict=True))
            expected += len(inside) / len(pairs) * abs(right - confidence)
    assert expected_calibration_error(*given_, bins) == pytest.approx(100 * expected, abs=1e-9)
    held = reliability(*given_, bins)
    assert sum(b.utterances for b in held) == len(pairs)
    assert [b.confidence for b in held] == sorted(b.confidence for b in held)


@given(given_=confident())
def test_selective_accuracy_equals_the_plain_loop_over_thresholds(given_: tuple[np.ndarray, np.ndarray]) -> None:
    pairs = pairs_of(*given_)
    expected = []
    for threshold in sorted({c for c, _ in pairs}, reverse=True):
        answered = [r for c, r in pairs if c >= threshold]
        expected.append((threshold, 100 * len(answered) / len(pairs), 100 * sum(answered) / len(answered)))
    found = selective_accuracy(*given_)
    assert np.allclose(np.transpose(found), expected, rtol=0, atol=1e-9)
    assert found.coverage[-1] == 100


@given(given_=confident(), seed=st.integers(0, 1000))
def test_confidence_does_not_depend_on_the_order_of_utterances(
    given_: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    labels, probabilities = given_
    order = np.random.default_rng(seed).permutation(len(labels))
    assert np.array_equal(
        selective_accuracy(labels, probabilities), selective_accuracy(labels[order], probabilities[order])
    )
    assert expected_calibration_error(labels, probabilities) == pytest.approx(
        expected_calibration_error(labels[order], probabilities[order]), abs=1e-9
    )


def test_a_confidence_that_rounding_lifts_above_one_is_counted_once() -> None:
    probabilities = np.array([[1.0000001, 0.0], [1.0, 0.0]], dtype=np.float32)
    assert expected_calibration_error(np.array([0, 0]), probabilities) == pytest.approx(0, abs=1e-4)
    assert expected_calibration_error(np.array([1, 1]), probabilities) == pytest.approx(100, abs=1e-4)


@pytest.mark.parametrize("measure", [expected_calibration_error, selective_accuracy])
@pytest.mark.parametrize(("labels", "told"), [([-1, -1], "no labelled utterance"), ([0], "1 labels and .* of 2")])
def test_confidence_without_labels_is_refused(measure: Callable[..., object], labels: list[int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        measure(np.array(labels), np.full((2, 2), 0.5))
