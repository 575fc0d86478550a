"""The models of a run, read back from their files, and scored again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sacl.errors import RunError
from sacl.experiment.data import RunData, load_run_data
from sacl.experiment.run import read_result, reproducible, score_split, torch_threads
from sacl.experiment.study import open_study, seed_folder
from sacl.training.trained import TrainedModel


def load_seed(
    run: Path,
    seed: int,
    *,
    data: Path | None = None,
    cache: Path | None = None,
    trust_code: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[TrainedModel, RunData]:
    """One seed's model, and the data that it was trained on.

    Args:
        run: the run directory.
        seed: a completed one.
        data: the data set's folder; by default the one that the run was trained on.
        cache, progress: see `load_run_data`.
        trust_code: see `TrainedModel.load`.

    Raises:
        RunError: no run directory, a seed that is not complete, or data that have changed since.
    """
    recipe, record = open_study(run)
    result = read_result(seed_folder(run, seed))
    # The model first: where it is gone there is no need to encode anything.
    trained = TrainedModel.load(seed_folder(run, seed), trust_code=trust_code)
    folders = {key: Path(str(record[key])) if record.get(key) else None for key in ("data_folder", "features_folder")}
    given = load_run_data(
        recipe,
        seed,
        data=data or folders["data_folder"],
        features=folders["features_folder"],
        cache=cache,
        progress=progress,
    )
    if given.identity() != result["data"]:
        raise RunError(
            "its data or features are not those that it was trained on", where=str(run), remedy="Give the same data"
        )
    return trained, given


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
        data, cache, trust_code, progress: see `load_seed`.

    Returns:
        The seeds' results, with the split's figures under its name.

    Raises:
        RunError: see `load_seed`.
    """
    recipe, _ = open_study(run)
    results = []
    for seed in recipe.seeds:
        trained, given = load_seed(run, seed, data=data, cache=cache, trust_code=trust_code, progress=progress)
        with reproducible(torch_threads(recipe)):
            scored = score_split(trained, recipe, given, split)
        result = read_result(seed_folder(run, seed))
        results.append(result | {split: {"loss": scored.loss, **scored.scores.to_dict()}})
    return results
