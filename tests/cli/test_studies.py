"""`sacl ablate` and `sacl sweep` on a few conversations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sacl.experiment.ablation import ARMS, ablation_plans
from sacl.experiment.recipe import load_recipe
from sacl.experiment.study import open_study

QUICK = ("--jobs", "1", "--set", "training.epochs=2")


def test_every_arm_changes_what_it_names_and_nothing_else() -> None:
    whole = load_recipe("meld").model_dump()
    for arm, (recipe, folder) in zip(ARMS, ablation_plans(load_recipe("meld"), Path("out")), strict=True):
        assert folder == Path("out") / arm
        changed = {key for key, value in flat(recipe.model_dump()).items() if flat(whole).get(key) != value}
        assert changed - {"name", "description", "published"} <= set(ARMS[arm]), arm
        # What was published, and what the recipe says of itself, is of the whole.
        assert (recipe.published is None) == (arm != "sacl")
        assert (recipe.description == whole["description"]) == (arm == "sacl")
        for key, value in ARMS[arm].items():
            assert flat(recipe.model_dump())[key] == value


def flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in content.items():
        # A section has fields of fixed names; `shares` is one value.
        section = isinstance(value, dict) and key in {"data", "features", "model", "objective", "adversary", "training"}
        found |= flat(value, f"{prefix}{key}.") if section else {f"{prefix}{key}": value}
    return found


def test_an_ablation_compares_its_arms_with_the_whole(sacl: Callable[..., Any], trained: Any, tmp_path: Path) -> None:
    arms = "cross_entropy,cat,virtual_adversarial,paper,released_padding,context_lstm_alone"
    done = sacl("ablate", trained.recipe, "--arms", arms, "--out", tmp_path / "a", "--json", *QUICK)
    assert done.code == 0, done.err
    rows = json.loads(done.out)
    assert [row["name"] for row in rows] == ["sacl", *arms.split(",")]
    assert rows[0]["difference"] is None
    assert all(0 <= row["difference"]["p_holm"] <= 1 and row["paired_t"]["seeds"] == 2 for row in rows[1:])
    again = sacl("ablate", trained.recipe, "--arms", arms, "--out", tmp_path / "a", "--json", "--resume", *QUICK)
    assert json.loads(again.out) == rows


def test_an_ablation_goes_on_with_what_is_missing(sacl: Callable[..., Any], trained: Any, tmp_path: Path) -> None:
    ask = ("ablate", trained.recipe, "--arms", "cat", "--out", tmp_path / "a", "--json", *QUICK)
    whole = sacl(*ask)
    kept = (tmp_path / "a/sacl/seed-0/result.json").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "a/cat/seed-1")
    assert sacl(*ask, "--resume").out == whole.out
    assert (tmp_path / "a/sacl/seed-0/result.json").stat().st_mtime_ns == kept


def test_an_unknown_arm_is_told_in_one_line(sacl: Callable[..., Any], trained: Any, tmp_path: Path) -> None:
    done = sacl("ablate", trained.recipe, "--arms", "cats", "--out", tmp_path / "a")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "no arm 'cats'" in done.err
    assert not (tmp_path / "a").exists()


def test_a_sweep_ranks_by_validation_and_writes_the_best(
    sacl: Callable[..., Any], trained: Any, tmp_path: Path
) -> None:
    grid = ("--grid", "training.learning_rate=1e-4,0.05", "--grid", "model.hidden_size=2,6")
    done = sacl("sweep", trained.recipe, *grid, "--out", tmp_path / "s", "--json", *QUICK)
    assert done.code == 0, done.err
    points = json.loads(done.out)
    assert len(points) == 4
    figures = [point["valid_weighted_f1"] for point in points]
    assert figures == sorted(figures, reverse=True)
    best = load_recipe(str(tmp_path / "s/best.yaml"))
    assert best.training.learning_rate == points[0]["settings"]["training.learning_rate"]
    assert best.model.hidden_size == points[0]["settings"]["model.hidden_size"]
    for point in points:
        run = Path(point["run"])
        recipe, _ = open_study(run)
        assert recipe.training.learning_rate == point["settings"]["training.learning_rate"]
        assert not list(run.rglob("predictions.jsonl"))


def test_a_sweep_never_looks_at_the_test_split(sacl: Callable[..., Any], trained: Any, tmp_path: Path) -> None:
    spoilt = tmp_path / "data"
    shutil.copytree(trained.data, spoilt)
    turns = [{"speaker": "A", "vector": [1e6 * i, 0, 0, 0, 0], "emotion": "calm"} for i in range(5)]
    (spoilt / "test.jsonl").write_text(json.dumps({"id": "other", "utterances": turns}), encoding="utf-8")
    grid = ("--grid", "training.learning_rate=1e-4,0.05", "--json", *QUICK)
    found = []
    for data in (trained.data, spoilt):
        done = sacl(
            "sweep",
            trained.recipe,
            *grid,
            "--set",
            f"data.name={data}",
            "--out",
            tmp_path / f"s-{data.name}-{len(found)}",
        )
        assert done.code == 0, done.err
        found.append([(p["settings"], p["valid_weighted_f1"]) for p in json.loads(done.out)])
    assert found[0] == found[1]


@pytest.mark.parametrize("grid", ["training.epochs", "=1", "training.epochs=", "nothing.such=1,2", "training.epochs=0"])
def test_a_grid_at_fault_is_told_in_one_line(sacl: Callable[..., Any], trained: Any, tmp_path: Path, grid: str) -> None:
    done = sacl("sweep", trained.recipe, "--grid", grid, "--out", tmp_path / "s")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "s").exists()


def test_an_ablation_of_nothing_is_refused_before_it_trains(
    sacl: Callable[..., Any], trained: Any, tmp_path: Path
) -> None:
    done = sacl("ablate", trained.recipe, "--arms", "sacl", "--out", tmp_path / "a", *QUICK)
    assert (done.code, (tmp_path / "a").exists()) == (2, False)
    assert "no arm to compare with" in done.err


@pytest.mark.parametrize("name", ["emorynlp-released", "iemocap-released", "meld-minilm"])
def test_the_arm_paper_is_the_papers_whatever_the_recipe(name: str, tmp_path: Path) -> None:
    [(_, _), (paper, _)] = ablation_plans(load_recipe(name), tmp_path, ["sacl", "paper"])
    assert (paper.model.padding, paper.objective.class_weights, paper.objective.focal_gamma) == ("packed", "none", 0)
    assert paper.objective.adversary.on == ["context_lstm", "speaker_lstm"]


@pytest.mark.parametrize("kind", ["linear", "bc_lstm", "transformer"])
def test_a_baseline_trains_with_nothing_but_its_name(
    kind: str, sacl: Callable[..., Any], trained: Any, tmp_path: Path
) -> None:
    small = ("--set", "model.hidden_size=8")
    done = sacl("train", trained.recipe, "--model", kind, "--out", tmp_path / kind, "--json", *small, *QUICK)
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["recipe"]["objective"]["adversary"]["kind"] == "none"
    assert record["intervals"]["weighted_f1"]["low"] <= record["intervals"]["weighted_f1"]["high"]
