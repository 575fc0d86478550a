"""The seeds of a recipe, side by side, in one run directory.

    RUN/recipe.yaml            the recipe as resolved
    RUN/run.json               data and feature hashes, versions, commit: enough to rerun it
    RUN/seed-0/                see `run_seed`
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from sacl.errors import RunError
from sacl.experiment.data import RunData, load_run_data
from sacl.experiment.recipe import Recipe, load_recipe
from sacl.experiment.run import METRICS_FILE, read_result, run_seed, write_aside

RECIPE_FILE, RECORD_FILE = "recipe.yaml", "run.json"
SeedProgress = Callable[[int, dict[str, Any]], None]


def seed_folder(run: Path, seed: int) -> Path:
    """Where one seed of a run lies."""
    return run / f"seed-{seed}"


def study(
    recipe: Recipe,
    folder: Path,
    *,
    data: Path | None = None,
    features: Path | None = None,
    cache: Path | None = None,
    resume: bool = False,
    jobs: int | None = None,
    on_epoch: SeedProgress | None = None,
    on_encode: Callable[[str, int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Trains every seed of a recipe; `jobs` of them at a time, by default as many as there are cores for.

    Args:
        recipe: its `seeds` are trained.
        folder: the run directory; it must be new unless `resume`.
        data, features, cache: see `load_run_data`.
        resume: continue a run that was cut off; completed seeds are kept.
        jobs: processes.
        on_epoch: given a seed and each of its epochs' figures.
        on_encode: told of the encoding.

    Returns:
        The seeds' results, in the recipe's order.

    Raises:
        RunError: the folder holds another run, or another process works on it.
        SaclError: whatever a seed meets.
    """
    with _opened(folder, resume):
        first = load_run_data(recipe, recipe.seeds[0], data=data, features=features, cache=cache, progress=on_encode)
        _record(folder, recipe, first, data, features)
        todo = [seed for seed in recipe.seeds if not (seed_folder(folder, seed) / "result.json").exists()]
        jobs = min(jobs or max(1, (os.cpu_count() or 1) // recipe.training.threads), len(todo))
        paths = {"data": data, "features": features, "cache": cache}
        if jobs > 1:
            _side_by_side(recipe, folder, todo, jobs, paths, on_epoch)
        else:
            for seed in todo:
                given = first if recipe.data.validation != "by-seed" else load_run_data(recipe, seed, **paths)
                notify = None if on_epoch is None else (lambda figures, seed=seed: on_epoch(seed, figures))
                run_seed(recipe, seed, seed_folder(folder, seed), given, notify)
        return [read_result(seed_folder(folder, seed)) for seed in recipe.seeds]


def open_study(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    """Recipe and record of a run directory.

    Raises:
        RunError: it is none.
    """
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        return load_recipe(str(folder / RECIPE_FILE)), dict(record)
    except (OSError, ValueError) as error:
        raise RunError("it is no run directory", where=str(folder), remedy="Name one that `sacl train` made") from error


def _side_by_side(
    recipe: Recipe,
    folder: Path,
    seeds: Sequence[int],
    jobs: int,
    paths: dict[str, Path | None],
    on_epoch: SeedProgress | None,
) -> None:
    """Each seed in a process of its own; their progress is read from the metrics files that they write."""
    read = {seed: 0 for seed in seeds}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), max_tasks_per_child=None) as pool:
        futures = [pool.submit(_seed_in_process, recipe, seed, folder, paths) for seed in seeds]
        try:
            waiting: set[Future[None]] = set(futures)
            while waiting:
                done, waiting = wait(waiting, timeout=0.3)
                if on_epoch is not None:
                    _report(folder, read, on_epoch)
                for future in done:
                    future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise


def _seed_in_process(recipe: Recipe, seed: int, folder: Path, paths: dict[str, Path | None]) -> None:
    run_seed(recipe, seed, seed_folder(folder, seed), load_run_data(recipe, seed, **paths))


def _report(folder: Path, read: dict[int, int], on_epoch: SeedProgress) -> None:
    for seed, lines in read.items():
        try:
            text = (seed_folder(folder, seed) / METRICS_FILE).read_text(encoding="utf-8")
        except OSError:
            continue
        complete = text.split("\n")[:-1]
        for line in complete[lines:]:
            on_epoch(seed, json.loads(line))
        read[seed] = max(lines, len(complete))


@contextmanager
def _opened(folder: Path, resume: bool) -> Iterator[None]:
    from filelock import FileLock, Timeout

    if not resume and folder.exists() and any(folder.iterdir()):
        raise RunError(
            "the folder is not empty", where=str(folder), remedy="Continue what is in it with --resume, or give another --out"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        with lock:
            yield
    except Timeout:
        raise RunError(
            "another process works on this run", where=str(folder), remedy="Wait for it, or give another --out"
        ) from None
    except OSError as error:
        raise RunError(f"it cannot be written ({error.strerror})", where=str(folder), remedy="Give another --out") from error


def _record(folder: Path, recipe: Recipe, data: RunData, place: Path | None, features: Path | None) -> None:
    """Writes recipe and record, or, where they are there, sees to it that they are the same."""
    text = yaml.safe_dump(recipe.model_dump(), sort_keys=False, allow_unicode=True)
    if (folder / RECIPE_FILE).exists():
        earlier, record = open_study(folder)
        if earlier.model_dump(exclude={"seeds"}) != recipe.model_dump(exclude={"seeds"}):
            raise RunError(
                f"it was begun with other settings ({_first_difference(earlier.model_dump(), recipe.model_dump())})",
                where=str(folder),
                remedy="Resume with the same settings, or give another --out",
            )
        if record.get("data") != data.identity():
            raise RunError(
                "it was begun on other data or features", where=str(folder), remedy="Give the same, or another --out"
            )
    record = {
        "format_version": 1,
        "data": data.identity(),
        "data_folder": None if place is None else str(place.resolve()),
        "features_folder": None if features is None else str(features.resolve()),
        "versions": {name: version(name) for name in ("sacl", "torch", "numpy", "transformers")},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "commit": _commit(),
    }
    write_aside(folder / RECIPE_FILE, text)
    write_aside(folder / RECORD_FILE, json.dumps(record, indent=1))


def _first_difference(a: Any, b: Any, name: str = "") -> str:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            if a.get(key) != b.get(key) and (name or key != "seeds"):
                return _first_difference(a.get(key), b.get(key), f"{name}.{key}".lstrip("."))
    return f"{name} was {a!r}, and is {b!r}"


def _commit() -> str | None:
    """The commit of the source tree that runs, if it is one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
