"""A run's temperature: fitted on validation alone, kept with the model, told in the result."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sacl
from sacl.experiment import run as run_module
from sacl.experiment.evaluate import load_seed
from sacl.experiment.recipe import Recipe
from sacl.experiment.run import score_split
from sacl.experiment.study import studies, study
from sacl.experiment.tasks import Sources
from sacl.metrics import expected_calibration_error
from sacl.training.calibration import fit_temperature, tempered
from sacl.training.trained import TrainedModel

MakeRecipe = Callable[..., Recipe]


def test_the_result_tells_the_temperature_and_what_it_changes(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = make_recipe({"training.epochs": 3})
    for result in study(recipe, tmp_path / "run", jobs=1):
        told = result["calibration"]
        trained, data = load_seed(tmp_path / "run", result["seed"])
        valid, test = (score_split(trained, recipe, data, split) for split in ("valid", "test"))
        assert told["temperature"] == trained.temperature == fit_temperature(valid.log_probabilities, valid.labels)
        for split, scored in (("valid", valid), ("test", test)):
            before, after = (
                expected_calibration_error(scored.labels, np.exp(tempered(scored.log_probabilities, t)))
                for t in (1.0, trained.temperature)
            )
            assert told[split] == {"ece_before": before, "ece_after": after}
        assert trained.temperature != 1


def test_predictions_and_scores_are_those_of_an_uncalibrated_model(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(make_recipe({"seeds": [0]}), tmp_path / "a")
    monkeypatch.setattr(run_module, "fit_temperature", lambda *_: 1.0)
    study(make_recipe({"seeds": [0]}), tmp_path / "b")
    a, b = tmp_path / "a" / "seed-0", tmp_path / "b" / "seed-0"
    for name in ("predictions.jsonl", "metrics.jsonl"):
        assert (a / name).read_bytes() == (b / name).read_bytes()
    results = [json.loads((folder / "result.json").read_text()) for folder in (a, b)]
    assert results[0]["calibration"] != results[1]["calibration"]
    for key in ("calibration", "seconds", "sha256"):
        del results[0][key], results[1][key]
    assert results[0] == results[1]


def test_the_temperature_follows_validation_and_never_the_test_split(
    make_recipe: MakeRecipe, tiny: Path, tmp_path: Path
) -> None:
    def calibrated(name: str) -> tuple[dict[str, Any], float]:
        [result] = study(make_recipe({"seeds": [0]}), tmp_path / name)
        return result["calibration"], TrainedModel.load(tmp_path / name / "seed-0").temperature

    first, kept = calibrated("a")
    shutil.copy(tiny / "train.jsonl", tiny / "test.jsonl")
    other_test, kept_too = calibrated("b")
    assert (other_test["temperature"], other_test["valid"], kept_too) == (first["temperature"], first["valid"], kept)
    assert other_test["test"] != first["test"]
    shutil.copy(tiny / "train.jsonl", tiny / "valid.jsonl")
    assert calibrated("c")[0]["temperature"] != first["temperature"]


def test_the_test_split_is_not_looked_at_before_the_temperature_is_saved(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    score, save = run_module.score_split, TrainedModel.save

    def scored(trained: TrainedModel, recipe: Recipe, data: Any, split: str) -> Any:
        steps.append(split)
        return score(trained, recipe, data, split)

    def saved(trained: TrainedModel, path: Path) -> None:
        steps.append(f"saved with {trained.temperature}")
        save(trained, path)

    monkeypatch.setattr(run_module, "score_split", scored)
    monkeypatch.setattr(TrainedModel, "save", saved)
    [result] = study(make_recipe({"seeds": [0]}), tmp_path / "run")
    assert steps == ["valid", f"saved with {result['calibration']['temperature']}", "test"]


def test_what_fits_the_temperature_names_no_split() -> None:
    tree = ast.parse((Path(sacl.__file__).parent / "training" / "calibration.py").read_text(encoding="utf-8"))
    assert "test" not in {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def test_settings_that_are_chosen_on_validation_leave_the_test_split_alone(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    [[result]] = studies([(make_recipe({"seeds": [0]}), tmp_path / "run")], Sources(), score_test=False)
    assert result["calibration"]["test"] is None
    assert set(result["calibration"]["valid"]) == {"ece_before", "ece_after"}


def test_a_run_that_an_earlier_version_began_is_completed(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    study(make_recipe({"seeds": [0]}), tmp_path / "run")
    path = tmp_path / "run" / "seed-0" / "result.json"
    later = ("calibration", "files", "sha256")
    old = {key: value for key, value in json.loads(path.read_text()).items() if key not in later}
    path.write_text(json.dumps(old))
    first, second = study(make_recipe(), tmp_path / "run", resume=True)
    assert first == old
    assert second["calibration"]["temperature"] > 0
