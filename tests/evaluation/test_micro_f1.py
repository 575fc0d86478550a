from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from sacl.metrics import micro_f1, score


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30),
    st.sets(st.integers(0, 3), max_size=3),
)
def test_micro_f1_equals_scikit_learn(pairs, without):
    labels, predictions = (np.array(x) for x in zip(*pairs, strict=True))
    kept = [c for c in range(4) if c not in without]
    expected = 100 * f1_score(labels, predictions, labels=kept, average="micro", zero_division=0)
    assert micro_f1(labels, predictions, without) == pytest.approx(expected)


def test_micro_f1_of_all_classes_is_accuracy_and_of_none_present_is_0():
    labels, predictions = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 1])
    assert micro_f1(labels, predictions) == pytest.approx(score(labels, predictions, 3).accuracy)
    assert micro_f1(np.zeros(3, int), np.zeros(3, int), without=[0]) == 0
    with pytest.raises(ValueError, match="3 labels"):
        micro_f1(np.zeros(3, int), np.zeros(2, int))
