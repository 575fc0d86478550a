"""Numbers that break, or teach nothing: told with their place, or trained on to finite figures; never in between."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sacl.errors import DataError, FeatureError, ModelError, NumericalError, SaclError
from sacl.experiment.recipe import load_recipe
from sacl.experiment.study import study
from sacl.training import checkpoint
from sacl.training.trained import TrainedModel

RECIPE = """\
name: tiny
description: a few conversations
data: {name: DATA}
model: {hidden_size: 4}
training: {batch_size: 3, epochs: 4, learning_rate: 0.02}
seeds: [0]
"""
Draw = random.Random


def normal(draw: Draw) -> list[float]:
    return [draw.gauss(0, 1) for _ in range(5)]


def any_emotion(draw: Draw, split: str) -> str:
    return draw.choice(["calm", "cross", "glad"])


def train(
    folder: Path,
    *settings: str,
    vector: Callable[[Draw], list[float]] = normal,
    emotion: Callable[[Draw, str], str | None] = any_emotion,
    **options: Any,
) -> dict[str, Any]:
    """A seed's result, on conversations of such vectors and emotions."""
    draw = Draw(0)
    (folder / "data").mkdir(exist_ok=True)
    for split, size in (("train", 8), ("valid", 3), ("test", 4)):
        lines = []
        for i in range(size):
            turns = [
                {"speaker": draw.choice("AB"), "vector": vector(draw), "emotion": emotion(draw, split)}
                for _ in range(i + 1)
            ]
            lines.append(json.dumps({"id": f"{split}-{i}", "utterances": turns}).replace("Infinity", "1e999"))
        (folder / "data" / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "tiny.yaml").write_text(RECIPE.replace("DATA", str(folder / "data")), encoding="utf-8")
    return study(load_recipe(str(folder / "tiny.yaml"), list(settings)), folder / "run", jobs=1, **options)[0]


def numbers(content: Any) -> list[float]:
    if isinstance(content, dict | list):
        return [n for inner in (content.values() if isinstance(content, dict) else content) for n in numbers(inner)]
    return [content] if isinstance(content, float | int) else []


@pytest.mark.parametrize("standardise", ["true", "false"])
@pytest.mark.parametrize(
    "vector",
    [
        pytest.param(lambda _: [0.0] * 5, id="zeros"),
        pytest.param(lambda _: [3.25] * 5, id="all alike"),
        pytest.param(lambda draw: [draw.choice((-1e-42, 1e-42)) for _ in range(5)], id="too small to be normal"),
        pytest.param(lambda draw: [draw.choice((-1e37, 1e37)) for _ in range(5)], id="very large"),
    ],
)
def test_vectors_that_tell_nothing_are_trained_on_to_finite_figures(
    vector: Callable[[Draw], list[float]], standardise: str, tmp_path: Path
) -> None:
    result = train(tmp_path, f"features.standardise={standardise}", vector=vector)
    assert all(math.isfinite(number) for number in numbers(result))
    model = TrainedModel.load(tmp_path / "run" / "seed-0")
    assert all(t.isfinite().all() for t in model.model.state_dict().values())


def only(*names: str) -> Callable[[Draw, str], str]:
    return lambda draw, split: draw.choice(names) if split == "train" else draw.choice(["calm", "cross", "glad"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"vector": lambda _: [math.inf] * 5},
            r"train\.jsonl, line 1, conversation train-0, utterance 0: .*not finite",
        ),
        ({"vector": lambda _: [math.nan] * 5}, r"train\.jsonl, line 1.*"),
        ({"vector": lambda _: [1e39] * 5}, "split train, conversation train-0, utterance 0: its vector is not finite"),
        ({"emotion": lambda *_: "calm"}, "'train' has a single emotion"),
        ({"emotion": only("calm", "cross")}, "conversation .*: unknown emotion 'glad'"),
        (
            {"emotion": lambda draw, split: None if split == "valid" else "calm"},
            "split valid: no utterance is labelled",
        ),
    ],
)
def test_data_that_cannot_teach_are_refused_with_their_place_and_leave_no_run(
    given: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises((DataError, FeatureError), match=told):
        train(tmp_path, **given)
    assert not (tmp_path / "run").exists()


def test_an_emotion_that_training_never_shows_is_learnt_as_never_and_its_weight_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "labels.txt").write_text("calm\ncross\nglad\n")
    with pytest.raises(DataError, match="no training utterance is labelled 'glad'"):
        train(tmp_path, "objective.class_weights=train", emotion=only("calm", "cross"))
    result = train(tmp_path, "objective.class_weights=none", emotion=only("calm", "cross"))
    assert all(math.isfinite(number) for number in numbers(result))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("training.learning_rate=1e38", r"seed 0, epoch 1, conversations valid-0.*scores are not finite"),
        ("objective.contrastive_weight=1e38", r"seed 0, epoch 1, step 1, conversations train-.*the loss is inf"),
        ("objective.temperature=1e-30", r"seed 0, epoch 1, step \d, conversations train-.*(loss|gradient)"),
    ],
)
def test_a_run_that_diverges_says_where_and_leaves_no_run_without_an_epoch(
    setting: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(NumericalError, match=told):
        train(tmp_path, setting)
    assert not (tmp_path / "run").exists()


def test_a_run_that_diverges_later_keeps_its_last_good_checkpoint_and_goes_on_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sacl.training.fit import Fit

    def sabotaged(fit: Fit, *given: Any) -> Any:
        if len(fit.history) == 2:
            fit.optimizer.param_groups[0]["lr"] = 1e38
        return epoch(fit, *given)

    epoch = Fit._epoch
    monkeypatch.setattr(Fit, "_epoch", sabotaged)
    with pytest.raises(NumericalError, match=r"seed 0, epoch 3, .*conversations.*the checkpoint keeps epoch 2"):
        train(tmp_path)
    tensors, content = checkpoint.load(tmp_path / "run" / "seed-0" / "checkpoint.safetensors", "checkpoint")
    assert len(content["history"]) == 2
    assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())
    monkeypatch.undo()
    result = train(tmp_path, resume=True)
    (tmp_path / "other").mkdir()
    assert result["valid"] == train(tmp_path / "other")["valid"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["model.safetensors", "checkpoint.safetensors"])
def test_weights_that_are_no_numbers_are_refused_though_their_digest_fits(
    bad: float, name: str, tmp_path: Path
) -> None:
    kind = name.partition(".")[0]
    checkpoint.save(tmp_path / name, kind, {"w": torch.tensor([1.0, bad])}, {})
    with pytest.raises(ModelError, match="w holds numbers that are not finite"):
        checkpoint.load(tmp_path / name, kind)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_encoder_whose_weights_are_no_numbers_is_refused(bad: float, tmp_path: Path) -> None:
    import runpy

    from sacl.features.encoder import Encoder

    made = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "tiny_encoder.py"))
    folder = Path(made["write_encoder"](tmp_path / "encoder"))
    tensors = load_file(folder / "model.safetensors")
    last = next(name for name in tensors if name.endswith("output.dense.weight"))
    tensors[last][0, 0] = bad
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(SaclError, match="not finite"):
        Encoder.load(folder, pooling="mean", max_tokens=32).encode(["the sunny cake"])
