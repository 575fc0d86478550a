"""Equality with the authors' code, to 1e-9 in double precision.

The files under `reference/` were recorded from runs of the released SACL-LSTM code on small random problems, dropout 0:
`released/` from the code as it is, zero-padded; `packed/` with its two LSTMs reading packed sequences in place of that.
A file's metadata holds its settings; `reference/README.md` says what each tensor is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from sacl.model.batch import ConversationBatch, ConversationItem, Padding, collate
from sacl.model.dual_lstm import DualLSTM, from_released
from sacl.settings import AdversarySettings, ObjectiveSettings, TrainingSettings
from sacl.training.fit import make_optimizer
from sacl.training.loop import evaluate, train_epoch
from sacl.training.objective import SACL, Forward

REFERENCE = Path(__file__).parent / "reference"
EXACT: dict[str, Any] = {"rtol": 0.0, "atol": 1e-9}
PADDINGS: tuple[Padding, ...] = ("packed", "released")


class Recorded:
    """One reference file: tensors by name, settings from its metadata."""

    def __init__(self, padding: Padding, name: str) -> None:
        with safe_open(REFERENCE / padding / f"{name}.safetensors", "pt") as file:
            self.tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            self.settings: dict[str, Any] = {k: json.loads(v) for k, v in file.metadata().items()}
        self.padding = padding

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors below a prefix, parameters under our names."""
        found = {k.removeprefix(prefix): t for k, t in self.tensors.items() if k.startswith(prefix)}
        assert found, prefix
        return from_released(found)

    def batch(self, prefix: str) -> ConversationBatch:
        features, speakers, labels, lengths = (
            self.tensors[f"{prefix}/{part}"] for part in ("features", "speakers", "labels", "lengths")
        )
        ends = np.cumsum(lengths.numpy())
        items = [
            ConversationItem(str(i), features[a:b], speakers[a:b].numpy(), labels[a:b].numpy())
            for i, (a, b) in enumerate(zip([0, *ends[:-1]], ends, strict=True))
        ]
        return collate(items, padding=self.padding)

    def model(self) -> DualLSTM:
        s = self.settings
        model = DualLSTM(
            s["input_size"], s["n_classes"], hidden_size=s["hidden_size"], layers=s["layers"], dropout=0.0
        ).double()
        model.load_state_dict(self.group("state/"))
        return model

    def objective(self, model: DualLSTM, **adversary: Any) -> SACL:
        s = self.settings
        settings = ObjectiveSettings(
            focal_gamma=float(s["gamma"]),
            contrast_on="hidden" if s["contrast_on"] == "hidden" else "log_probabilities",
            temperature=s["temperature"],
            contrastive_weight=s["contrast_weight"],
            adversarial_contrastive_weight=s["contrast_weight_adversarial"],
            loss_divisor=float(s.get("divide") or 1),
            adversary=AdversarySettings(epsilon=s["epsilon"], step_size=s.get("alpha", 0.1), **adversary),
        )
        weights = self.tensors["class_weights"] if s["class_weight"] else None
        return SACL(model, model.targets(), settings, class_weights=weights)

    def optimizer(self, model: DualLSTM) -> torch.optim.Adam:
        s = self.settings
        return make_optimizer(model, TrainingSettings(learning_rate=s["lr"], weight_decay=s["weight_decay"]))


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() >= theirs.keys()
    for name, tensor in theirs.items():
        assert_equal(name, ours[name], tensor)


def assert_equal(name: str, ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours.detach(), theirs.reshape(ours.shape), **EXACT, msg=lambda m: f"{name}: {m}")


