from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from sacl.evaluation.significance import MEASURES, bootstrap_difference, bootstrap_interval, holm, paired_t
from sacl.metrics import score


def example(seed=0, conversations=12, classes=4, seeds=3):
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, 9, conversations)
    ids = np.repeat(draw.permutation(conversations), lengths)
    labels = draw.integers(0, classes, len(ids))
    right = draw.random((seeds, len(ids))) < 0.6
    return labels, np.where(right, labels, draw.integers(0, classes, (seeds, len(ids)))), ids, classes


def loop(labels, predictions, ids, classes, resamples, seed):
    """The plain loop: draw conversations, lay their utterances one after another, score every seed."""
    names = np.unique(ids)
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    figures = {name: [] for name in MEASURES}
    for weights in counts:
        rows = np.concatenate([np.tile(np.flatnonzero(ids == name), n) for name, n in zip(names, weights, strict=True)])
        scores = [score(labels[rows], p[rows], classes) for p in predictions]
        for name in MEASURES:
            figures[name].append(np.mean([getattr(s, name) for s in scores]))
    return {name: np.array(values) for name, values in figures.items()}


def test_interval_equals_the_plain_loop():
    labels, predictions, ids, classes = example()
    expected = loop(labels, predictions, ids, classes, 60, 5)
    found = bootstrap_interval(labels, predictions, ids, classes, generator=np.random.default_rng(5), resamples=60)
    whole = [score(labels, p, classes) for p in predictions]
    for name in MEASURES:
        assert found[name].value == pytest.approx(np.mean([getattr(s, name) for s in whole]), abs=1e-10)
        assert found[name][1:] == pytest.approx(tuple(np.quantile(expected[name], [0.025, 0.975])), abs=1e-10)


@pytest.mark.parametrize("measure", MEASURES)
def test_difference_equals_the_plain_loop_also_with_other_numbers_of_seeds(measure):
    labels, a, ids, classes = example(0)
    b = example(1, seeds=2)[1][:, : len(labels)]
    b = np.pad(b, ((0, 0), (0, len(labels) - b.shape[1])))
    drawn = loop(labels, a, ids, classes, 80, 9)[measure] - loop(labels, b, ids, classes, 80, 9)[measure]
    found = bootstrap_difference(
        labels, a, b, ids, classes, generator=np.random.default_rng(9), resamples=80, measure=measure
    )
    assert found[1:3] == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-10)
    assert found.p == pytest.approx(min(1, 2 * (min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1) / 81))


def test_more_resamples_than_one_chunk_change_no_figure(monkeypatch):
    labels, predictions, ids, classes = example()
    chunks = [3, 10_000]
    found = []
    for chunk in chunks:
        monkeypatch.setattr("sacl.evaluation.significance._CHUNK", chunk)
        found.append(
            bootstrap_interval(labels, predictions, ids, classes, generator=np.random.default_rng(0), resamples=40)
        )
    assert found[0] == found[1]


def test_equal_systems_differ_by_nothing():
    labels, predictions, ids, classes = example()
    shuffled = predictions[[2, 0, 1]]
    found = bootstrap_difference(labels, predictions, shuffled, ids, classes, generator=np.random.default_rng(0))
    assert found.difference == pytest.approx(0, abs=1e-12)
    assert (found.low, found.high, found.p) == (0, 0, 1)


def test_a_clear_difference_has_a_sign_and_a_small_p():
    labels, predictions, ids, classes = example(conversations=60)
    worse = (predictions + 1) % classes
    there = bootstrap_difference(labels, predictions, worse, ids, classes, generator=np.random.default_rng(0))
    back = bootstrap_difference(labels, worse, predictions, ids, classes, generator=np.random.default_rng(0))
    assert there.low > 0
    assert there.p == 2 / 2001
    assert back == pytest.approx((-there.difference, -there.high, -there.low, there.p))


def test_one_conversation_leaves_nothing_to_resample():
    labels, predictions, ids, classes = example(conversations=1)
    found = bootstrap_interval(labels, predictions, ids, classes, generator=np.random.default_rng(0), resamples=10)
    assert all(i.low == pytest.approx(i.value) == i.high for i in found.values())


def test_utterances_without_a_label_change_nothing():
    labels, predictions, ids, classes = example()
    more = np.concatenate([labels, [-100, -100]])
    padded = np.pad(predictions, ((0, 0), (0, 2)))
    ids_more = np.concatenate([ids, [ids[0], 999]])
    one, other = (
        bootstrap_interval(y, p, c, classes, generator=np.random.default_rng(0), resamples=50)
        for y, p, c in ((labels, predictions, ids), (more, padded, ids_more))
    )
    assert one == other


def test_conversations_may_be_named_by_text_and_predictions_be_of_one_seed():
    labels, predictions, ids, classes = example()
    names = np.array([f"c{i:03}" for i in ids])
    one, other = (
        bootstrap_interval(labels, p, c, classes, generator=np.random.default_rng(0), resamples=50)
        for p, c in ((predictions[:1], ids), (predictions[0], names))
    )
    assert one == other


def test_what_does_not_fit_is_refused():
    draw = np.random.default_rng(0)
    with pytest.raises(ValueError, match="3 labels, 2 predictions"):
        bootstrap_interval(np.zeros(3, int), np.zeros(2, int), np.zeros(3, int), 2, generator=draw)
    with pytest.raises(ValueError, match="no labelled"):
        bootstrap_interval(np.full(3, -100), np.zeros(3, int), np.zeros(3, int), 2, generator=draw)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=8))
def test_paired_t_is_antisymmetric_and_gives_a_probability(pairs):
    a, b = zip(*pairs, strict=True)
    difference, p = paired_t(a, b)
    assert 0 <= p <= 1
    assert paired_t(b, a) == pytest.approx((-difference, p), abs=1e-9)


def test_paired_t_is_the_one_sample_test_of_the_differences():
    a, b = np.array([57.1, 56.8, 57.3, 56.2]), np.array([56.0, 57.1, 56.0, 56.1])
    difference, p = paired_t(list(a), list(b))
    assert difference == pytest.approx((a - b).mean())
    assert p == pytest.approx(ttest_1samp(a - b, 0).pvalue)


def test_paired_t_of_equal_and_of_evenly_shifted_figures():
    assert paired_t([50, 51], [50, 51]) == (0, 1)
    difference, p = paired_t([51.5, 52.5, 53.5], [50, 51, 52])
    assert (difference, p) == (1.5, 0)
    with pytest.raises(ValueError, match="at least two"):
        paired_t([1.0], [2.0])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_equals_its_definition(p_values):
    # Holm 1979: the largest, over the p values not above this one, of p times the number not below it in rank.
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    expected = [
        min(1.0, max((len(p_values) - k) * p_values[j] for k, j in enumerate(order[: order.index(i) + 1])))
        for i in range(len(p_values))
    ]
    assert holm(p_values) == pytest.approx(expected)


def test_holm_keeps_one_p_value_and_bonferroni_bounds_it():
    assert holm([0.04]) == [0.04]
    p_values = [0.2, 0.001, 0.04, 0.04]
    assert all(p <= h <= min(1, 4 * p) for p, h in zip(p_values, holm(p_values), strict=True))
