"""Studies on Ray: what they leave is what one machine leaves, to the byte, whatever happens to their workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sacl.experiment.recipe import load_recipe
from sacl.experiment.study import study

pytestmark = pytest.mark.ray

# A network that ends its own process, or fails, the first time that it is built in a worker.
TROUBLE = """
import os, signal
from pathlib import Path
from sacl.model.dual_lstm import DualLSTM

class Once(DualLSTM):
    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        mark = Path(os.environ["RAY_TMPDIR"], "{name}")
        if not mark.exists():
            mark.touch()
            {trouble}
"""


@pytest.fixture(scope="module")
def here(ray: Any, recipe: str) -> dict[str, bytes]:
    """What one machine leaves of the recipe."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ray.folder)
        study(load_recipe(recipe), Path("here"), jobs=1)
    return left(ray.folder / "here")


def left(folder: Path) -> dict[str, bytes]:
    """A run directory's files by name, but for what tells of the time and place; and what must not be there."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name in [name for name in files if name.endswith("result.json")]:
        result = json.loads(files[name])
        files[name] = json.dumps({k: v for k, v in result.items() if k not in ("seconds", "sha256")}).encode()
    return {name: content for name, content in files.items() if name not in (".lock", "run.json")}


def test_a_study_leaves_the_files_of_one_machine(ray: Any, recipe: str, here: dict[str, bytes]) -> None:
    code, out, err = ray.run("sacl", "train", recipe, "--ray", ray.head, "--out", "plain")
    assert (code, err) == (0, "")
    assert "plain FILE" in out
    assert left(ray.folder / "plain") == here


@pytest.mark.long
def test_a_study_that_is_interrupted_goes_on_to_the_same_files(ray: Any, recipe: str) -> None:
    ask = ("sacl", "train", recipe, "--seeds", "0,1", "--set", "training.epochs=60", "--jobs", "1")
    process = ray.popen(*ask, "--ray", ray.head, "--out", "cut")
    metrics = ray.folder / "cut" / "seed-0" / "metrics.jsonl"
    ray.until("some epochs are done", lambda: process.poll() is not None or epochs(metrics) > 2)
    process.terminate()
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "go on with the same command and --resume" in err
    assert epochs(metrics) > 2
    left_behind = [path.name for path in (ray.folder / "cut").rglob("*")]
    assert not [name for name in left_behind if name == "result.json" or name.endswith(".part")]
    assert left_behind.count(".lock") <= 1  # the study's own
    for options in (("--ray", ray.head, "--out", "cut", "--resume"), ("--out", "uncut")):
        code, _, err = ray.run(*ask, *options)
        assert (code, err) == (0, "")
    assert left(ray.folder / "cut") == left(ray.folder / "uncut")


def epochs(metrics: Path) -> int:
    return metrics.read_text(encoding="utf-8").count("\n") if metrics.exists() else 0


@pytest.mark.long
@pytest.mark.parametrize("trouble", ["os.kill(os.getpid(), signal.SIGKILL)", "raise RuntimeError('once')"])
def test_a_trial_that_fails_is_tried_again(ray: Any, recipe: str, trouble: str) -> None:
    name = "killed" if "kill" in trouble else "failed"
    (ray.folder / "code" / f"{name}.py").write_text(TROUBLE.format(name=name, trouble=trouble))
    options = ("--model", f"{name}:Once", "--trust-code", "--seeds", "0")
    (ray.folder / name).touch()  # not in the process that builds it first, to check its settings
    process = ray.popen("sacl", "train", recipe, *options, "--ray", ray.head, "--out", f"{name}-run", "--json")
    ray.until(
        "the run begins", lambda: (ray.folder / f"{name}-run" / "recipe.yaml").exists() or process.poll() is not None
    )
    (ray.folder / name).unlink()
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert (ray.folder / name).exists()  # it did fail
    assert [seed["seed"] for seed in json.loads(out)["seeds"]] == [0]


@pytest.mark.long
def test_what_the_user_has_to_mend_is_told_at_once_as_on_one_machine(ray: Any, recipe: str) -> None:
    ask = ("sacl", "train", recipe, "--seeds", "0", "--set", "training.learning_rate=1e30")
    code, _, expected = ray.run(*ask, "--jobs", "1", "--out", "bad-here")
    assert code == 2
    assert ray.run(*ask, "--ray", ray.head, "--out", "bad-ray") == (2, "", expected.replace("bad-here", "bad-ray"))


@pytest.mark.long
def test_a_sweep_gives_up_points_and_ranks_them_behind_the_others(ray: Any, recipe: str) -> None:
    # The first look is after the second epoch, when the first of these is ahead.
    grid = ("--grid", "training.learning_rate=0.5,1e-3,1e-6", "--seeds", "0", "--set", "training.epochs=16")
    ask = ("sacl", "sweep", recipe, *grid, "--ray", ray.head, "--jobs", "1", "--asha", "--out", "swept", "--json")
    code, out, err = ray.run(*ask)
    assert (code, err) == (0, "")
    points: list[dict[str, Any]] = json.loads(out)
    given_up = [bool(point["pruned"]) for point in points]
    assert given_up == [False, True, True]
    for point in points:
        seed = ray.folder / point["run"] / "seed-0"
        assert (seed / "result.json").exists() != bool(point["pruned"])
        assert epochs(seed / "metrics.jsonl") == (2 if point["pruned"] else 16)
    best = load_recipe(str(ray.folder / "swept" / "best.yaml"))
    assert best.training.learning_rate == points[0]["settings"]["training.learning_rate"]
    assert ray.run(*ask, "--resume") == (0, out, "")


@pytest.mark.long
@pytest.mark.parametrize("more", [("--set", "training.threads=3"), ("--workers", "3")])
def test_what_no_machine_has_room_for_is_refused(ray: Any, recipe: str, more: tuple[str, ...]) -> None:
    code, out, err = ray.run("sacl", "train", recipe, *more, "--ray", ray.head, "--out", "large")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "the machines have 2 CPU" in err
    assert not (ray.folder / "large").exists()


@pytest.mark.long
def test_nobody_is_let_in_without_the_token(ray: Any, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ray.environment, "RAY_AUTH_TOKEN", "0" * 64)
    code, out, err = ray.run("sacl", "train", recipe, "--ray", ray.head, "--out", "stranger")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "the token in RAY_AUTH_TOKEN" in err
    assert not (ray.folder / "stranger").exists()
