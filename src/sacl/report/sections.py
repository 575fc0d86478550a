"""The sections of a report that a run directory alone gives: figures, classes, learning, confusion, provenance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from sacl.evaluation.significance import Interval
from sacl.metrics import confusion, micro_f1
from sacl.report import figures
from sacl.report.compare import RESAMPLES, Comparison, comparison_table, intervals
from sacl.report.document import Drawing, Headline, Part, Section
from sacl.report.runs import Run
from sacl.report.table import MEASURES, Table, class_table, encoder_name, published_rows, seed_table

NO_EMOTION = "no_emotion"
"""Where a data set has this label (DailyDialog), the field's headline is micro-F1 over the others."""


def headline(run: Run, found: Mapping[str, Interval]) -> Headline:
    """Test W-F1 with its interval, the published figure beside it."""
    main = found["weighted_f1"]
    seeds, published = len(run.seeds), run.recipe.published
    about = (
        f"Test split of {run.record['data']['corpus']}: {int(run.labelled.sum())} utterances of "
        f"{len(set(run.conversations))} conversations, mean of {seeds} seed{'s' * (seeds > 1)}. "
        f"Features: {encoder_of(run)}."
    )
    beside = ""
    if published is not None and published.mean.weighted_f1 is not None:
        beside = (
            f"Published: {published.mean.weighted_f1:.2f}, with {published.encoder}. Other features give other figures."
        )
    return Headline("weighted F1", main.value, main.low, main.high, about, beside)


def interval_table(run: Run, found: Mapping[str, Interval], beside: bool = True) -> Table:
    """Accuracy, W-F1 and macro-F1 with their intervals over test conversations, the published figures beside them."""
    published, notes = published_rows(run.recipe) if beside else ([], [])
    columns = ["measure", "mean", "low", "high", *(row[0] for row in published)]
    rows = [
        [title, *(f"{x:.2f}" for x in found[key]), *(row[i] for row in published)]
        for i, (key, title) in enumerate(MEASURES.items(), start=1)
    ]
    about = f"95 % percentile bootstrap over {len(set(run.conversations))} test conversations, {RESAMPLES} resamples."
    spread = "It tells how much depends on these conversations; the spread over seeds is not in it."
    micro = [_micro_note(run)] if NO_EMOTION in run.labels else []
    features = [f"Features here: {encoder_of(run)}."] if beside else []
    return Table("Intervals, percent", columns, rows, [f"{about} {spread}", *micro, *features, *notes])


def tables(run: Run) -> list[Table]:
    """What Markdown, LaTeX and plain text hold: seeds, intervals, classes."""
    return [
        seed_table(run.recipe, run.results, encoder_of(run)),
        interval_table(run, intervals(run)),
        class_table(run.recipe, run.results),
    ]


def result_section(run: Run, name: str) -> Section:
    """Headline, seeds, intervals."""
    found = intervals(run)
    parts: list[Part] = [
        headline(run, found),
        seed_table(run.recipe, run.results, encoder_of(run)),
        interval_table(run, found),
    ]
    return Section(f"{name}-results", "Results", parts)


def class_section(run: Run, name: str) -> Section:
    """F1 by class, as a figure and as a table."""
    values = np.array([r["test"]["f1"] for r in run.results])
    published = {} if run.recipe.published is None else dict(run.recipe.published.mean.f1)
    means = values.mean(axis=0)
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(means)
    drawn = figures.class_f1(run.labels, means, spread, published)
    caption = "F1 by class on the test split" + (", mean and one standard deviation over seeds" * (len(values) > 1))
    if run.recipe.published is not None and published:
        caption += f"; diamonds: published, with {run.recipe.published.encoder}"
    words = "; ".join(f"{label} {mean:.1f}" for label, mean in zip(run.labels, means, strict=True))
    parts: list[Part] = [
        Drawing(f"{name}-class-f1", drawn, caption + ".", f"F1 by class, percent: {words}."),
        class_table(run.recipe, run.results),
    ]
    return Section(f"{name}-classes", "F1 by class", parts)


