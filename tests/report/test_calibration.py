"""The section on confidence: from the results where they tell of it, else from the predictions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sacl.errors import RunError
from sacl.metrics import expected_calibration_error, selective_accuracy
from sacl.report import render
from sacl.report.calibration import UNFITTED, calibration_section, calibration_table
from sacl.report.document import Drawing
from sacl.report.runs import read_run
from sacl.report.table import Table

pytest.importorskip("matplotlib")


def told(temperature=2.0, **splits):
    errors = {"ece_before": 9.1, "ece_after": 3.2}
    return {"temperature": temperature, "valid": errors, "test": {"ece_before": 8.04, "ece_after": 2.06}, **splits}


def with_calibration(folder, *records):
    for seed, record in enumerate(records):
        path = folder / f"seed-{seed}" / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"calibration": record}))
    return read_run(folder)


def parts(run, kind):
    return [p for p in calibration_section(run, "run-1").parts if isinstance(p, kind)]


def test_the_table_holds_every_seed_their_mean_and_deviation(make_run):
    other = told(1.0, test={"ece_before": 6.04, "ece_after": 4.06})
    run = with_calibration(make_run(seeds=(0, 1)), told(), other)
    table = calibration_table(run)
    assert [list(row) for row in table.rows] == [
        ["seed 0", "2.00", "9.10", "3.20", "8.04", "2.06"],
        ["seed 1", "1.00", "9.10", "3.20", "6.04", "4.06"],
        ["mean", "1.50", "9.10", "3.20", "7.04", "3.06"],
        ["deviation", "0.71", "0.00", "0.00", "1.41", "1.41"],
    ]
    assert len(table.columns) == 6
    assert "2.06" in render.text(table)


def test_both_reliabilities_are_drawn_and_described(make_run):
    run = with_calibration(make_run(seeds=(0, 1)), told(), told())
    drawing, answered = parts(run, Drawing)
    assert (drawing.name, answered.name) == ("run-1-reliability", "run-1-coverage")
    assert [t.get_text() for t in drawing.figure.legends[0].get_texts()] == ["perfect", "before", "after"]
    assert "Before: " in drawing.description
    assert "After: " in drawing.description
    before, after = drawing.figure.axes[0].collections
    # A temperature above 1 makes every confidence smaller.
    assert np.asarray(after.get_offsets())[-1, 0] < np.asarray(before.get_offsets())[-1, 0]


def test_accuracy_by_coverage_is_that_of_the_calibrated_predictions(make_run):
    run = with_calibration(make_run(seeds=(0,)), told(3.0))
    [_, table] = parts(run, Table)
    probabilities = run.seeds[0].probabilities ** (1 / 3)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = selective_accuracy(run.gold, probabilities)
    assert list(table.columns) == ["answered", "threshold", "accuracy"]
    for share, threshold, accuracy in table.rows:
        i = next(i for i, c in enumerate(expected.coverage) if c >= float(share.split()[0]))
        assert float(threshold) == pytest.approx(expected.threshold[i], abs=0.006)
        assert float(accuracy) == pytest.approx(expected.accuracy[i], abs=0.006)
    assert table.rows[0][2] == f"{run.results[0]['test']['accuracy']:.2f}"


def test_a_run_of_an_earlier_version_shows_what_its_predictions_tell(make_run):
    run = read_run(make_run(seeds=(0, 1)))
    table = calibration_table(run)
    assert list(table.columns) == ["seed", "test"]
    expected = expected_calibration_error(run.gold, run.seeds[1].probabilities)
    assert table.rows[1][1] == f"{expected:.2f}"
    assert UNFITTED in table.notes
    drawing, _ = parts(run, Drawing)
    assert [t.get_text() for t in drawing.figure.legends[0].get_texts()] == ["perfect", "here"]


def test_a_run_completed_by_a_later_version_says_so_too(make_run):
    run = with_calibration(make_run(seeds=(0, 1)), told())
    assert UNFITTED in calibration_table(run).notes


@pytest.mark.parametrize("skill", [0.0, 1.0])
def test_a_model_that_is_always_right_or_wrong_is_drawn(make_run, skill):
    run = with_calibration(make_run(seeds=(0,), skill=skill), told(1.0))
    assert all(part.figure.axes for part in parts(run, Drawing))


DAMAGE = {
    "no object": 3,
    "temperature missing": {"valid": told()["valid"], "test": told()["test"]},
    "temperature of zero": told(0.0),
    "temperature not a number": told(float("nan")),
    "error of no number": told(valid={"ece_before": "low", "ece_after": 1.0}),
    "split missing": told(test=None),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_told_in_one_line_that_names_the_seed(make_run, name):
    run = with_calibration(make_run(seeds=(0, 1)), told(), DAMAGE[name])
    with pytest.raises(RunError, match=r"seed-1.*calibration") as caught:
        calibration_section(run, "run-1")
    assert "\n" not in str(caught.value)
