from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from sacl.evaluation import robustness
from sacl.evaluation.robustness import (
    ATTACKS,
    attack_inputs,
    attack_weights,
    batching,
    corrupt,
    measure,
    weight_lengths,
)
from sacl.model.batch import ConversationItem
from sacl.model.dual_lstm import DualLSTM, ModelOutput
from sacl.settings import ModelSettings, ObjectiveSettings
from sacl.training.loop import evaluate

CLASSES = 3


@pytest.fixture(scope="module")
def items():
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(CLASSES, 6))
    found = []
    for i, length in enumerate((5, 1, 8, 3, 6)):
        labels = draw.integers(0, CLASSES, length)
        features = torch.from_numpy(centres[labels] + 0.3 * draw.normal(size=(length, 6)))
        labels[draw.random(length) < 0.1] = -100
        found.append(ConversationItem(f"c{i}", features.float(), draw.integers(0, 2, length), labels))
    return found


@pytest.fixture(scope="module")
def model(items):
    """Trained until it names most of the items, so that there is something to lose."""
    torch.manual_seed(0)
    model = DualLSTM(6, CLASSES, hidden_size=5, dropout=0.5).double()
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    (batch,) = batching(model, ModelSettings(), 8)(items)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.nll_loss(model(batch)[0], batch.labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model


@pytest.fixture(scope="module")
def batches(model, items):
    return batching(model, ModelSettings(), 2)(items)


class Threshold(nn.Module):
    """Says class 0 with the odds exp(bias), whatever is said."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([0.3]))

    def forward(self, batch, generator=None):
        scores = torch.stack([self.bias.expand(len(batch)), self.bias.new_zeros(len(batch))], dim=1)
        return ModelOutput(scores.log_softmax(1), scores)

    def targets(self):
        return {"context": {"bias": self.bias}}


class Linear(nn.Module):
    """A linear classifier of two classes."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]))

    def forward(self, batch, generator=None):
        return ModelOutput((batch.features @ self.weight.T).log_softmax(1), batch.features)

    def targets(self):
        return {"input": nn.Identity()}


def conversation(labels, id="c", width=3):
    features = torch.linspace(-1, 1, len(labels) * width).reshape(len(labels), width)
    return ConversationItem(id, features, np.zeros(len(labels), int), np.array(labels))


def test_the_weight_attack_goes_where_the_sum_over_all_batches_leads():
    # The first batch alone would push the bias up; both together push it down, as most labels are 0.
    model = Threshold()
    batches = batching(model, ModelSettings(), 1)([conversation([1, 1], "a"), conversation([0] * 5, "b")])
    (r,) = robustness._ascend_weights(model, batches, [model.bias], 2.0, 10)
    assert r == pytest.approx(-2.0)
    clean, attacked = measure(model, batches), attack_weights(model, batches, [2.0])[0]
    assert (clean["accuracy"], attacked["accuracy"]) == (pytest.approx(500 / 7), pytest.approx(200 / 7))


def test_the_weight_attack_leaves_a_ball_that_holds_no_worse_point():
    # With as many labels of either class and a bias of 0, no direction is worse to first order: the loss is least here.
    model = Threshold()
    with torch.no_grad():
        model.bias.zero_()
    batches = batching(model, ModelSettings(), 1)([conversation([0, 1])])
    assert robustness._ascend_weights(model, batches, [model.bias], 1.0, 10) == [None]


def test_the_input_attack_reaches_the_closed_form_of_a_linear_classifier():
    model = Linear()
    (batch,) = batching(model, ModelSettings(), 1)([conversation([0, 1, -100, 1])])
    r = robustness._ascend_inputs(model, batch, 0.7, 10)
    away = model.weight[1] - model.weight[0]
    worst = 0.7 * away / away.norm()
    expected = torch.stack([worst, -worst, torch.zeros(3), -worst])
    assert torch.allclose(r, expected, atol=1e-5)


@pytest.mark.parametrize("epsilon", [0.3, 2.0])
def test_perturbations_stay_in_their_ball(model, batches, epsilon):
    points = list(robustness._weights(model).values())
    for r in robustness._ascend_weights(model, batches, points, epsilon, 10):
        assert 0 < torch.linalg.vector_norm(r) <= epsilon * (1 + 1e-9)
    for batch in batches:
        norms = torch.linalg.vector_norm(robustness._ascend_inputs(model, batch, epsilon, 10), dim=1)
        assert (norms <= epsilon * (1 + 1e-9)).all()
        assert norms.max() > 0.5 * epsilon


def test_the_attack_costs_more_than_noise_of_its_length(model, batches, monkeypatch):
    losses = {}

    def noted(attack, strength, evaluations):
        losses[attack] = float(np.mean([e.loss for e in evaluations]))
        return {"attack": attack}

    monkeypatch.setattr(robustness, "_record", noted)
    for attack in (attack_weights, attack_inputs):
        attack(model, batches, [1.0], draws=10)
    measure(model, batches)
    for kind in ("weights", "inputs"):
        assert losses[kind] > losses[f"{kind}-noise"] + 0.05
        assert losses[kind] > losses["none"] + 0.05


def test_the_attack_on_the_weights_moves_the_layers_that_training_perturbs(model):
    assert set(weight_lengths(model)) == {
        f"{channel}_lstm.{part}_ih_l0{direction}"
        for channel in ("context", "speaker")
        for part in ("weight", "bias")
        for direction in ("", "_reverse")
    }
    name, parameter = next((n, p) for n, p in model.named_parameters() if n == "context_lstm.weight_ih_l0")
    assert weight_lengths(model)[name] == pytest.approx(float(parameter.detach().norm()))


def test_channels_may_be_a_parameter_or_a_list_and_a_shared_parameter_is_moved_once():
    model = Threshold()
    model.targets = lambda: {"one": model.bias, "list": [model.bias], "input": nn.Identity()}
    assert weight_lengths(model) == {"one.0": pytest.approx(0.3)}


def test_model_and_batches_are_afterwards_as_before_bit_for_bit(model, items, batches):
    state = {name: p.clone() for name, p in model.state_dict().items()}
    features = [b.features.clone() for b in batches]
    attack_weights(model, batches, [1.0], steps=2)
    attack_inputs(model, batches, [1.0], steps=2)
    corrupt(model, items, batching(model, ModelSettings(), 2), draws=1)
    assert all(torch.equal(p, state[name]) for name, p in model.state_dict().items())
    assert all(torch.equal(b.features, x) for b, x in zip(batches, features, strict=True))
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_a_model_in_training_mode_is_attacked_without_dropout(model, batches):
    quiet = attack_weights(model, batches, [1.0], steps=3)
    model.train()
    assert attack_weights(model, batches, [1.0], steps=3) == quiet


def test_at_no_strength_every_attack_is_the_clean_figure(model, batches):
    clean = measure(model, batches)
    for record in (*attack_weights(model, batches, [1e-12]), *attack_inputs(model, batches, [1e-12])):
        assert record["weighted_f1"] == pytest.approx(clean["weighted_f1"], abs=1e-9)


def test_the_clean_record_is_what_evaluation_says(model, batches):
    scores = evaluate(model, batches, ObjectiveSettings()).scores
    assert measure(model, batches) == {
        "attack": "none",
        "strength": 0,
        "weighted_f1": scores.weighted_f1,
        "accuracy": scores.accuracy,
    }
    assert scores.accuracy > 60


def test_figures_depend_on_the_seed_alone_and_a_strength_not_on_the_others(model, batches):
    records = attack_weights(model, batches, [0.5, 1.0], steps=2, seed=3)
    assert records == attack_weights(model, batches, [0.5, 1.0], steps=2, seed=3)
    (alone,) = (r for r in attack_weights(model, batches, [1.0], steps=2, seed=3) if r["attack"] == "weights-noise")
    assert alone in records


def test_packed_figures_do_not_depend_on_the_batches(model, items):
    few, many = (batching(model, ModelSettings(), size)(items) for size in (1, 5))
    for attack, epsilon in ((attack_weights, 4.0), (attack_inputs, 1.0)):
        one, other = (attack(model, batches, [epsilon], steps=3, draws=1)[0] for batches in (few, many))
        assert one["accuracy"] < 90
        assert one == pytest.approx(other)


def test_corruptions_are_listed_with_growing_harm_and_every_attack_has_its_axis(model, items):
    told = []
    records = corrupt(model, items, batching(model, ModelSettings(), 2), draws=2, progress=lambda *p: told.append(p))
    assert {r["attack"] for r in records} == {"speakers-lost", "turns-missing", "turns-shuffled"} <= set(ATTACKS)
    seen = [r["strength"] for r in records if r["attack"] == "turns-missing"]
    assert seen == sorted(seen, reverse=True)
    # The longest conversation has 8 turns, and 8 are seen: nothing is missing yet.
    assert next(r for r in records if r["strength"] == 8)["accuracy"] == pytest.approx(
        measure(model, batching(model, ModelSettings(), 2)(items))["accuracy"]
    )
    assert all(math.isfinite(r["weighted_f1"]) for r in records)
    assert told[-1] == ("corrupt", len(records), len(records))


def test_a_model_without_weights_to_attack_is_refused():
    batches = batching(Linear(), ModelSettings(), 1)([conversation([0, 1])])
    with pytest.raises(ValueError, match="attack its inputs"):
        attack_weights(Linear(), batches)
