"""`sacl train --ray --workers`: the workers of Ray Train train each seed together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sacl.errors import RecipeError, RunError
from sacl.experiment.recipe import load_recipe
from sacl.experiment.run import read_result
from sacl.experiment.study import open_study, study
from sacl.experiment.tasks import Sources, Task

# A network that ends its own process, that of the second worker, once: in the third epoch of the second seed.
TROUBLE = """
import os, signal
from pathlib import Path
import torch.distributed as dist
from sacl.model.dual_lstm import DualLSTM

class Once(DualLSTM):
    def forward(self, batch, generator=None):
        mark = Path(os.environ["RAY_TMPDIR"], "lost")
        done = Path("together", "seed-1", "metrics.jsonl")
        behind = done.read_text().count("\\n") if done.exists() else 0
        if dist.get_rank() == 1 and behind == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(batch, generator)
"""


@pytest.mark.ray
@pytest.mark.long
def test_a_lost_worker_changes_nothing_and_the_run_is_that_of_one_process(
    ray: Any, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ray.folder / "code" / "lost.py").write_text(TROUBLE)
    settings = ["training.double=true", "training.window=exact"]
    options = [option for setting in settings for option in ("--set", setting)]
    options += ["--seeds", "0,1", "--model", "lost:Once", "--trust-code", "--ray", ray.head, "--workers", "2"]
    code, out, err = ray.run("sacl", "train", recipe, *options, "--out", "together", "--json")
    assert (code, err) == (0, "")
    assert (ray.folder / "lost").exists()
    monkeypatch.chdir(ray.folder)
    alone = study(load_recipe(recipe, [*settings, "seeds=[0, 1]"]), Path("alone"), jobs=1)
    for expected, printed in zip(alone, json.loads(out)["seeds"], strict=True):
        found = read_result(Path("together", f"seed-{expected['seed']}"))
        assert printed["valid"] == found["valid"]
        assert (found["epoch"], found["epochs"]) == (expected["epoch"], expected["epochs"])
        assert found["valid"] == pytest.approx(expected["valid"], abs=1e-6)
        assert found["test"]["weighted_f1"] == pytest.approx(expected["test"]["weighted_f1"], abs=1e-6)
    assert open_study(Path("together"))[1]["processes"] == 2


@pytest.mark.ray
@pytest.mark.long
def test_what_the_user_has_to_mend_is_told_and_not_tried_again(ray: Any, recipe: str) -> None:
    ask = ("sacl", "train", recipe, "--set", "training.learning_rate=1e30", "--seeds", "0", "--out", "wild")
    code, _, err = ray.run(*ask, "--ray", ray.head, "--workers", "2")
    assert code == 2
    assert err.count("sacl: ") == 1
    assert "Lower the learning rate" in err or "lower learning rate" in err


def test_seeds_side_by_side_and_numbered_gpus_are_refused(tmp_path: Path) -> None:
    from sacl.scale.training import train_together_on_ray

    with pytest.raises(RunError, match="Leave out --jobs"):
        train_together_on_ray([], 2, workers=2)
    recipe = load_recipe("sample", ["training.device=cuda:1"])
    with pytest.raises(RecipeError, match=r"training\.device=cuda"):
        train_together_on_ray([Task(recipe, 0, tmp_path, Sources())], workers=2)


def test_workers_without_ray_are_refused() -> None:
    from sacl.cli.ray import tasks_on

    with pytest.raises(RecipeError, match="--workers"):
        tasks_on(None, workers=2)
