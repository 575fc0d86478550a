from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacl.evaluation.analysis import ConfusedPair, by_length, by_position, by_shift, confused_pairs
from sacl.metrics import score


def certain(predictions, classes=3, p=0.8):
    """Probabilities that name the predictions."""
    rows = np.full((len(predictions), classes), (1 - p) / (classes - 1))
    rows[np.arange(len(predictions)), predictions] = p
    return rows


def test_confused_pairs_are_counted_and_the_surest_errors_come_first():
    labels = np.array([0, 0, 0, 1, 1, 2, -100])
    probabilities = certain([1, 1, 0, 0, 1, 2, 1])
    probabilities[1] = [0.05, 0.9, 0.05]
    first, second = confused_pairs(labels, probabilities)
    assert first == ConfusedPair(0, 1, 2, pytest.approx(200 / 3), (1, 0))
    assert second == ConfusedPair(1, 0, 1, pytest.approx(50), (3,))
    assert confused_pairs(labels, np.log(probabilities)) == [first, second]
    assert confused_pairs(labels, probabilities, most=1, examples=1) == [replace(first, examples=(1,))]


def test_nothing_is_confused_where_all_is_right():
    assert confused_pairs(np.array([0, 1, 2]), certain([0, 1, 2])) == []


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 1000))
def test_groups_are_a_partition_whose_accuracy_adds_up(lengths, seed):
    draw = np.random.default_rng(seed)
    n = sum(lengths)
    labels, predictions = draw.integers(0, 3, n), draw.integers(0, 3, n)
    speakers = draw.integers(0, 2, n)
    whole = score(labels, predictions, 3).accuracy
    for groups in (
        by_length(labels, predictions, 3, lengths),
        by_position(labels, predictions, 3, lengths),
        by_shift(labels, predictions, 3, lengths, speakers),
    ):
        assert sum(g.utterances for g in groups) == n
        assert sum(g.utterances * g.scores.accuracy for g in groups) / n == pytest.approx(whole)


def test_lengths_and_positions_fall_into_the_bins_they_name():
    lengths = [1, 2, 4, 40]
    labels = np.zeros(sum(lengths), int)
    named = [(g.name, g.utterances) for g in by_length(labels, labels, 1, lengths)]
    assert named == [("1", 1), ("2", 2), ("3-4", 4), ("33 and more", 40)]
    named = [(g.name, g.utterances) for g in by_position(labels, labels, 1, lengths)]
    assert named == [("1", 4), ("2", 3), ("3-4", 4), ("5-8", 4), ("9-16", 8), ("17-32", 16), ("33 and more", 8)]


def test_unlabelled_utterances_count_for_the_length_and_are_not_scored():
    labels, predictions = np.array([0, -100, -100, 1]), np.array([0, 0, 0, 0])
    assert [(g.name, g.utterances) for g in by_length(labels, predictions, 2, [4])] == [("3-4", 2)]
    assert [(g.name, g.utterances) for g in by_position(labels, predictions, 2, [4])] == [("1", 1), ("3-4", 1)]


def test_a_shift_is_against_the_same_speakers_last_label_in_the_same_conversation():
    #                  Ann  Bo  Ann  Ann(?)  Ann  Bo | Ann
    labels = np.array([0, 1, 1, -100, 1, 1, 0])
    speakers = ["Ann", "Bo", "Ann", "Ann", "Ann", "Bo", "Ann"]
    predictions = np.array([1, 1, 1, 0, 1, 0, 0])
    groups = {g.name: g for g in by_shift(labels, predictions, 2, [6, 1], speakers)}
    assert {name: (g.utterances, round(g.scores.accuracy, 1)) for name, g in groups.items()} == {
        "shift": (1, 100.0),
        "no shift": (2, 50.0),
        "speaker's first": (3, 66.7),
    }


def test_lengths_that_do_not_fit_are_refused():
    labels = np.zeros(3, int)
    with pytest.raises(ValueError, match="add up to 4"):
        by_length(labels, labels, 1, [4])
    with pytest.raises(ValueError, match="2 speakers"):
        by_shift(labels, labels, 1, [3], ["a", "b"])
