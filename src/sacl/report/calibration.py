"""The section of a report on confidence: how far it can be believed, and what leaving out unsure utterances brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, PositiveFloat, ValidationError

from sacl.errors import RunError
from sacl.experiment.run import RESULT_FILE
from sacl.experiment.study import seed_folder
from sacl.metrics import ReliabilityBin, expected_calibration_error, reliability, selective_accuracy
from sacl.report.document import Drawing, Section
from sacl.report.drawing import BLUE, COLUMN, DASHES, INK, ORANGE, PAPER, axes, style
from sacl.report.runs import Run, SeedRun
from sacl.report.table import Table
from sacl.training.calibration import tempered

COVERAGES = (100, 90, 80, 70, 60, 50, 30)
"""Rows of the table of coverage, in percent."""
UNFITTED = "No temperature was fitted: the run is of a version that fitted none. Training it again fits one."
_LEAST = 5e-7
"""Half of the last digit that predictions are written with: what a probability of 0 may have been."""


class _Errors(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)
    ece_before: float
    ece_after: float


class _Recorded(BaseModel):
    """What is read of `calibration` in `result.json`."""

    model_config = ConfigDict(allow_inf_nan=False)
    temperature: PositiveFloat
    valid: _Errors
    test: _Errors


def calibration_section(run: Run, name: str) -> Section:
    """Calibration error before and after the temperature, reliability, accuracy against coverage.

    Raises:
        RunError: what a result says of its calibration is damaged.
    """
    fitted = _recorded(run)
    before = [s.probabilities for s in run.seeds]
    after = None if fitted is None else [_at(s, r.temperature) for s, r in zip(run.seeds, fitted, strict=True)]
    series, shown = ({"here": before}, before) if after is None else ({"before": before, "after": after}, after)
    return Section(
        f"{name}-calibration",
        "Calibration and coverage",
        [
            calibration_table(run),
            _reliability_drawing(run, name, series),
            _coverage_drawing(run, name, shown),
            _coverage_table(run, shown),
        ],
    )


def calibration_table(run: Run) -> Table:
    """Temperature and expected calibration error of every seed, mean and deviation; see `calibration_section`."""
    fitted = _recorded(run)
    notes = ["Expected calibration error: 15 bins of equal width; 0 is best."]
    if fitted is None:
        columns = ["seed", "test"]
        values = [[expected_calibration_error(run.gold, s.probabilities)] for s in run.seeds]
        notes.append(UNFITTED)
    else:
        columns = ["seed", "temperature", "valid, before", "valid, after", "test, before", "test, after"]
        values = [
            [r.temperature, r.valid.ece_before, r.valid.ece_after, r.test.ece_before, r.test.ece_after] for r in fitted
        ]
        notes.append("The temperature is fitted on validation: the test split tells what it is worth.")
    rows = [[f"seed {s.seed}", *map(_number, row)] for s, row in zip(run.seeds, values, strict=True)]
    if len(rows) > 1:
        rows.append(["mean", *map(_number, np.mean(values, axis=0))])
        rows.append(["deviation", *map(_number, np.std(values, axis=0, ddof=1))])
    return Table("Expected calibration error, percent", columns, rows, notes)


def reliability_diagram(series: Mapping[str, Sequence[ReliabilityBin]]) -> Any:
    """How often predictions of a confidence are right, percent; the diagonal is perfect calibration.

    Args:
        series: bins by name, two at most; the second is drawn over the first.
    """
    looks = ((ORANGE, "s", "none", (0, (1, 1.2))), (BLUE, "o", BLUE, "-"))
    most = max(b.utterances for bins in series.values() for b in bins)
    with style():
        figure, ax = axes(COLUMN, 2.7)
        ax.plot([0, 100], [0, 100], color=INK, linestyle=DASHES, linewidth=0.7, label="perfect")
        for (name, bins), (color, marker, fill, dash) in zip(series.items(), looks, strict=False):
            x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
            ax.plot(x, y, color=color, linewidth=0.8, linestyle=dash)
            area = [6 + 90 * b.utterances / most for b in bins]
            edge = PAPER if fill == color else color
            ax.scatter(
                x, y, s=area, marker=marker, facecolor=fill, edgecolor=edge, linewidth=0.8,
                zorder=3, clip_on=False, label=name,
            )  # fmt: skip
        ax.set(xlabel="mean confidence (percent)", ylabel="right (percent)", xlim=(0, 100), ylim=(0, 100))
        ax.grid()
        legend = figure.legend(loc="outside upper center", ncols=3, handletextpad=0.3)
        for handle in legend.legend_handles[1:]:
            handle.set_sizes([20])
        return figure


def coverage(answered: np.ndarray, means: np.ndarray, deviations: np.ndarray) -> Any:
    """Accuracy against coverage, percent: the mean over seeds, and one deviation to each side.

    Args:
        answered, means, deviations: each of shape (points,).
    """
    with style():
        figure, ax = axes(COLUMN, 2.3)
        ax.fill_between(answered, means - deviations, means + deviations, color=BLUE, alpha=0.25, linewidth=0)
        ax.plot(answered, means, color=BLUE)
        ax.set(xlabel="answered, the most confident first (percent)", ylabel="right (percent)", xlim=(0, 100))
        ax.set_ylim(top=min(ax.get_ylim()[1], 101))
        ax.grid()
        return figure


def _reliability_drawing(run: Run, name: str, series: Mapping[str, Sequence[np.ndarray]]) -> Drawing:
    labels = np.tile(run.gold, len(run.seeds))
    bins = {key: reliability(labels, np.concatenate(values), bins=10) for key, values in series.items()}
    words = ". ".join(
        f"{key.capitalize()}: " + "; ".join(f"{b.confidence:.0f} % confident, {b.accuracy:.0f} % right" for b in found)
        for key, found in bins.items()
    )
    several = " before and after the temperature" if len(bins) > 1 else ""
    caption = (
        f"Reliability on the test split{several}. A mark is a tenth of the scale of confidence, its area the "
        f"utterances in it{', all seeds together' if len(run.seeds) > 1 else ''}; below the dashed line a model is "
        "too sure of itself."
    )
    return Drawing(f"{name}-reliability", reliability_diagram(bins), caption, f"Reliability. {words}.")


def _coverage_drawing(run: Run, name: str, probabilities: Sequence[np.ndarray]) -> Drawing:
    # Shares of a percent or two are a handful of utterances, whose accuracy is chance.
    answered = np.arange(5, 101)
    _, accuracy = _selected(run, probabilities, answered)
    means, deviations = accuracy.mean(axis=0), _deviations(accuracy)
    over = ", mean and one standard deviation over seeds" if len(run.seeds) > 1 else ""
    caption = f"Accuracy against coverage on the test split{over}: who answers only where sure is right more often."
    words = "; ".join(f"{c} % answered, {means[answered == c][0]:.1f} % right" for c in COVERAGES)
    return Drawing(
        f"{name}-coverage", coverage(answered, means, deviations), caption, f"Accuracy against coverage: {words}."
    )


def _coverage_table(run: Run, probabilities: Sequence[np.ndarray]) -> Table:
    thresholds, accuracy = _selected(run, probabilities, np.array(COVERAGES))
    several = len(run.seeds) > 1
    rows = []
    for i, share in enumerate(COVERAGES):
        row = [f"{share} %", *map(_number, (thresholds[:, i].mean(), accuracy[:, i].mean()))]
        rows.append(row + [_number(_deviations(accuracy)[i])] * several)
    columns = ["answered", "threshold", "accuracy", *["deviation"] * several]
    notes = [
        "Threshold: the least confidence that is answered, between 0 and 1; what lies below is `uncertain`"
        + (" (mean over seeds)." if several else "."),
        "It stands here to be read, not chosen: choose it on conversations of your own that are labelled.",
    ]
    return Table("Accuracy on the most confident utterances, percent", columns, rows, notes)


def _selected(run: Run, probabilities: Sequence[np.ndarray], shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Threshold and accuracy at coverages, percent: the least coverage that reaches each. (seeds, shares) both."""
    found = [selective_accuracy(run.gold, p) for p in probabilities]
    at = [np.searchsorted(f.coverage, shares) for f in found]
    return (
        np.array([f.threshold[i] for f, i in zip(found, at, strict=True)]),
        np.array([f.accuracy[i] for f, i in zip(found, at, strict=True)]),
    )


def _at(seed: SeedRun, temperature: float) -> np.ndarray:
    return np.asarray(np.exp(tempered(np.log(np.maximum(seed.probabilities, _LEAST)), temperature)))


def _recorded(run: Run) -> list[_Recorded] | None:
    """Of every seed, or None where a seed has none, as in runs of earlier versions."""
    if any("calibration" not in s.result for s in run.seeds):
        return None
    found = []
    for s in run.seeds:
        try:
            found.append(_Recorded.model_validate(s.result["calibration"]))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, ("calibration", *first["loc"])))
            raise RunError(
                f"it is damaged ({name}: {first['msg']})",
                where=str(seed_folder(run.folder, s.seed) / RESULT_FILE),
                remedy="Delete the seed's folder and --resume",
            ) from None
    return found


def _deviations(values: np.ndarray) -> np.ndarray:
    """Sample deviation over seeds, 0 of a single one."""
    return np.asarray(values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1]))


def _number(value: float) -> str:
    return f"{value:.2f}"
