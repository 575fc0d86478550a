"""The models of a run, scored again from their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sacl.errors import RunError
from sacl.experiment.data import load_run_data
from sacl.experiment.run import read_result, reproducible, score_split
from sacl.experiment.study import open_study, seed_folder
from sacl.training.trained import TrainedModel


def evaluate_run(
    run: Path,
    split: str = "test",
    *,
    data: Path | None = None,
    cache: Path | None = None,
    trust_code: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Scores every completed seed of a run on a split.

    Args:
        run: the run directory.
        split: `train`, `valid` or `test`.
        data: the data set's folder; by default the one that the run was trained on.
        cache, progress: see `load_run_data`.
        trust_code: see `TrainedModel.load`.

    Returns:
        The seeds' results, with the split's figures under its name.

    Raises:
        RunError: no run directory, no completed seed, or data that have changed since.
    """
    recipe, record = open_study(run)
    kept = {key: record.get(key) for key in ("data_folder", "features_folder")}
    results = []
    for seed in recipe.seeds:
        folder = seed_folder(run, seed)
        result = read_result(folder)
        given = load_run_data(
            recipe,
            seed,
            data=data or (Path(kept["data_folder"]) if kept["data_folder"] else None),
            features=Path(kept["features_folder"]) if kept["features_folder"] else None,
            cache=cache,
            progress=progress,
        )
        if given.identity() != result["data"]:
            raise RunError(
                "its data or features are not those that it was trained on", where=str(run), remedy="Give the same data"
            )
        with reproducible(recipe.training.threads):
            scored = score_split(TrainedModel.load(folder, trust_code=trust_code), recipe, given, split)
        results.append(result | {split: {"loss": scored.loss, **scored.scores.to_dict()}})
    return results
