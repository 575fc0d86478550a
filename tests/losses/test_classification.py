"""The focal loss, against its formula utterance by utterance."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor

from sacl import SACL, Forward, ObjectiveSettings
from sacl.losses import focal_loss, require_log_probabilities

CLASSES = 4


def problem(seed: int, utterances: int, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(utterances, CLASSES, generator=generator, dtype=torch.float64)
    return logits.log_softmax(dim=1), torch.randint(CLASSES, (utterances,), generator=generator)


def by_the_formula(log_probabilities: Tensor, labels: Tensor, gamma: float, weights: Tensor | None) -> list[float]:
    terms = []
    for row, y in zip(log_probabilities.tolist(), labels.tolist(), strict=True):
        weight = 1.0 if weights is None else float(weights[y])
        terms.append(-weight * (1 - math.exp(row[y])) ** gamma * row[y])
    return terms


@given(
    seed=st.integers(0, 10**6),
    utterances=st.integers(1, 12),
    gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]),
    weighted=st.booleans(),
)
def test_equals_the_formula_summed_over_utterances(seed: int, utterances: int, gamma: float, weighted: bool) -> None:
    log_probabilities, labels = problem(seed, utterances)
    weights = torch.tensor([0.5, 3.0, 1.0, 11.4], dtype=torch.float64) if weighted else None
    terms = by_the_formula(log_probabilities, labels, gamma, weights)
    summed = focal_loss(log_probabilities, labels, gamma=gamma, class_weights=weights)
    mean = focal_loss(log_probabilities, labels, gamma=gamma, class_weights=weights, reduction="mean")
    assert summed.item() == pytest.approx(sum(terms), rel=1e-12, abs=1e-12)
    assert mean.item() == pytest.approx(sum(terms) / utterances, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_without_gamma_and_weights_it_is_cross_entropy(reduction: str) -> None:
    logits = torch.randn(7, CLASSES, dtype=torch.float64)
    labels = torch.arange(7) % CLASSES
    ours = focal_loss(logits.log_softmax(1), labels, reduction=reduction)  # type: ignore[arg-type]
    theirs = torch.nn.functional.cross_entropy(logits, labels, reduction=reduction)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
def test_the_factor_is_a_constant_to_the_gradient(gamma: float) -> None:
    log_probabilities, labels = problem(3, 9)
    weights = torch.tensor([0.5, 3.0, 1.0, 11.4], dtype=torch.float64)
    leaf = log_probabilities.clone().requires_grad_()
    focal_loss(leaf, labels, gamma=gamma, class_weights=weights).backward()
    expected = torch.zeros_like(log_probabilities)
    for i, y in enumerate(labels.tolist()):
        expected[i, y] = -weights[y] * (1 - log_probabilities[i, y].exp()) ** gamma
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, expected, rtol=0, atol=1e-12)


def test_with_gamma_the_gradient_is_not_that_of_the_whole_formula() -> None:
    log_probabilities, labels = problem(3, 9)
    leaf = log_probabilities.clone().requires_grad_()
    log_p = leaf.gather(1, labels[:, None])[:, 0]
    (whole,) = torch.autograd.grad((-((1 - log_p.exp()) ** 1.0) * log_p).sum(), leaf)
    (ours,) = torch.autograd.grad(focal_loss(leaf, labels, gamma=1.0), leaf)
    assert (whole - ours).abs().max() > 1e-2


def test_gradcheck_of_cross_entropy() -> None:
    log_probabilities, labels = problem(5, 6)
    weights = torch.tensor([0.5, 3.0, 1.0, 11.4], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: focal_loss(x, labels, class_weights=weights), (log_probabilities.requires_grad_(),)
    )


@given(seed=st.integers(0, 10**6), gamma=st.sampled_from([0.0, 1.0, 2.0]))
def test_the_order_of_utterances_and_the_names_of_classes_do_not_matter(seed: int, gamma: float) -> None:
    log_probabilities, labels = problem(seed, 8)
    weights = torch.rand(CLASSES, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    loss = focal_loss(log_probabilities, labels, gamma=gamma, class_weights=weights)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    shuffled = focal_loss(log_probabilities[order], labels[order], gamma=gamma, class_weights=weights)
    torch.testing.assert_close(shuffled, loss, rtol=1e-12, atol=1e-12)
    new = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(seed + 1))
    renamed = focal_loss(
        log_probabilities[:, new.argsort()], new[labels], gamma=gamma, class_weights=weights[new.argsort()]
    )
    torch.testing.assert_close(renamed, loss, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 10**6))
def test_the_sum_over_two_batches_is_the_sum_over_both(seed: int) -> None:
    log_probabilities, labels = problem(seed, 9)
    parts = [focal_loss(log_probabilities[part], labels[part], gamma=1.0) for part in (slice(4), slice(4, 9))]
    torch.testing.assert_close(sum(parts), focal_loss(log_probabilities, labels, gamma=1.0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_no_utterance_costs_nothing_and_can_be_differentiated(reduction: str) -> None:
    leaf = torch.zeros(0, CLASSES, requires_grad=True)
    loss = focal_loss(leaf, torch.zeros(0, dtype=torch.long), gamma=1.0, reduction=reduction)  # type: ignore[arg-type]
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_logits_give_finite_losses_and_gradients(gamma: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e5, -1e5, 0.0], [1e5, -1e5, 0.0], [0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    loss = focal_loss(logits.log_softmax(1), torch.tensor([0, 1, 2]), gamma=gamma)
    loss.backward()
    assert loss.item() == pytest.approx(2e5, rel=1e-4)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_scores_for_log_probabilities_are_refused() -> None:
    scores = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    for fine in (scores.log_softmax(1), scores.log_softmax(1).half(), scores[:0], scores * torch.nan):
        require_log_probabilities(fine)
    with pytest.raises(ValueError, match=r"adds up to 10.1, not to 1: return scores.log_softmax\(dim=1\)"):
        require_log_probabilities(scores)
    with pytest.raises(ValueError, match="not to 1"):
        require_log_probabilities(100 * scores)
    head = torch.nn.Linear(2, 2)
    objective = SACL(head, {}, ObjectiveSettings(adversary={"kind": "none"}))
    with pytest.raises(ValueError, match="not to 1"):
        objective.backward(lambda: Forward(3 * head(scores), scores, torch.tensor([0, 1])))
