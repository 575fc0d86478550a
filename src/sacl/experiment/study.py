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
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sacl.aside import reason, remedy, removed
from sacl.errors import RunError, SaclError
from sacl.experiment.data import RunData
from sacl.experiment.digests import check_first_line, with_digest, with_first_line, without_digest
from sacl.experiment.lock import HOLDER_FILE, LOCK_FILE, held, require_free
from sacl.experiment.pruned import read_pruned
from sacl.experiment.recipe import Recipe, dump_recipe, load_recipe
from sacl.experiment.run import is_complete, read_result, write_aside
from sacl.experiment.tasks import RunTasks, SeedProgress, Sources, Task, run_here
from sacl.model.build import model_class

RECIPE_FILE, RECORD_FILE = "recipe.yaml", "run.json"


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
    run_tasks: RunTasks | None = None,
    processes: int = 1,
) -> list[dict[str, Any]]:
    """Trains every seed of a recipe; `jobs` of them at a time, by default as many as there are cores for.

    Args:
        recipe: its `seeds` are trained.
        folder: the run directory; it must be new unless `resume`.
        data, features, cache: see `load_run_data`.
        resume: continue a run that was cut off; completed seeds are kept.
        jobs: processes. They import the script that calls this: there, call it under `if __name__ == "__main__"`.
        on_epoch: given a seed's name and each of its epochs' figures.
        on_encode: told of the encoding.
        run_tasks: by default processes of this machine.
        processes: how many `run_tasks` has train each seed together, for the record.

    Returns:
        The seeds' results, in the recipe's order.

    Raises:
        RunError: the folder holds another run, or another process works on it.
        SaclError: whatever a seed meets.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from sacl import load_corpus, load_recipe, study, write_store
    >>> corpus = load_corpus("sample")
    >>> vectors = {"mine": np.random.default_rng(0).normal(size=(sum(1 for _ in corpus.utterances()), 8))}
    >>> recipe = load_recipe("sample", ["seeds=[7]", "training.epochs=1"])
    >>> with TemporaryDirectory() as home:
    ...     store = write_store(f"{home}/vectors", corpus, vectors, {"made by": "chance"})
    ...     [result] = study(recipe, Path(home) / "run", features=Path(home) / "vectors")
    >>> result["seed"], sorted(result["test"])
    (7, ['accuracy', 'f1', 'loss', 'macro_f1', 'support', 'weighted_f1'])
    """
    sources = Sources(data, features, cache)
    return studies(
        [(recipe, folder)],
        sources,
        resume=resume,
        jobs=jobs,
        on_epoch=on_epoch,
        on_encode=on_encode,
        run_tasks=run_tasks,
        processes=processes,
    )[0]


def studies(
    plans: Sequence[tuple[Recipe, Path]],
    sources: Sources,
    *,
    resume: bool = False,
    jobs: int | None = None,
    score_test: bool = True,
    on_epoch: SeedProgress | None = None,
    on_encode: Callable[[str, int, int], None] | None = None,
    run_tasks: RunTasks | None = None,
    processes: int = 1,
) -> list[list[dict[str, Any]]]:
    """Several recipes, each with its run directory: all their seeds side by side. See `study`.

    Args:
        plans: recipes and their folders.
        score_test: False leaves the test split alone, for settings that are chosen on validation.

    Returns:
        A list a plan; of a seed that was given up, what `read_pruned` gives.
    """
    for recipe, _ in plans:
        # Before anything is encoded: a model's name may be misspelt.
        model_class(recipe.model.kind)
    with ExitStack() as locks:
        tasks = []
        loaded: dict[str, RunData] = {}
        for recipe, folder in plans:
            locks.enter_context(_opened(folder, resume))
            key = recipe.model_dump_json(include={"data", "features"})
            if key not in loaded:
                loaded[key] = sources.load(recipe, recipe.seeds[0], on_encode)
            _record(folder, recipe, loaded[key], sources, processes)
            tasks += [Task(recipe, seed, seed_folder(folder, seed), sources, score_test) for seed in recipe.seeds]
        todo = [task for task in tasks if not is_complete(task.folder)]
        (run_tasks or run_here)(todo, jobs, on_epoch)
        return [[_outcome(seed_folder(folder, seed)) for seed in recipe.seeds] for recipe, folder in plans]


def _outcome(folder: Path) -> dict[str, Any]:
    pruned = None if is_complete(folder) else read_pruned(folder)
    return read_result(folder) if pruned is None else pruned


