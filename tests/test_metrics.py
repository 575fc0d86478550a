"""Scores, against scikit-learn."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from sacl.metrics import confusion, micro_f1, score

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
