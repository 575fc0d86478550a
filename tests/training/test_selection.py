"""Which epoch wins and when to stop."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sacl.training.selection import Selection

# Figures that often tie, also after rounding.
FIGURES = st.lists(
    st.tuples(
        st.sampled_from([2.0, 1.5, 1.50004, 1.49996, 1.4999, 0.3]), st.sampled_from([40.0, 40.004, 40.01, 55.0, 0.0])
    ),
    min_size=1,
    max_size=25,
)


@given(figures=FIGURES, select=st.sampled_from(["loss", "weighted_f1"]))
def test_the_first_epoch_with_the_best_rounded_figure_is_selected(
    figures: list[tuple[float, float]], select: str
) -> None:
    selection = Selection(select, patience=100)  # type: ignore[arg-type]
    for epoch, (loss, weighted_f1) in enumerate(figures, 1):
        chosen = selection.update(epoch, loss, weighted_f1)
        assert chosen == (selection.best_epoch == epoch)
    costs = [round(loss, 4) if select == "loss" else -round(f1, 2) for loss, f1 in figures]
    assert selection.best_epoch == costs.index(min(costs)) + 1
    assert selection.best_loss == min(round(loss, 4) for loss, _ in figures)
    assert selection.best_weighted_f1 == max(round(f1, 2) for _, f1 in figures)


@given(figures=FIGURES, patience=st.integers(1, 4))
def test_training_stops_after_patience_epochs_in_which_neither_figure_improved(
    figures: list[tuple[float, float]], patience: int
) -> None:
    selection = Selection("loss", patience)
    improved = []
    for epoch, (loss, weighted_f1) in enumerate(figures, 1):
        earlier = figures[: epoch - 1]
        improved.append(
            all(round(loss, 4) < round(other, 4) for other, _ in earlier)
            or all(round(weighted_f1, 2) > round(other, 2) for _, other in earlier)
        )
        selection.update(epoch, loss, weighted_f1)
        assert selection.should_stop == (len(improved) >= patience and not any(improved[-patience:]))


def test_a_tie_keeps_the_earlier_epoch_and_counts_as_no_improvement() -> None:
    selection = Selection("weighted_f1", patience=2)
    assert selection.update(1, 1.0, 50.0)
    assert not selection.update(2, 1.0, 50.0)
    assert (selection.best_epoch, selection.waited) == (1, 1)


@pytest.mark.parametrize(("loss", "better"), [(0.99996, False), (0.99994, True)])
def test_the_loss_counts_to_four_decimals(loss: float, better: bool) -> None:
    selection = Selection("loss", patience=2)
    selection.update(1, 1.0, 50.0)
    assert selection.update(2, loss, 50.0) == better


@pytest.mark.parametrize(("weighted_f1", "better"), [(50.004, False), (50.006, True)])
def test_the_weighted_f1_counts_to_two_decimals_of_a_percent(weighted_f1: float, better: bool) -> None:
    selection = Selection("weighted_f1", patience=2)
    selection.update(1, 1.0, 50.0)
    assert selection.update(2, 1.0, weighted_f1) == better


def test_the_other_figure_resets_the_patience_but_selects_nothing() -> None:
    selection = Selection("loss", patience=1)
    selection.update(1, 1.0, 50.0)
    assert not selection.update(2, 1.1, 51.0)
    assert not selection.should_stop
    assert selection.best_epoch == 1


def test_a_loss_that_is_not_a_number_is_never_better() -> None:
    selection = Selection("loss", patience=1)
    selection.update(1, 1.0, 50.0)
    assert not selection.update(2, math.nan, 50.0)
    assert selection.best_loss == 1.0
    assert selection.should_stop
