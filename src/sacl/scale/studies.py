"""Tasks of a study as trials of Ray Tune, which places them, retries them and, if asked to, prunes them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sacl.aside import folder_beside
from sacl.errors import RunError, SaclError
from sacl.experiment.pruned import read_pruned, write_pruned
from sacl.experiment.run import is_complete
from sacl.experiment.tasks import SeedProgress, Task, report_epochs
from sacl.scale.cluster import LOCAL, connected, require_room
from sacl.scale.seeds import RETRIES, as_text, fault_of, seed_folder_of, tidied

FIGURE = "valid_weighted_f1"


def run_on_ray(
    tasks: Sequence[Task],
    jobs: int | None = None,
    on_epoch: SeedProgress | None = None,
    *,
    address: str = LOCAL,
    asha: bool = False,
) -> None:
    """Trains tasks on Ray, for `studies`.

    Args:
        tasks: whose folders every machine sees under the same name.
        jobs: trials at a time; by default as many as there is room for.
        on_epoch: as for `studies`.
        address: see `connected`.
        asha: prune what is behind on validation W-F1, by successive halving (Li et al. 2020, arXiv:1810.05934). The
            test split has no part in it. Which tasks are pruned depends on which come first, so it is not the same
            every time; a pruned one has a `pruned.json` in its folder in place of a result.

    Raises:
        SaclError: what a task met. RunError: one that failed again and again, or no machine has room for.
    """
    if asha:
        tasks = [task for task in tasks if read_pruned(task.folder) is None]
    if not tasks:
        return
    # Beside the last, which is the likeliest to be continued, and then to have what was left there removed.
    room_beside = tasks[-1].folder.absolute().with_name("trials")
    with tidied(tasks), folder_beside(room_beside) as room, connected(address) as ray:
        for task in tasks:
            require_room(ray, _resources(task))
        from ray import tune

        first_fault = _first_fault()
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(_train, tasks=list(tasks), home=str(Path.cwd()), asha=asha),
                lambda config: tune.PlacementGroupFactory([_resources(tasks[config["task"]])]),
            ),
            param_space={"task": tune.grid_search(list(range(len(tasks))))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=jobs,
                # A worker goes on with another task, and need not load PyTorch again.
                reuse_actors=True,
                scheduler=_halving(tasks) if asha else None,
                **({"metric": FIGURE, "mode": "max"} if asha else {}),
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=str(room),
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                callbacks=[_progress(tasks, on_epoch), *([_pruned(tasks, first_fault)] if asha else [])],
                stop=first_fault,
                verbose=0,
            ),
        )
        results = tuner.fit()
        _raise_fault(results, tasks)


def _train(config: dict[str, Any], tasks: list[Task], home: str, asha: bool) -> None:
    """What a worker does; the figures of every epoch go to Tune only where it has to decide on them."""
    from ray import tune

    task = tasks[config["task"]]
    best = float("-inf")

    def tell(figures: dict[str, Any]) -> None:
        nonlocal best
        best = max(best, figures[FIGURE])
        tune.report({"epoch": figures["epoch"], FIGURE: best})

    try:
        with seed_folder_of(task, Path(home)):
            task.run(tell if asha else None)
    except SaclError as error:
        # What the user has to mend is not worth another try.
        tune.report({"epoch": 0, FIGURE: best, "fault": as_text(error)})


def _resources(task: Task) -> dict[str, int]:
    training = task.recipe.training
    return {"CPU": training.threads} | ({} if training.device == "cpu" else {"GPU": 1})


def _halving(tasks: Sequence[Task]) -> Any:
    from ray.tune.schedulers import ASHAScheduler

    most = max(task.recipe.training.epochs for task in tasks)
    # The first look after an eighth of the epochs; a third of those that were looked at goes on to the next. At max_t a
    # trial is ended, which here ends by itself, with a result.
    return ASHAScheduler(time_attr="epoch", max_t=most + 1, grace_period=max(1, most // 8), reduction_factor=3)


def _progress(tasks: Sequence[Task], on_epoch: SeedProgress | None) -> Any:
    from ray import tune

    read = dict.fromkeys(range(len(tasks)), 0)
    told = 0.0

    class Progress(tune.Callback):  # type: ignore[misc]
        """Reads the files that the tasks write, as a study on one machine does."""

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            nonlocal told
            if on_epoch is not None and time.monotonic() - told > 0.5:
                report_epochs(tasks, read, on_epoch)
                told = time.monotonic()

    return Progress()


def _first_fault() -> Any:
    from ray import tune

    class FirstFault(tune.Stopper):  # type: ignore[misc]
        """Everything ends with the first task that met something for the user to mend."""

        met = False

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            self.met = self.met or "fault" in result
            return self.met

        def stop_all(self) -> bool:
            return self.met

    return FirstFault()


def _raise_fault(results: Any, tasks: Sequence[Task]) -> None:
    faults = [r.metrics["fault"] for r in results if r.metrics and "fault" in r.metrics]
    if faults:
        raise fault_of(faults[0])
    lost = [r for r in results if r.error is not None]
    if lost:
        told = str(lost[0].error).strip().splitlines()[-1]
        raise RunError(
            f"{tasks[lost[0].config['task']].name} failed {RETRIES + 1} times ({told[:300]})",
            where=str(tasks[lost[0].config["task"]].folder),
            remedy="Mend that, perhaps with fewer --jobs, and continue with --resume",
        )


def _pruned(tasks: Sequence[Task], first_fault: Any) -> Any:
    from ray import tune

    class Pruned(tune.Callback):  # type: ignore[misc]
        """Notes each task that is given up as soon as it is: a sweep that is cut off does not train it again."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            task, last = tasks[trial.config["task"]], trial.last_result
            if not first_fault.met and last and not is_complete(task.folder):
                write_pruned(task.folder, task.seed, last["epoch"], {"weighted_f1": round(last[FIGURE], 4)})

    return Pruned()