def learning_section(run: Run, name: str) -> Section:
    """Losses and validation W-F1 by epoch."""
    epochs = [s.result["epoch"] for s in run.seeds]
    drawn = figures.learning_curves([s.seed for s in run.seeds], [s.history for s in run.seeds], epochs)
    by = {"loss": "least validation loss", "weighted_f1": "best validation W-F1"}[run.recipe.training.select]
    contrastive = run.recipe.objective.contrastive_weight > 0
    alone = "" if run.recipe.training.monitor_test else ", the only one that was scored on the test split"
    caption = (
        f"Learning, one line a seed; rings: the epoch with the {by}{alone}."
        + " The training loss holds the contrastive term, the validation loss does not." * contrastive
    )
    picked = "; ".join(f"seed {s.seed}: epoch {s.result['epoch']} of {s.result['epochs']}" for s in run.seeds)
    description = f"Training loss, validation loss and validation W-F1 by epoch. Selected: {picked}."
    return Section(f"{name}-learning", "Learning", [Drawing(f"{name}-learning-curves", drawn, caption, description)])


def confusion_matrix(run: Run) -> np.ndarray:
    """Mean over seeds, shape (emotions, emotions), label by prediction."""
    known = run.labelled
    counts = [confusion(run.gold[known], s.predicted[known], len(run.labels)) for s in run.seeds]
    return np.asarray(np.mean(counts, axis=0))


def confusion_drawing(run: Run, name: str) -> Drawing:
    """The row-normalised confusion matrix."""
    matrix = confusion_matrix(run)
    shares = 100 * matrix.diagonal() / np.maximum(matrix.sum(axis=1), 1e-12)
    words = "; ".join(f"{label} {share:.0f}" for label, share in zip(run.labels, shares, strict=True))
    caption = (
        "Confusion on the test split: of the utterances with a label (row), the percentage given each emotion (column)"
    )
    return Drawing(
        f"{name}-confusion",
        figures.confusion(run.labels, matrix),
        caption + (", mean over seeds." if len(run.seeds) > 1 else "."),
        f"Confusion matrix. Percentage of each label that is recognised: {words}.",
    )


def provenance_section(run: Run, name: str) -> Section:
    """Everything that it takes to make the run again."""
    record = run.record
    data = record["data"]
    rows = [
        ["recipe", run.recipe.name],
        ["description", run.recipe.description],
        ["data set", data["corpus"]],
        ["data, SHA-256", data["fingerprint"]],
        ["features, SHA-256", data["features"]],
        *[[f"encoder, {key}", _plain(value)] for key, value in data["source"].items() if value is not None],
        ["commit", record.get("commit") or "not known"],
        *[[f"version of {key}", str(value)] for key, value in (record.get("versions") or {}).items()],
        ["Python", str(record.get("python", "not known"))],
        ["machine", str(record.get("machine", "not known"))],
        ["seconds a seed", ", ".join(f"{r['seconds']:.0f}" for r in run.results)],
    ]
    settings = [[key, _plain(value)] for key, value in _flat(run.recipe.model_dump(exclude=_ELSEWHERE))]
    parts: list[Part] = [
        Table("Origin", ["what", "value"], rows),
        Table("Settings, as resolved", ["setting", "value"], settings),
    ]
    if run.recipe.departures:
        parts.append("Departures from the source: " + "; ".join(run.recipe.departures) + ".")
    return Section(f"{name}-provenance", "Provenance", parts)


def comparison_section(compared: list[Comparison]) -> Section:
    """Table and figure of several runs."""
    reference, *others = compared
    found = [(c.name, c.bootstrap) for c in others if c.bootstrap is not None]
    drawn = figures.differences(
        [name for name, _ in found],
        [d.difference for _, d in found],
        [d.low for _, d in found],
        [d.high for _, d in found],
        reference.name,
    )
    words = "; ".join(f"{name} {d.difference:+.2f} ({d.low:+.2f} to {d.high:+.2f})" for name, d in found)
    caption = f"Test W-F1 minus that of {reference.name}, mean over seeds, with 95 % bootstrap intervals."
    description = f"Difference of W-F1 to {reference.name}, with interval: {words}."
    return Section(
        "comparison",
        "Differences",
        [comparison_table(compared), Drawing("comparison-differences", drawn, caption, description)],
    )


def encoder_of(run: Run) -> str:
    """What made the run's features."""
    return encoder_name(run.record["data"]["source"])


_ELSEWHERE = {"name", "description", "published", "departures"}


def _micro_note(run: Run) -> str:
    known = run.labelled
    without = [run.labels.index(NO_EMOTION)]
    values = [micro_f1(run.gold[known], s.predicted[known], without) for s in run.seeds]
    return f"Micro-F1 without {NO_EMOTION}, mean over seeds: {np.mean(values):.2f}."


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as `section.key`, in order."""
    found: list[tuple[str, Any]] = []
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, value))
    return found


def _plain(value: Any) -> str:
    """A setting as YAML would have it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
