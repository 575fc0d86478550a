"""The seeds of a recipe one after another, each trained by all the processes that `torchrun` started.

The first process has the run directory, as if it were alone; the others train the seeds that it names, and write
nothing. Whatever starts them starts them all again if one is lost: they go on from the first one's checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from sacl.errors import RunError, SaclError
from sacl.experiment.recipe import Recipe
from sacl.experiment.study import launcher, open_study, seed_folder
from sacl.experiment.tasks import RunTasks, SeedProgress, Sources, Task
from sacl.training.processes import Processes


def leading(processes: Processes) -> RunTasks:
    """How the first process runs the tasks of one recipe, for `study`."""

    def run(tasks: Sequence[Task], jobs: int | None = None, on_epoch: SeedProgress | None = None) -> None:
        refuse_jobs(jobs, f"{processes.size} processes", "Leave it out under torchrun, or train without torchrun")
        processes.told([task.seed for task in tasks])
        for task in tasks:
            task.run(None if on_epoch is None else partial(on_epoch, task.name), processes)

    return run


def follow(recipe: Recipe, run: Path, sources: Sources, processes: Processes) -> None:
    """What the other processes do meanwhile.

    Raises:
        SaclError: what a seed meets. OthersLost: the first process has ended.
    """
    for seed in processes.told(None):
        Task(recipe, seed, seed_folder(run, seed), sources).run(processes=processes)


def refuse_jobs(jobs: int | None, all_: str, remedy: str) -> None:
    """Raises a RunError where several seeds are asked for at a time, of which `all_` of some train each."""
    if jobs is not None and jobs > 1:
        raise RunError(f"{jobs} seeds at a time, of which all {all_} train each", where="--jobs", remedy=remedy)


def restarted(run: Path) -> bool:
    """Whether `torchrun` has started these processes again after one was lost, and it was they who began the run.

    Where they were refused a run that was there before, `torchrun` starts them again too.
    """
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return False
    try:
        return open_study(run)[1].get("launcher") == launcher()
    except SaclError:
        return False
