"""Tasks of a study one after another, each trained by several workers of Ray Train together."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sacl import errors
from sacl.errors import RunError, SaclError
from sacl.experiment.lock import LOCK_FILE
from sacl.experiment.run import remove_unfinished
from sacl.experiment.tasks import SeedProgress, Task, report_epochs
from sacl.scale.cluster import LOCAL, connected
from sacl.scale.studies import RETRIES
from sacl.training.processes import BACKENDS, OthersLost, Processes, require_any_gpu

FAULT_FILE = "fault.json"
_WAIT = 120  # seconds until whoever wrote to this seed's folder before, and was lost from sight, must have ended


def train_together_on_ray(
    tasks: Sequence[Task],
    jobs: int | None = None,
    on_epoch: SeedProgress | None = None,
    *,
    workers: int,
    address: str = LOCAL,
) -> None:
    """Trains tasks on Ray, each by all workers, for `studies`.

    A worker that is lost takes the others with it: Ray starts all of them again, and they go on from the checkpoint.

    Args:
        tasks: whose folders every machine sees under the same name.
        jobs: has no meaning here but 1.
        on_epoch: as for `studies`.
        workers: processes a task, at least 2.
        address: see `connected`.

    Raises:
        SaclError: what a task met. RunError: one that failed again and again.
    """
    if jobs is not None and jobs > 1:
        raise RunError(
            f"{jobs} seeds at a time, of which all {workers} workers train each",
            where="--jobs",
            remedy="Leave out --jobs, or --workers",
        )
    for task in tasks:
        require_any_gpu(task.recipe.training.device)
    if not tasks:
        return
    with connected(address):
        room = Path(tempfile.mkdtemp(prefix=".ray-", dir=tasks[0].folder.parent)).resolve()
        try:
            with _watched(tasks, on_epoch):
                _fit(tasks, workers, room)
        except BaseException:
            for task in tasks:
                remove_unfinished(task.folder)
            raise
        finally:
            shutil.rmtree(room, ignore_errors=True)


def _fit(tasks: Sequence[Task], workers: int, room: Path) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    fault, on_gpus = room / FAULT_FILE, any(task.recipe.training.device == "cuda" for task in tasks)
    threads = max(task.recipe.training.threads for task in tasks)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"tasks": list(tasks), "home": str(Path.cwd()), "fault": str(fault)},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=on_gpus,
            resources_per_worker={"CPU": threads} | ({"GPU": 1} if on_gpus else {}),
        ),
        torch_config=TorchConfig(backend=BACKENDS if on_gpus else "gloo"),
        run_config=RunConfig(
            name="workers", storage_path=str(room), failure_config=FailureConfig(max_failures=RETRIES)
        ),
    )
    lost = None
    try:
        trainer.fit()
    except Exception as error:
        lost = error
    if fault.exists():
        about = json.loads(fault.read_text(encoding="utf-8"))
        raise getattr(errors, about.pop("kind"))(about.pop("found"), **about)
    if lost is not None:
        told = (str(lost).strip().splitlines() or [type(lost).__name__])[-1]
        raise RunError(
            f"the workers failed {RETRIES + 1} times ({told[:300]})",
            where=str(tasks[0].folder.parent),
            remedy="Mend that, perhaps with fewer --workers, and continue with --resume",
        ) from lost


def _work(config: dict[str, Any]) -> None:
    """What each worker does. Started again, it passes over the tasks that are complete."""
    fault = Path(config["fault"])
    if fault.exists():
        return  # what the user has to mend is not worth another try
    tasks: list[Task] = config["tasks"]
    if any(task.recipe.training.device == "cuda" for task in tasks):
        import torch
        from ray.train.torch import get_device

        torch.cuda.set_device(get_device())
    processes = Processes()
    try:
        for task in tasks:
            _train(task, Path(config["home"]), processes)
    except OthersLost:
        raise  # it follows from the end of another
    except SaclError as error:
        about = {"kind": type(error).__name__, "found": error.found, "where": error.where, "remedy": error.remedy}
        fault.write_text(json.dumps(about), encoding="utf-8")
        raise


def _train(task: Task, home: Path, processes: Processes) -> None:
    from filelock import FileLock

    if not home.is_dir() or not (home / task.folder).parent.is_dir():
        raise RunError(
            f"the machine {os.uname().nodename} does not see it",
            where=str(task.folder),
            remedy="Work in a folder that all machines of the cluster share",
        )
    os.chdir(home)
    if not processes.first:
        task.run(processes=processes)
        return
    task.folder.mkdir(exist_ok=True)
    with FileLock(task.folder / LOCK_FILE, timeout=_WAIT):
        task.run(processes=processes)


@contextmanager
def _watched(tasks: Sequence[Task], on_epoch: SeedProgress | None) -> Iterator[None]:
    """Inside, epochs are told of as the workers write them."""
    if on_epoch is None:
        yield
        return
    over = threading.Event()
    read = dict.fromkeys(range(len(tasks)), 0)

    def watch() -> None:
        while not over.wait(0.5):
            report_epochs(tasks, read, on_epoch)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    report_epochs(tasks, read, on_epoch)
