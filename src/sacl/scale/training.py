"""Tasks of a study one after another, each trained by several workers of Ray Train together."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sacl.aside import folder_beside, whole_file
from sacl.errors import RunError, SaclError
from sacl.experiment.tasks import SeedProgress, Task, report_epochs
from sacl.experiment.together import refuse_jobs
from sacl.scale.cluster import LOCAL, connected, require_room
from sacl.scale.seeds import RETRIES, as_text, fault_of, seed_folder_of, tidied
from sacl.training.processes import BACKENDS, PATIENCE, OthersLost, Processes, require_any_gpu

FAULT_FILE = "fault.json"
STARTS = 30
"""How often the workers are begun again that find no place, or do not start, within Ray's minute."""


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
        SaclError: what a task met. RunError: one that failed again and again, or the workers have no room.
    """
    refuse_jobs(jobs, f"{workers} workers", "Leave out --jobs, or --workers")
    for task in tasks:
        require_any_gpu(task.recipe.training.device)
    if not tasks:
        return
    room_beside = tasks[-1].folder.absolute().with_name("workers")
    with (
        tidied(tasks),
        folder_beside(room_beside) as room,
        connected(address) as ray,
        _watched(tasks, on_epoch),
    ):
        _fit(ray, tasks, workers, room)


def _fit(ray: Any, tasks: Sequence[Task], workers: int, room: Path) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    fault, on_gpus = room / FAULT_FILE, any(task.recipe.training.device == "cuda" for task in tasks)
    resources = {"CPU": max(task.recipe.training.threads for task in tasks)} | ({"GPU": 1} if on_gpus else {})
    require_room(ray, resources, workers)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"tasks": list(tasks), "home": str(Path.cwd()), "fault": str(fault)},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=on_gpus, resources_per_worker=resources),
        torch_config=TorchConfig(backend=BACKENDS if on_gpus else "gloo", timeout_s=round(PATIENCE.total_seconds())),
        run_config=RunConfig(
            name="workers",
            storage_path=str(room),
            failure_config=FailureConfig(max_failures=RETRIES, controller_failure_limit=STARTS),
        ),
    )
    lost = None
    try:
        trainer.fit()
    except Exception as error:
        lost = error
    if fault.exists():
        raise fault_of(fault.read_text(encoding="utf-8"))
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
            with seed_folder_of(task, Path(config["home"]), writes=processes.first):
                task.run(processes=processes)
    except OthersLost:
        raise  # it follows from the end of another
    except SaclError as error:
        with whole_file(fault) as file:  # others may meet it at the same time
            file.write(as_text(error).encode())
        raise


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
