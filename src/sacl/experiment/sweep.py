"""Settings chosen on validation: every point of a grid is trained, the test split stays untouched."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacl.errors import RecipeError
from sacl.experiment.recipe import Recipe, parse_recipe, parse_value, with_settings


def released_grid(recipe: Recipe) -> dict[str, list[Any]]:
    """The grid of the released scripts, 864 points; on EmoryNLP, whose epsilon is 0.5, half as many.

    Which point gave a published row is not known. A share of 0 for both channels perturbs both at once.
    """
    return {
        "objective.temperature": [0.1, 0.5, 1.0],
        "objective.contrastive_weight": [0.05, 0.1, 0.5],
        "objective.adversarial_contrastive_weight": [0.05, 0.1, 0.5],
        "objective.adversary.rate": [0.1, 1.0],
        "objective.adversary.epsilon": [0.5] if recipe.data.name == "emorynlp" else [1.0, 5.0],
        "objective.focal_gamma": [0.0, 1.0],
        "objective.adversary.shares": [
            {"context": context, "speaker": speaker} for context in (0.0, 0.1) for speaker in (0.0, 0.1)
        ],
    }


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a grid: its settings, recipe and run directory."""

    settings: Mapping[str, Any]
    recipe: Recipe
    folder: Path


def parse_grid(texts: Sequence[str]) -> dict[str, list[Any]]:
    """`["training.learning_rate=1e-4,5e-4"]` -> values by key.

    Raises:
        RecipeError: no key, or no values.
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not key or not equals or not values.strip():
            raise RecipeError(f"{text!r} is no grid", where="--grid", remedy="Write key=value,value")
        value = parse_value(f"[{values}]", f"--grid {text}")
        grid[key] = list(value)
    return grid


def grid_points(recipe: Recipe, folder: Path, grid: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Every combination, each with a run directory named after its place in the grid and its settings.

    Raises:
        RecipeError: a setting that the recipe does not have, or a value out of its range.
    """
    points = []
    for i, values in enumerate(itertools.product(*grid.values())):
        settings = dict(zip(grid, values, strict=True))
        name = f"{recipe.name}-{i:03d}"
        content = with_settings(recipe.model_dump(), settings | {"name": name})
        points.append(Point(settings, parse_recipe(content, f"grid point {settings}"), folder / name))
    return points


def ranked(points: Sequence[Point], results: Sequence[Sequence[Mapping[str, Any]]]) -> list[tuple[Point, float, float]]:
    """Points with mean and deviation of validation W-F1 over seeds, the best first; those given up after all others.

    The deviation is 0 for one seed.
    """
    figures = []
    for point, seeds in zip(points, results, strict=True):
        values = [r["valid"]["weighted_f1"] for r in seeds]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        figures.append((len(pruned_after(seeds)), point, statistics.fmean(values), deviation))
    return [figure[1:] for figure in sorted(figures, key=lambda f: (f[0], -f[2]))]


def pruned_after(seeds: Sequence[Mapping[str, Any]]) -> list[int]:
    """The epochs after which seeds of a point were given up; none where all were trained to their end."""
    return [r["pruned"] for r in seeds if "pruned" in r]