def gradients(model: DualLSTM) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", ["iemocap_like", "meld_like", "emorynlp_like", "pgd"])
def test_one_update_equals_the_authors(padding: Padding, name: str) -> None:
    recorded = Recorded(padding, name)
    s = recorded.settings
    channel = s["channel"]
    shares = {} if channel == "both" else {channel: 1.0}
    model = recorded.model()
    objective = recorded.objective(model, kind=s["method"], on=["context", "speaker"], shares=shares)
    optimizer = recorded.optimizer(model)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    for k in range(s["microbatches"]):
        batch = recorded.batch(f"micro{k}")
        passes: list[Forward] = []
        moved: list[dict[str, Tensor]] = []
        accumulated: list[dict[str, Tensor]] = []

        def closure(
            batch: ConversationBatch = batch,
            passes: list[Forward] = passes,
            moved: list[dict[str, Tensor]] = moved,
            accumulated: list[dict[str, Tensor]] = accumulated,
        ) -> Forward:
            output = model(batch)
            moved.append({name: p.detach() - start[name] for name, p in model.named_parameters()})
            accumulated.append(gradients(model))
            passes.append(Forward(output.log_probabilities, output.hidden, batch.labels, batch.mask))
            return passes[-1]

        step = objective.backward(closure, draw=0.5)
        theirs = recorded.tensors
        assert step.adversarial is not None
        for ours, key in [
            (passes[0].log_probabilities, "log_prob"),
            (passes[0].embeddings, "hidden"),
            (step.clean.classification, "classification_loss"),
            (step.clean.contrastive, "contrastive_loss"),
            (step.clean.total, "clean_total"),
            (passes[-1].log_probabilities, "adversarial_log_prob"),
            (step.adversarial.classification, "adversarial_classification_loss"),
            (step.adversarial.contrastive, "adversarial_contrastive_loss"),
            (step.adversarial.total, "adversarial_total"),
        ]:
            assert_equal(key, ours, theirs[f"micro{k}/{key}"])
        assert_same(accumulated[1], recorded.group(f"micro{k}/clean_grad/"))
        perturbation = recorded.group(f"micro{k}/perturbation/")
        assert_same(moved[-1], perturbation)
        assert all(not moved[-1][name].any() for name in start if name not in perturbation)
        assert_same(gradients(model), recorded.group(f"micro{k}/grad/"))
        assert all(torch.equal(p, start[name]) for name, p in model.named_parameters())
    optimizer.step()
    assert_same(dict(model.named_parameters()), recorded.group("after_step/"))


def trace_objective(recorded: Recorded, model: DualLSTM) -> SACL:
    s = recorded.settings
    shares = {} if s["script"] == "iemocap" else {"context": s["context_rate"], "speaker": s["speaker_rate"]}
    objective = recorded.objective(model, on=["context", "speaker"], shares=shares, rate=s["at_rate"])
    if s["script"] != "iemocap":
        return objective
    divided = objective.settings.model_copy(update={"loss_divisor": float(s["accumulation"])})
    return SACL(model, model.targets(), divided, class_weights=objective.class_weights)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("script", ["iemocap", "meld", "emorynlp"])
def test_two_epochs_through_the_training_loop_equal_the_authors(padding: Padding, script: str) -> None:
    recorded = Recorded(padding, f"trace_{script}")
    s = recorded.settings
    model = recorded.model()
    objective = trace_objective(recorded, model)
    optimizer = recorded.optimizer(model)
    train = [recorded.batch(f"train/{i}") for i in range(s["train_batches"])]
    held_out = sorted({k.split("/")[1] for k in recorded.tensors if k.startswith("valid/")})
    valid = [recorded.batch(f"valid/{i}") for i in held_out]
    draws: Iterator[float] = iter(recorded.tensors["uniform_draws"].tolist())
    for epoch in range(s["epochs"]):
        trained = train_epoch(
            model, train, len(train), objective, optimizer, accumulation=s["accumulation"], draws=draws
        )
        validated = evaluate(model, valid, objective.settings, objective.class_weights)
        assert_same(dict(model.named_parameters()), recorded.group(f"epoch{epoch}/parameters/"))
        for ours, split in [(trained, "train"), (validated, "valid")]:
            loss, accuracy, weighted_f1 = recorded.tensors[f"epoch{epoch}/{split}_loss_accuracy_wf1"].tolist()
            assert round(ours.loss, 4) == pytest.approx(loss, abs=1e-9)
            assert round(ours.scores.accuracy, 2) == pytest.approx(accuracy, abs=1e-9)
            assert round(ours.scores.weighted_f1, 2) == pytest.approx(weighted_f1, abs=1e-9)
