"""One seed of a recipe as a task for a worker, and the processes of this machine that work on such tasks."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any

from sacl.errors import RunError
from sacl.experiment.data import RunData, load_run_data
from sacl.experiment.recipe import Recipe
from sacl.experiment.run import METRICS_FILE, remove_unfinished, run_seed
from sacl.training.processes import Processes

_INTERRUPTS = {signal.SIGINT, signal.SIGTERM}
SeedProgress = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where data and vectors are found; see `load_run_data`."""

    data: Path | None = None
    features: Path | None = None
    cache: Path | None = None

    def load(self, recipe: Recipe, seed: int, progress: Callable[[str, int, int], None] | None = None) -> RunData:
        """Corpus and vectors of one seed."""
        return load_run_data(recipe, seed, data=self.data, features=self.features, cache=self.cache, progress=progress)


@dataclass(frozen=True, slots=True)
class Task:
    """One seed of one recipe: what a worker is given."""

    recipe: Recipe
    seed: int
    folder: Path
    sources: Sources
    score_test: bool = True

    @property
    def name(self) -> str:
        """How progress names it."""
        return f"{self.recipe.name}, seed {self.seed}"

    def run(
        self, on_epoch: Callable[[dict[str, Any]], None] | None = None, processes: Processes | None = None
    ) -> dict[str, Any]:
        """Trains it; see `run_seed`."""
        data = self.sources.load(self.recipe, self.seed)
        return run_seed(self.recipe, self.seed, self.folder, data, on_epoch, self.score_test, processes)


RunTasks = Callable[[Sequence[Task], int | None, SeedProgress | None], None]
"""How tasks are run, so many at a time, with progress: `run_here`, `sacl.experiment.together`, or on Ray."""


def run_here(tasks: Sequence[Task], jobs: int | None = None, on_epoch: SeedProgress | None = None) -> None:
    """Trains tasks on this machine, so many at a time; by default as many as there are cores for."""
    threads = max((task.recipe.training.threads for task in tasks), default=1)
    jobs = min(jobs or max(1, (os.cpu_count() or 1) // threads), len(tasks))
    if jobs > 1:
        _side_by_side(tasks, jobs, on_epoch)
    else:
        for task in tasks:
            task.run(None if on_epoch is None else partial(on_epoch, task.name))


def _side_by_side(tasks: Sequence[Task], jobs: int, on_epoch: SeedProgress | None) -> None:
    """Each seed in one of `jobs` processes; their progress is read from the metrics files that they write."""
    read = dict.fromkeys(range(len(tasks)), 0)
    earlier = set(active_children())
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin_worker) as pool:
        try:
            with _unheard():
                waiting: set[Future[Any]] = {pool.submit(task.run) for task in tasks}
            while waiting:
                done, waiting = wait(waiting, timeout=0.3)
                if on_epoch is not None:
                    report_epochs(tasks, read, on_epoch)
                for future in done:
                    future.result()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in set(active_children()) - earlier:
                worker.kill()  # they do not heed SIGTERM
                worker.join()
            for task in tasks:
                remove_unfinished(task.folder)
            if isinstance(error, BrokenProcessPool):
                raise RunError(
                    "a process that trained a seed was killed, perhaps for lack of memory",
                    remedy="Continue with --resume, and --jobs 1",
                ) from error
            raise


@contextmanager
def _unheard() -> Iterator[None]:
    """Processes that are started inside never hear Ctrl-C, nor SIGTERM; here they are answered after the block.

    They reach every process of a terminal or a service: the parent alone answers them. It cannot be left to the
    workers, which take seconds before they could.
    """
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _begin_worker() -> None:
    """A worker ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A killed parent cannot stop its workers. One that went on would write beside those of the run that resumes.
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def report_epochs(tasks: Sequence[Task], read: dict[int, int], on_epoch: SeedProgress) -> None:
    """Tells of the epochs that tasks have written since they were `read` last, by position the number of lines."""
    for i, task in enumerate(tasks):
        try:
            text = (task.folder / METRICS_FILE).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        complete = text.split("\n")[:-1]
        for line in complete[read[i] :]:
            try:
                figures = json.loads(line)
            except (ValueError, RecursionError):
                continue  # the disk's fault, of which whoever reads the complete run is told
            on_epoch(task.name, figures)
        read[i] = max(read[i], len(complete))