def open_study(folder: Path) -> tuple[Recipe, dict[str, Any]]:
    """Recipe and record of a run directory.

    Raises:
        RunError: it is none.
    """
    path = folder / RECORD_FILE
    try:
        record = without_digest(dict(json.loads(path.read_text(encoding="utf-8"))))
    except OSError as error:
        raise RunError("it is no run directory", where=str(folder), remedy="Name one that `sacl train` made") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise RunError(
            "it is damaged", where=str(path), remedy="Delete it, and --resume the run: it is written anew"
        ) from error
    return _recipe_of(folder), record


def _recipe_of(folder: Path) -> Recipe:
    check_first_line(folder / RECIPE_FILE)
    return load_recipe(str(folder / RECIPE_FILE), trust_code=True)  # nothing is built of it


@contextmanager
def _opened(folder: Path, resume: bool) -> Iterator[None]:
    fresh = _is_fresh(folder)
    if not fresh and not resume:
        require_free(folder)
        raise RunError(
            "the folder is not empty",
            where=str(folder),
            remedy="Continue what is in it with --resume, or give another --out",
        )
    with held(folder):
        try:
            yield
        except SaclError:
            if fresh:
                _take_back(folder)
            raise


def _is_fresh(folder: Path) -> bool:
    """Whether there is nothing but what a run leaves that was killed before it began."""
    try:
        names = {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return True
    except OSError as error:
        raise RunError(f"it cannot be written ({reason(error)})", where=str(folder), remedy=remedy(error)) from error
    begun = {LOCK_FILE, HOLDER_FILE, RECORD_FILE}
    sides = tuple(f".{name}." for name in (RECORD_FILE, RECIPE_FILE))
    return not names or (LOCK_FILE in names and all(name in begun or name.startswith(sides) for name in names))


def _take_back(folder: Path) -> None:
    """Removes a run that failed before its first epoch was done, so that the mended command finds the folder empty."""
    if any(folder.glob("seed-*/*.safetensors")):
        return
    # The lock last: without it another process may begin here.
    names = (RECIPE_FILE, RECORD_FILE, HOLDER_FILE, LOCK_FILE)
    for made in (*folder.glob("seed-*"), *(folder / name for name in names)):
        removed(made)
    with suppress(OSError):  # there is more in it
        folder.rmdir()


def _record(folder: Path, recipe: Recipe, data: RunData, sources: Sources, processes: int) -> None:
    """Writes recipe and record, or, where they are there, sees to it that they are the same."""
    if (folder / RECIPE_FILE).exists():
        earlier = _recipe_of(folder)
        if earlier.model_dump(exclude={"seeds"}) != recipe.model_dump(exclude={"seeds"}):
            raise RunError(
                f"it was begun with other settings ({_first_difference(earlier.model_dump(), recipe.model_dump())})",
                where=str(folder),
                remedy="Resume with the same settings, or give another --out",
            )
        # A run keeps the seeds it has: asking for some of them again, or for more, takes none away.
        recipe = recipe.model_copy(update={"seeds": list(dict.fromkeys([*earlier.seeds, *recipe.seeds]))})
        # A record that was damaged, and deleted as `open_study` advises, is written anew.
        if (folder / RECORD_FILE).exists() and open_study(folder)[1].get("data") != data.identity():
            raise RunError(
                "it was begun on other data or features", where=str(folder), remedy="Give the same, or another --out"
            )
    record = {
        "format_version": 1,
        "data": data.identity(),
        "data_folder": None if sources.data is None else str(sources.data.resolve()),
        "features_folder": None if sources.features is None else str(sources.features.resolve()),
        "versions": {name: version(name) for name in ("sacl", "torch", "numpy", "transformers")},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "processes": processes,
        "launcher": launcher(),
        "commit": _commit(),
    }
    write_aside(folder / RECORD_FILE, json.dumps(with_digest(record), indent=1))
    # Last, so that a recipe's existence means that the record is there.
    write_aside(folder / RECIPE_FILE, with_first_line(dump_recipe(recipe)))


def launcher() -> str | None:
    """The `torchrun` that started this process: its machine, number and start. None where none did."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    stat = Path(f"/proc/{os.getppid()}/stat")
    started = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[19] if stat.exists() else ""
    return f"{platform.node()} {os.getppid()} {started}".rstrip()


def _first_difference(a: Any, b: Any, name: str = "") -> str:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a | b:
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
