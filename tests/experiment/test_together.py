"""`torchrun -m sacl train`: several processes, one run directory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sacl.cli import app
from sacl.errors import RunError
from sacl.experiment.recipe import Recipe, dump_recipe
from sacl.experiment.run import read_result
from sacl.experiment.study import open_study, study
from sacl.experiment.together import leading, restarted
from sacl.training.processes import Processes

MakeRecipe = Callable[..., Recipe]
EPOCHS = 40
LONG = {"training.epochs": EPOCHS, "training.patience": EPOCHS, "training.double": True}


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


def contents(run: Path) -> dict[str, bytes]:
    """What training wrote; a seed's result has its seconds in it."""
    files = [path for path in run.rglob("seed-*/*") if path.name != "result.json"]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def test_the_run_of_two_is_that_of_one_and_lost_processes_change_no_bit(
    tmp_path: Path, make_recipe: MakeRecipe
) -> None:
    recipe = make_recipe(LONG)
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    with torchrun(file, disturbed, restarts=2) as process, torchrun(file, undisturbed) as other:
        for rank, epoch in ((1, 5), (0, EPOCHS // 2)):
            wait_for_epoch(disturbed, epoch, process)
            end(workers(process)[rank])
        alone = study(recipe, tmp_path / "alone", jobs=1)
        assert other.wait(120) == 0
        assert process.wait(120) == 0, process.communicate()
        assert process.communicate()[0].count('"seeds"') == other.communicate()[0].count('"seeds"')  # one tells
    assert contents(disturbed) == contents(undisturbed)
    assert len(contents(disturbed)) == 2 * 3
    for expected in alone:
        found = read_result(undisturbed / f"seed-{expected['seed']}")
        assert found["epoch"] == expected["epoch"]
        assert found["valid"] == pytest.approx(expected["valid"], abs=1e-6)
        assert found["test"]["confusion"] == expected["test"]["confusion"]
    assert [open_study(tmp_path / name)[1]["processes"] for name in ("alone", "undisturbed")] == [1, 2]


def test_seeds_side_by_side_are_refused() -> None:
    processes = object.__new__(Processes)
    processes.size = 2
    with pytest.raises(RunError, match="Leave it out under torchrun"):
        leading(processes)([], 2, None)


@pytest.mark.parametrize("verb", ["ablate", "sweep"])
def test_other_verbs_are_refused_under_torchrun(monkeypatch: pytest.MonkeyPatch, verb: str, tmp_path: Path) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RunError, match="torchrun is for sacl train"):
        app([verb, "sample", "--out", str(tmp_path / "out")], standalone_mode=False)
    assert not (tmp_path / "out").exists()


def test_a_restart_is_told_from_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT", raising=False)
    assert not restarted()
    for count, expected in (("0", False), ("1", True)):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", count)
        assert restarted() is expected
