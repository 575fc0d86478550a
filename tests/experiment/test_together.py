"""`torchrun -m sacl train`: several processes, one run directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sacl.cli import app
from sacl.cli.ray import tasks_on
from sacl.errors import RunError
from sacl.experiment.recipe import Recipe, dump_recipe
from sacl.experiment.run import read_result
from sacl.experiment.study import open_study, seed_folder, study
from sacl.experiment.together import leading, restarted
from sacl.training.processes import Processes
from sacl.training.trained import MODEL_FILE

MakeRecipe = Callable[..., Recipe]
EPOCHS = 40
SEVERAL = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
LONG = {"seeds": [0], "training.epochs": EPOCHS, "training.patience": EPOCHS, "training.double": True}


@contextmanager
def torchrun(recipe: Path, out: Path, restarts: int = 0) -> Iterator[subprocess.Popen[str]]:
    options = ["--standalone", "--nproc-per-node=2", f"--max-restarts={restarts}", "-m", "sacl", "train"]
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *options, str(recipe), "--out", str(out), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
    )
    try:
        yield process
    finally:
        for pid in [process.pid, *workers(process).values()]:
            end(pid)
        process.communicate()


def end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def workers(process: subprocess.Popen[str]) -> dict[int, int]:
    """The processes that torchrun has started and that have not ended, by rank."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            variables = (stat.parent / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ranks = [int(v.removeprefix(b"RANK=")) for v in variables if v.startswith(b"RANK=")]
        if int(parent) == process.pid and state != "Z" and ranks:
            found[ranks[0]] = int(stat.parent.name)
    return found


def wait_for_epoch(run: Path, epoch: int, process: subprocess.Popen[str]) -> None:
    metrics = run / "seed-0" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= epoch:
            return
        time.sleep(0.002)
    pytest.fail(f"it did not get to epoch {epoch}: {process.communicate()}")


def test_the_run_of_two_is_that_of_one_also_where_one_is_lost(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    """The first is killed, which holds the run and writes. A state that was lost would show long before 1e-8."""
    recipe = make_recipe(LONG)
    file, run = tmp_path / "recipe.yaml", tmp_path / "run"
    file.write_text(dump_recipe(recipe))
    with torchrun(file, run, restarts=1) as process:
        wait_for_epoch(run, EPOCHS // 4, process)
        end(workers(process)[0])
        alone = study(recipe, tmp_path / "alone", jobs=1)
        assert process.wait(200) == 0, process.communicate()
        assert len(json.loads(process.communicate()[0])["seeds"]) == 1  # one document: the first alone tells
    for expected in alone:
        found = read_result(seed_folder(run, expected["seed"]))
        assert (found["epoch"], found["epochs"]) == (expected["epoch"], EPOCHS)
        assert found["valid"] == pytest.approx(expected["valid"], abs=1e-8)
        assert found["test"]["weighted_f1"] == pytest.approx(expected["test"]["weighted_f1"], abs=1e-8)
        ours, theirs = (load_file(seed_folder(home, found["seed"]) / MODEL_FILE) for home in (tmp_path / "alone", run))
        for name, value in ours.items():
            torch.testing.assert_close(theirs[name], value, rtol=0, atol=1e-8)
    assert [open_study(home)[1]["processes"] for home in (tmp_path / "alone", run)] == [1, 2]


def test_seeds_side_by_side_are_refused() -> None:
    processes = object.__new__(Processes)
    processes.size = 2
    with pytest.raises(RunError, match="Leave it out under torchrun"):
        leading(processes)([], 2, None)


@pytest.mark.parametrize("verb", ["ablate", "sweep"])
def test_other_verbs_are_refused_under_torchrun(monkeypatch: pytest.MonkeyPatch, verb: str, tmp_path: Path) -> None:
    for name, value in SEVERAL.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="torchrun is for sacl train"):
        app([verb, "sample", "--out", str(tmp_path / "out")], standalone_mode=False)
    assert not (tmp_path / "out").exists()


def test_a_restart_goes_on_with_a_run_of_its_own_alone(
    tmp_path: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused somebody's earlier run, the processes are started again too, and would go on with it."""
    recipe = make_recipe({"seeds": [0], "training.epochs": 1})
    for name in ("RUN_ID", "RESTART_COUNT"):
        monkeypatch.delenv(f"TORCHELASTIC_{name}", raising=False)
    study(recipe, tmp_path / "earlier", jobs=1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    study(recipe, tmp_path / "own", jobs=1)
    monkeypatch.setattr(os, "getppid", os.getpid)  # as if another had started this process
    study(recipe, tmp_path / "another's", jobs=1)
    monkeypatch.undo()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for count, expected in (("0", False), ("1", True)):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
        assert restarted(tmp_path / "own") is expected
        assert not any(restarted(tmp_path / name) for name in ("earlier", "another's", "none"))


def test_ray_under_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SEVERAL.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="Leave out --ray"):
        tasks_on("local")
