"""The soft supervised contrastive loss and its gradients: each setting on its own, against plain autograd."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sacl.losses import focal_loss, nt_xent, sup_con
from sacl.settings import ObjectiveSettings
from sacl.training.objective import SACL, Forward

EXACT: dict[str, Any] = {"rtol": 0.0, "atol": 1e-12}
CLEAN_ONLY = {"kind": "none"}


def settings_of(**changed: Any) -> ObjectiveSettings:
    """Perturbs the encoder as channel `context`, on every batch, unless told otherwise."""
    adversary = {"on": ["context"], "shares": {}, "epsilon": 0.5} | changed.pop("adversary", {})
    return ObjectiveSettings.model_validate(changed | {"adversary": adversary})


def sacl_of(problem: Any, **changed: Any) -> SACL:
    targets = {
        "context": dict(problem.net.encoder.named_parameters()),
        "speaker": dict(problem.net.head.named_parameters()),
    }
    return SACL(problem.net, targets, settings_of(**changed))


def released_total(f: Forward, contrastive_weight: float) -> Tensor:
    """The defaults: focal with gamma 1, summed, and NT-Xent on log-probabilities, cosine, times the utterances."""
    contrastive = nt_xent(f.log_probabilities, f.labels, temperature=0.1)
    return focal_loss(f.log_probabilities, f.labels, gamma=1.0) + contrastive_weight * contrastive * len(f.labels)


def clean_terms(problem: Any, **changed: Any) -> tuple[Tensor, Tensor, Tensor]:
    return sacl_of(problem, **changed, adversary=CLEAN_ONLY).backward(problem.closure()).clean


def test_the_defaults_are_the_released_loss(problem: Any) -> None:
    classification, contrastive, total = clean_terms(problem)
    f = problem.forward_with(problem.parameters())
    torch.testing.assert_close(classification, focal_loss(f.log_probabilities, f.labels, gamma=1.0).detach(), **EXACT)
    torch.testing.assert_close(contrastive, nt_xent(f.log_probabilities, f.labels, temperature=0.1).detach(), **EXACT)
    torch.testing.assert_close(total, released_total(f, 0.1).detach(), **EXACT)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_classification_is_focal_or_cross_entropy_summed_or_averaged(
    problem: Any, gamma: float, reduction: str
) -> None:
    terms = clean_terms(problem, focal_gamma=gamma, reduction=reduction)
    f = problem.forward_with(problem.parameters())
    log_p = f.log_probabilities.detach()[range(7), f.labels]
    expected = -((1 - log_p.exp()) ** gamma * log_p).sum() / (7 if reduction == "mean" else 1)
    torch.testing.assert_close(terms[0], expected, **EXACT)


def test_class_weights_weigh_the_classification_loss_alone(problem: Any) -> None:
    weights = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    sacl = SACL(problem.net, {}, settings_of(adversary=CLEAN_ONLY, focal_gamma=0.0), class_weights=weights)
    clean = sacl.backward(problem.closure()).clean
    f = problem.forward_with(problem.parameters())
    expected = -(weights[f.labels] * f.log_probabilities[range(7), f.labels]).sum().detach()
    torch.testing.assert_close(clean.classification, expected, **EXACT)
    torch.testing.assert_close(clean.contrastive, nt_xent(f.log_probabilities, f.labels).detach(), **EXACT)


@pytest.mark.parametrize("kind", ["nt_xent", "sup_con"])
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("on", ["hidden", "log_probabilities"])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_the_contrastive_loss_is_the_one_chosen_on_what_is_chosen(
    problem: Any, kind: str, similarity: Any, on: str, temperature: float
) -> None:
    terms = clean_terms(problem, contrastive=kind, similarity=similarity, contrast_on=on, temperature=temperature)
    f = problem.forward_with(problem.parameters())
    z = f.embeddings if on == "hidden" else f.log_probabilities
    loss = nt_xent if kind == "nt_xent" else sup_con
    expected = loss(z, f.labels, temperature=temperature, similarity=similarity).detach()
    torch.testing.assert_close(terms[1], expected, **EXACT)
    torch.testing.assert_close(terms[2], terms[0] + 0.1 * 7 * expected, **EXACT)


@pytest.mark.parametrize(("scale", "factor"), [("utterances", 7), ("one", 1)])
@pytest.mark.parametrize("divisor", [1.0, 16.0])
@pytest.mark.parametrize("weight", [0.0, 0.05, 0.5])
def test_the_total_is_the_weighted_sum_scaled_and_divided(
    problem: Any, scale: str, factor: int, divisor: float, weight: float
) -> None:
    terms = clean_terms(problem, contrastive_scale=scale, loss_divisor=divisor, contrastive_weight=weight)
    f = problem.forward_with(problem.parameters())
    contrastive = nt_xent(f.log_probabilities, f.labels).detach() if weight else 0.0
    torch.testing.assert_close(terms[2], (terms[0] + weight * factor * contrastive) / divisor, **EXACT)


def test_unlabelled_utterances_are_in_no_term_and_in_no_count(problem: Any) -> None:
    x, labels = problem.batches[0]
    mask = torch.tensor([True, False, True, True, False, True, True])
    whole = clean_terms(problem)
    problem.batches[0] = (x, torch.where(mask, labels, -100))
    problem.mask = mask
    problem.net.zero_grad()
    masked, gradients = clean_terms(problem), None
    gradients = problem.gradients()
    problem.batches[0], problem.mask = (x[mask], labels[mask]), None
    problem.net.zero_grad()
    removed = clean_terms(problem)
    for ours, theirs, other in zip(masked, removed, whole, strict=True):
        torch.testing.assert_close(ours, theirs, **EXACT)
        assert ours != other
    for name, gradient in problem.gradients().items():
        torch.testing.assert_close(gradients[name], gradient, **EXACT)


@pytest.mark.parametrize("kind", ["fgm", "pgd", "random", "virtual", "none"])
@pytest.mark.parametrize("target", ["parameters", "module"])
def test_a_batch_without_any_label_costs_nothing_and_hurts_nothing(problem: Any, kind: str, target: str) -> None:
    problem.mask = torch.zeros(7, dtype=torch.bool)
    targets: Any = {"context": problem.net.encoder if target == "module" else list(problem.net.encoder.parameters())}
    step = SACL(problem.net, targets, settings_of(adversary={"kind": kind})).backward(problem.closure())
    assert [term.item() for term in step.clean] == [0, 0, 0]
    assert all(gradient.isfinite().all() for gradient in problem.gradients().values())


def test_the_step_carries_no_graph(problem: Any) -> None:
    step = sacl_of(problem).backward(problem.closure())
    assert step.adversarial is not None
    tensors = [*step.clean, *step.adversarial, step.forward.log_probabilities, step.forward.embeddings]
    assert not any(tensor.requires_grad for tensor in tensors)


def expected_gradients(
    problem: Any, *, weight: float, follows: str, keeps: str, norm: str, epsilon: float, batches: int
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """By plain autograd on copies: gradients after some micro-batches, and every perturbation of the encoder."""
    parameters = problem.parameters()
    total = {name: torch.zeros_like(p) for name, p in parameters.items()}
    perturbations = []
    for batch in range(batches):
        clean = released_total(problem.forward_with(parameters, batch), 0.1)
        own = dict(zip(parameters, torch.autograd.grad(clean, list(parameters.values())), strict=True))
        total = {name: total[name] + own[name] for name in total}
        followed = total if follows == "accumulated" else own
        names = ["encoder.weight", "encoder.bias"]
        together = math.sqrt(sum(float(followed[n].square().sum()) for n in names))
        r = {
            n: epsilon * followed[n] / (float(followed[n].square().sum()) ** 0.5 if norm == "tensor" else together)
            for n in names
        }
        perturbations.append(r)
        moved = {n: (p + r[n] if n in r else p).detach().requires_grad_() for n, p in parameters.items()}
        adversarial = released_total(problem.forward_with(moved, batch), weight)
        added = dict(zip(moved, torch.autograd.grad(adversarial, list(moved.values())), strict=True))
        total = {n: total[n] if keeps == "clean" and n in r else total[n] + added[n] for n in total}
    return total, perturbations


@pytest.mark.parametrize("norm", ["tensor", "all"])
@pytest.mark.parametrize("follows", ["accumulated", "batch"])
@pytest.mark.parametrize("keeps", ["clean", "all"])
def test_gradients_and_perturbations_are_those_of_plain_autograd_over_an_accumulation_window(
    problem: Any, norm: str, follows: str, keeps: str
) -> None:
    adversary = {"norm": norm, "follows": follows, "keeps": keeps, "epsilon": 0.7}
    sacl = sacl_of(problem, adversary=adversary, adversarial_contrastive_weight=0.3)
    expected, perturbations = expected_gradients(
        problem, weight=0.3, follows=follows, keeps=keeps, norm=norm, epsilon=0.7, batches=3
    )
    for batch, r in enumerate(perturbations):
        sacl.backward(problem.closure(batch))
        for name, moved in problem.moved().items():
            torch.testing.assert_close(moved, r.get(name, torch.zeros_like(moved)), **EXACT)
    for name, gradient in problem.gradients().items():
        torch.testing.assert_close(gradient, expected[name], **EXACT)


def test_an_epoch_without_adversary_accumulates_as_backward_does(problem: Any) -> None:
    sacl = sacl_of(problem, adversary=CLEAN_ONLY)
    for batch in range(3):
        step = sacl.backward(problem.closure(batch))
        assert step.adversarial is None
        assert step.channel is None
    parameters = problem.parameters()
    total = sum(released_total(problem.forward_with(parameters, batch), 0.1) for batch in range(3))
    assert isinstance(total, Tensor)
    total.backward()
    for name, gradient in problem.gradients().items():
        torch.testing.assert_close(gradient, parameters[name].grad, **EXACT)
    assert len(problem.passes) == 3


def test_no_adversary_needs_no_target_and_draws_nothing(problem: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    SACL(problem.net, {}, settings_of(adversary=CLEAN_ONLY), generator=generator).backward(problem.closure())
    assert torch.equal(generator.get_state(), before)


@pytest.mark.parametrize("kind", ["fgm", "pgd", "random", "virtual"])
def test_a_scaled_loss_scales_the_gradients_and_moves_the_perturbation_nowhere(problem: Any, kind: str) -> None:
    # A power of two, so that the bits are the same.
    results = []
    for scale in (1.0, 1024.0):
        problem.net.zero_grad()
        targets = {"context": list(problem.net.encoder.parameters())}
        sacl = SACL(
            problem.net,
            targets,
            settings_of(adversary={"kind": kind}),
            generator=torch.Generator().manual_seed(0),
            scale=partial(torch.mul, torch.tensor(scale)),
        )
        step = sacl.backward(problem.closure())
        assert step.adversarial is not None
        results.append((step.adversarial.total, problem.moved(), problem.gradients()))
    (plain, moved, gradients), (scaled, scaled_moved, scaled_gradients) = results
    torch.testing.assert_close(scaled, plain, rtol=1e-9, atol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(scaled_moved[name], moved[name], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(scaled_gradients[name] / 1024, gradient, rtol=1e-9, atol=1e-12)


def test_under_autocast_gradients_are_finite_and_parameters_untouched() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
    before = [p.detach().clone() for p in net.parameters()]
    x, y = torch.randn(6, 4), torch.arange(6) % 3

    def closure() -> Forward:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = net[0](x)
            return Forward(net[1](hidden).log_softmax(dim=1), hidden, y)

    step = SACL(net, {"context": net[0]}, settings_of(contrast_on="hidden")).backward(closure)
    assert step.adversarial is not None
    assert step.adversarial.total.isfinite()
    assert step.adversarial.total != step.clean.total
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all(torch.equal(p, value) for p, value in zip(net.parameters(), before, strict=True))
