"""Runs beside each other, the first of them the reference: differences over seeds and over test conversations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sacl.errors import RunError
from sacl.evaluation.significance import Difference, Interval, bootstrap_difference, bootstrap_interval, holm, paired_t
from sacl.report.runs import Run, short_names
from sacl.report.table import MEASURES, Table, encoder_name, published_rows

RESAMPLES, DRAWS = 2000, 0
"""Of every bootstrap of a report, and the seed of its draws: the same runs give the same figures."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run against the reference, by test W-F1.

    Args:
        run: the run.
        name: what the tables call it.
        bootstrap: difference to the reference in points, its 95 % interval over test conversations, uncorrected p;
            None for the reference itself.
        bootstrap_p: corrected for the number of runs (Holm).
        seeds: how many seeds the t test pairs.
        t_difference, t_p: mean difference over these seeds and its Holm-corrected p; None below two common seeds.
    """

    run: Run
    name: str
    bootstrap: Difference | None = None
    bootstrap_p: float | None = None
    seeds: int = 0
    t_difference: float | None = None
    t_p: float | None = None


def compare(runs: Sequence[Run]) -> list[Comparison]:
    """Every run against the first.

    Raises:
        RunError: fewer than two runs, one of them twice, or runs of different test utterances or labels.
    """
    if len(runs) < 2:
        raise RunError("there is one run only", where="sacl compare", remedy="Name at least two")
    reference, *others = runs
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise RunError("a run is named twice", where="sacl compare", remedy="Name every run once")
    names = short_names([run.folder for run in runs])
    aligned = [aligned_predictions(reference, run) for run in runs]
    differences = [
        bootstrap_difference(
            reference.gold, predicted, aligned[0], reference.conversations, len(reference.labels),
            generator=np.random.default_rng(DRAWS), resamples=RESAMPLES,
        )
        for predicted in aligned[1:]
    ]  # fmt: skip
    tests = [_t(reference, run) for run in others]
    corrected = holm([d.p for d in differences])
    tested = iter(holm([t.p for t in tests if t.p is not None]))
    compared = [Comparison(reference, names[0])]
    for run, name, difference, p, t in zip(others, names[1:], differences, corrected, tests, strict=True):
        t_p = None if t.p is None else next(tested)
        compared.append(Comparison(run, name, difference, p, t.seeds, t.difference, t_p))
    return compared


def comparison_table(compared: Sequence[Comparison]) -> Table:
    """One row a run, the published row under them."""
    rows = []
    for c in compared:
        scores = [np.array([r["test"][key] for r in c.run.results]) for key in MEASURES]
        spread = f"{scores[1].std(ddof=1):.2f}" if len(scores[1]) > 1 else ""
        accuracy, weighted, macro = (f"{s.mean():.2f}" for s in scores)
        row = [c.name, str(len(c.run.seeds)), accuracy, weighted, spread, macro]
        if c.bootstrap is None:
            row += ["reference", "", "", ""]
        else:
            d = c.bootstrap
            row += [f"{d.difference:+.2f}", f"{d.low:+.2f} to {d.high:+.2f}", p_text(c.bootstrap_p)]
            row += [f"{p_text(c.t_p)} ({c.seeds})" if c.t_p is not None else ""]
        rows.append(row)
    columns = ["run", "seeds", "accuracy", "W-F1", "deviation", "macro-F1"]
    columns += ["difference", "95 % interval", "p (bootstrap)", "p (paired t)"]
    conversations = len(set(compared[0].run.conversations))
    comparisons = f"{len(compared) - 1} comparison{'s' * (len(compared) > 2)}"
    notes = [
        "Test split, percent; mean over seeds, and deviation of the W-F1 over seeds. "
        f"Differences are in points of W-F1 against {compared[0].name}.",
        f"Interval and first p: bootstrap over {conversations} test conversations, {RESAMPLES} resamples. Second p: "
        f"paired t test over common seeds (their number). Both p are Holm-corrected, the first for {comparisons}, the "
        f"second for {sum(c.t_p is not None for c in compared)}; intervals are not corrected. The first knows nothing "
        "of the spread over seeds: where a run has one seed, that is left out of account.",
    ]
    encoders = {encoder_name(c.run.record["data"]["source"]) for c in compared}
    for encoder in sorted(encoders):
        mine = [c.name for c in compared if encoder_name(c.run.record["data"]["source"]) == encoder]
        notes.append(
            f"Features of {', '.join(mine)}: {encoder}." if len(encoders) > 1 else f"Features here: {encoder}."
        )
    for row, remarks in _published(compared):
        rows.append([row[0], "", row[1], row[2], "", row[3], "", "", "", ""])
        notes += [r for r in remarks if r not in notes]
    title = f"{compared[0].run.record['data']['corpus']}: {len(compared)} runs compared"
    return Table(title, columns, rows, notes)


def comparison_record(compared: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The same as plain data, for a program."""
    return [
        {
            "run": str(c.run.folder),
            "name": c.name,
            "seeds": [s.seed for s in c.run.seeds],
            **{key: float(np.mean([r["test"][key] for r in c.run.results])) for key in MEASURES},
            "difference": None if c.bootstrap is None else c.bootstrap._asdict() | {"p_holm": c.bootstrap_p},
            "paired_t": None if c.t_p is None else {"seeds": c.seeds, "difference": c.t_difference, "p_holm": c.t_p},
        }
        for c in compared
    ]


