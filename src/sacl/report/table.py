"""Tables of results: rows of text, made once, shown by whoever wants to."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sacl.experiment.recipe import Figures, Recipe, retuned

MEASURES = {"accuracy": "accuracy", "weighted_f1": "W-F1", "macro_f1": "macro-F1"}


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first column is a name, the others are numbers. `notes` stand under it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def seed_table(recipe: Recipe, results: Sequence[dict[str, Any]], encoder: str, split: str = "test") -> Table:
    """One row a seed, mean and deviation, and the published row beside them with its encoder named."""
    rows = [
        [
            f"seed {r['seed']}",
            *(_number(r[split][key]) for key in MEASURES),
            _number(r["valid"]["weighted_f1"]),
            str(r["epoch"]),
        ]
        for r in results
    ]
    if len(results) > 1:
        rows.append(
            [
                "mean",
                *(_mean([r[split][key] for r in results]) for key in MEASURES),
                _mean([r["valid"]["weighted_f1"] for r in results]),
                "",
            ]
        )
        rows.append(
            [
                "deviation",
                *(_deviation([r[split][key] for r in results]) for key in MEASURES),
                _deviation([r["valid"]["weighted_f1"] for r in results]),
                "",
            ]
        )
    # The published row is one of the test split.
    published, notes = published_rows(recipe) if split == "test" else ([], [])
    rows += [[*row, "", ""] for row in published]
    # Named by its data: the settings of one data set may be trained on another.
    corpus = results[0]["data"]["corpus"]
    columns = [corpus, *MEASURES.values(), "valid W-F1", "epoch"]
    title = f"{corpus}, recipe {recipe.name}: {split} split, percent"
    other = retuned(recipe, str(results[0]["data"]["source"].get("name")))
    if other is not None:
        notes = [*notes, f"The settings of {recipe.name} were tuned for other features; those of {other}, for these."]
    return Table(title, columns, rows, [f"Features here: {encoder}.", *notes])


def published_rows(recipe: Recipe) -> tuple[list[list[str]], list[str]]:
    """Name, accuracy, W-F1 and macro-F1 of the published row, if there is one, and notes that name its encoder."""
    if recipe.published is None:
        return [], []
    rows = [["published, mean", *_published(recipe.published.mean)]]
    if recipe.published.one_seed is not None:
        rows.append(["published, one seed", *_published(recipe.published.one_seed)])
    encoder = f"Published with: {recipe.published.encoder}. Other features give other figures."
    return rows, [encoder, recipe.published.source]


def class_table(recipe: Recipe, results: Sequence[dict[str, Any]], split: str = "test") -> Table:
    """F1 by class: mean and deviation over seeds, the published figures beside them."""
    published = recipe.published.mean.f1 if recipe.published is not None and split == "test" else {}
    rows = []
    for i, label in enumerate(results[0]["labels"]):
        values = [r[split]["f1"][i] for r in results]
        row = [label, str(results[0][split]["support"][i]), _mean(values)]
        row += [_deviation(values)] if len(values) > 1 else []
        rows.append(row + ([_number(published[label]) if label in published else ""] if published else []))
    columns = ["F1 by class", "utterances", "mean" if len(results) > 1 else "F1"]
    columns += ["deviation"] * (len(results) > 1) + ["published"] * bool(published)
    notes = [f"Features here: {encoder_name(results[0]['data']['source'])}.", *published_rows(recipe)[1]]
    return Table("F1 by class, percent", columns, rows, notes if published else [])


def encoder_name(source: dict[str, Any]) -> str:
    """How a table names what made the features."""
    name = str(source.get("name", "unknown"))
    return "MiniLM (all-MiniLM-L6-v2, frozen, 384 numbers an utterance)" if name == "minilm" else name


def _published(figures: Figures) -> list[str]:
    return ["" if getattr(figures, key) is None else _number(getattr(figures, key)) for key in MEASURES]


def _number(value: float) -> str:
    return f"{value:.2f}"


def _mean(values: Sequence[float]) -> str:
    return _number(statistics.fmean(values))


def _deviation(values: Sequence[float]) -> str:
    """Sample deviation over seeds."""
    return _number(statistics.stdev(values))
