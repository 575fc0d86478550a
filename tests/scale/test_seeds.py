"""What a worker on Ray does with a seed's folder, and when there is no place for it."""

from __future__ import annotations

import importlib.metadata
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from sacl.errors import DataError, RunError
from sacl.experiment.lock import LOCK_FILE
from sacl.experiment.recipe import load_recipe
from sacl.experiment.tasks import Sources, Task
from sacl.scale.cluster import require_ray, require_room
from sacl.scale.seeds import as_text, fault_of, seed_folder_of, tidied


@pytest.fixture
def task(tmp_path: Path) -> Task:
    (tmp_path / "home" / "run").mkdir(parents=True)
    return Task(load_recipe("sample"), 0, Path("run", "seed-0"), Sources())


def test_a_seeds_folder_is_looked_for_in_the_drivers_folder_wherever_ray_was_started(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with seed_folder_of(task, tmp_path / "home"):
        assert Path.cwd() == tmp_path / "home"
        assert (task.folder / LOCK_FILE).exists()


@pytest.mark.parametrize("missing", ["home", "run"])
def test_a_machine_that_does_not_see_the_run_says_so(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home" / "run").rename(tmp_path / "run")  # in the folder that Ray was started in
    home = tmp_path / missing
    with pytest.raises(RunError, match="does not see it"), seed_folder_of(task, home):
        pass


def test_what_a_lost_worker_left_is_removed_but_nothing_beneath_one_that_still_writes(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "home")
    task.folder.mkdir()
    lock, left = task.folder / LOCK_FILE, task.folder / ".model.safetensors.1.part"
    for file in (lock, left):
        file.touch()
    with FileLock(lock), pytest.raises(KeyboardInterrupt), tidied([task]):
        raise KeyboardInterrupt
    assert lock.exists()
    assert left.exists()
    lock.touch()
    with tidied([task]):
        pass
    assert not list(task.folder.iterdir())


def test_a_fault_comes_through_as_it_was() -> None:
    fault = fault_of(as_text(DataError("a row has 1 cell", where="a.csv, line 2", remedy="Give it 3")))
    assert isinstance(fault, DataError)
    assert str(fault) == "a.csv, line 2: a row has 1 cell. Give it 3"


@pytest.mark.parametrize(
    ("need", "workers", "fits"),
    [({"CPU": 2}, 3, True), ({"CPU": 2}, 4, False), ({"CPU": 5}, 1, False), ({"CPU": 1, "GPU": 1}, 1, False)],
)
def test_what_finds_no_place_on_any_machine_is_refused(need: dict[str, int], workers: int, fits: bool) -> None:
    machines = [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": True, "Resources": {"CPU": 3.0}}]
    lost = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
    ray = SimpleNamespace(nodes=lambda: [*machines, lost])
    if fits:
        require_room(ray, need, workers)
        return
    with pytest.raises(RunError, match=rf"{workers} x {need['CPU']} CPU.*the machines have 4 CPU.*, 3 CPU"):
        require_room(ray, need, workers)


def test_a_ray_that_lets_everybody_in_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("ray") is None:
        pytest.skip("the extra scale is not installed")
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2.51.2")
    with pytest.raises(RunError, match="cannot ask for a token"):
        require_ray()