def aligned_predictions(reference: Run, run: Run) -> np.ndarray:
    """Predictions of a run, shape (seeds, utterances), in the order of the reference's utterances.

    Raises:
        RunError: it was tested on other utterances, or by other labels.
    """
    places = {key: i for i, key in enumerate(run.keys)}
    same = run.labels == reference.labels and places.keys() == set(reference.keys)
    order = [places[key] for key in reference.keys] if same else []
    if not same or not np.array_equal(run.gold[order], reference.gold):
        raise RunError(
            f"its test utterances or labels are not those of {reference.folder}",
            where=str(run.folder),
            remedy="Compare runs on one data set",
        )
    return np.stack([s.predicted[order] for s in run.seeds])


def intervals(run: Run) -> dict[str, Interval]:
    """Accuracy, W-F1 and macro-F1 of a run, mean over seeds, each with its 95 % interval over test conversations."""
    predicted = np.stack([s.predicted for s in run.seeds])
    generator = np.random.default_rng(DRAWS)
    return dict(
        bootstrap_interval(
            run.gold, predicted, run.conversations, len(run.labels), generator=generator, resamples=RESAMPLES
        )
    )


def p_text(p: float | None) -> str:
    """A p value as text; what is below a thousandth is said to be so."""
    return "" if p is None else "<.001" if p < 0.001 else f"{p:.3f}"


@dataclass(frozen=True, slots=True)
class _Tested:
    seeds: int
    difference: float | None = None
    p: float | None = None


def _t(reference: Run, run: Run) -> _Tested:
    """The paired t test over the seeds that both runs have."""
    theirs = {r["seed"]: r["test"]["weighted_f1"] for r in reference.results}
    common = [r for r in run.results if r["seed"] in theirs]
    if len(common) < 2:
        return _Tested(len(common))
    difference, p = paired_t([r["test"]["weighted_f1"] for r in common], [theirs[r["seed"]] for r in common])
    return _Tested(len(common), difference, p)


def _published(compared: Sequence[Comparison]) -> list[tuple[list[str], list[str]]]:
    """Published rows of the runs' recipes, each source once."""
    recipes = {c.run.recipe.published.source: c.run.recipe for c in compared if c.run.recipe.published is not None}
    return [(row, notes) for recipe in recipes.values() for rows, notes in [published_rows(recipe)] for row in rows]
