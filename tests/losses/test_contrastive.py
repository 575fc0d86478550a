"""NT-Xent and SupCon, against their formulas in double loops and against pytorch-metric-learning."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor
from torch.nn.functional import normalize, softplus
from torch.utils._python_dispatch import TorchDispatchMode

from sacl.losses import contrastive, nt_xent, sup_con

LOSSES = [nt_xent, sup_con]
SIMILARITIES = ["cosine", "dot"]
Loss = Callable[..., Tensor]
BATCHES = st.lists(st.integers(0, 3), min_size=1, max_size=9)


def embeddings_for(labels: list[int], seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(len(labels), 5, generator=generator, dtype=torch.float64)


def similarity_of(a: list[float], b: list[float], kind: str) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot if kind == "dot" else dot / (math.hypot(*a) * math.hypot(*b))


def nt_xent_by_the_formula(z: list[list[float]], labels: list[int], kind: str, temperature: float) -> float:
    def e(i: int, j: int) -> float:
        return math.exp(similarity_of(z[i], z[j], kind) / temperature)

    terms = []
    for i in range(len(z)):
        negatives = sum(e(i, a) for a in range(len(z)) if labels[a] != labels[i])
        for p in range(len(z)):
            if p != i and labels[p] == labels[i]:
                terms.append(-math.log(e(i, p) / (e(i, p) + negatives)))
    return sum(terms) / len(terms) if terms else 0.0


def sup_con_by_the_formula(z: list[list[float]], labels: list[int], kind: str, temperature: float) -> float:
    total = 0.0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        below = sum(math.exp(similarity_of(z[i], z[a], kind) / temperature) for a in others)
        for p in positives:
            above = math.exp(similarity_of(z[i], z[p], kind) / temperature)
            total -= math.log(above / below) / len(positives)
    return total


def plain(loss: Loss, z: Tensor, labels: Tensor, temperature: float, kind: str) -> Tensor:
    """The equation on the whole matrix of scores; its gradient is autograd's."""
    z = normalize(z, dim=1) if kind == "cosine" else z
    scores = z @ z.T / temperature
    same = labels[:, None] == labels
    itself = torch.eye(len(labels), dtype=torch.bool)
    positive = same & ~itself
    if loss is nt_xent:
        log_negatives = scores.masked_fill(same, -1e300).logsumexp(dim=1, keepdim=True)
        return softplus(log_negatives - scores, threshold=50)[positive].sum() / positive.sum().clamp(min=1)
    log_p = scores.masked_fill(itself, -1e300).log_softmax(dim=1)
    return -(torch.where(positive, log_p, 0.0).sum(dim=1) / positive.sum(dim=1).clamp(min=1)).sum()


def with_gradient(loss: Loss, z: Tensor, *arguments: object, **options: object) -> tuple[Tensor, Tensor]:
    leaf = z.detach().clone().requires_grad_()
    value = loss(leaf, *arguments, **options)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


@given(labels=BATCHES, seed=st.integers(0, 10**6), temperature=st.sampled_from([0.1, 0.5, 1.0]))
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize(("loss", "formula"), [(nt_xent, nt_xent_by_the_formula), (sup_con, sup_con_by_the_formula)])
def test_equals_the_formula(
    loss: Loss, formula: Callable[..., float], similarity: str, labels: list[int], seed: int, temperature: float
) -> None:
    z = embeddings_for(labels, seed)
    ours = loss(z, torch.tensor(labels), temperature=temperature, similarity=similarity).item()
    assert ours == pytest.approx(formula(z.tolist(), labels, similarity, temperature), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2], [0, 1, 0, 1, 0, 2, 2], [0, 0, 0, 1]])
def test_nt_xent_equals_pytorch_metric_learning(labels: list[int], temperature: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its import says of other libraries is not ours
        losses = pytest.importorskip("pytorch_metric_learning.losses")
    z = embeddings_for(labels, 4)
    theirs = losses.NTXentLoss(temperature=temperature)(z, torch.tensor(labels))
    torch.testing.assert_close(nt_xent(z, torch.tensor(labels), temperature=temperature), theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradcheck(loss: Loss, similarity: str) -> None:
    labels = [0, 1, 0, 2, 1, 0]
    z = embeddings_for(labels, 7).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: loss(x, torch.tensor(labels), temperature=0.5, similarity=similarity), (z,)
    )


@pytest.mark.parametrize("block", [1, 150, 3 * 150, 7 * 150 + 1, 149 * 150, 150 * 150, 2**20])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_in_blocks_of_any_size_value_and_gradient_are_those_of_the_equation_under_autograd(
    loss: Loss, similarity: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrastive, "BLOCK", block)
    labels = torch.randint(7, (150,), generator=torch.Generator().manual_seed(2))
    labels[70] = 9  # in a class of its own
    z = embeddings_for(labels.tolist(), 3)
    ours = with_gradient(loss, z, labels, temperature=0.5, similarity=similarity)
    theirs = with_gradient(lambda x: plain(loss, x, labels, 0.5, similarity), z)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Inside, `entries` becomes the size of the largest tensor that any operation gives."""

    entries = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):  # type: ignore[no-untyped-def]
        result = function(*arguments, **(options or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            self.entries = max(self.entries, tensor.numel() if isinstance(tensor, Tensor) else 0)
        return result


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_no_tensor_is_larger_than_a_block_and_nothing_of_a_block_is_kept_for_the_backward_pass(
    loss: Loss, similarity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contrastive, "BLOCK", 1000)
    z, kept = embeddings_for([i % 3 for i in range(150)]).requires_grad_(), []
    with (
        LargestTensor() as largest,
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t),
    ):
        loss(z, torch.arange(150) % 3, similarity=similarity).backward()
    assert largest.entries <= 1000
    assert sum(t.numel() for t in kept) <= 3 * z.numel()


@pytest.mark.parametrize("block", [12, 2**20])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradgradcheck(loss: Loss, similarity: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrastive, "BLOCK", block)
    labels = [0, 1, 0, 2, 1, 0]
    z = embeddings_for(labels, 7).requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda x: loss(x, torch.tensor(labels), temperature=0.5, similarity=similarity), (z,)
    )


@given(labels=BATCHES, seed=st.integers(0, 10**6))
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_order_of_utterances_and_the_names_of_classes_do_not_matter(
    loss: Loss, similarity: str, labels: list[int], seed: int
) -> None:
    z, y = embeddings_for(labels, seed), torch.tensor(labels)
    value = loss(z, y, similarity=similarity)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(loss(z[order], y[order], similarity=similarity), value, rtol=1e-12, atol=1e-12)
    renamed = torch.tensor([7, 100, 0, 3])[y]
    torch.testing.assert_close(loss(z, renamed, similarity=similarity), value, rtol=1e-12, atol=1e-12)


@given(labels=BATCHES, seed=st.integers(0, 10**6), factor=st.sampled_from([1e-3, 2.0, 1e4]))
@pytest.mark.parametrize("loss", LOSSES)
def test_cosine_does_not_see_how_long_an_embedding_is(loss: Loss, labels: list[int], seed: int, factor: float) -> None:
    z, y = embeddings_for(labels, seed), torch.tensor(labels)
    stretched = z * torch.where(torch.arange(len(labels)) % 2 == 0, factor, 1.0)[:, None]
    torch.testing.assert_close(
        loss(stretched, y, similarity="cosine"), loss(z, y, similarity="cosine"), rtol=1e-9, atol=1e-12
    )


@given(labels=BATCHES, seed=st.integers(0, 10**6))
def test_nt_xent_does_not_see_an_utterance_far_from_all_in_a_class_of_its_own(labels: list[int], seed: int) -> None:
    z, y = embeddings_for(labels, seed), torch.tensor(labels)
    far = torch.cat([torch.cat([z, torch.ones(len(z), 1, dtype=z.dtype)], dim=1), torch.tensor([[0.0] * 5 + [-1e4]])])
    farther = nt_xent(far, torch.tensor([*labels, 9]), similarity="dot")
    without = nt_xent(far[:-1], y, similarity="dot")
    torch.testing.assert_close(farther, without, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("labels", [[], [0], [0, 1], [0, 1, 2, 3]])
def test_is_zero_and_without_gradient_where_no_two_utterances_share_a_label(
    loss: Loss, similarity: str, labels: list[int]
) -> None:
    z = embeddings_for(labels).requires_grad_()
    value = loss(z, torch.tensor(labels, dtype=torch.long), similarity=similarity)
    value.backward()
    assert value.item() == 0
    assert z.grad is not None
    assert not z.grad.any()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_nt_xent_is_zero_and_without_gradient_where_all_share_one_label(similarity: str) -> None:
    z = embeddings_for([2, 2, 2]).requires_grad_()
    value = nt_xent(z, torch.tensor([2, 2, 2]), similarity=similarity)  # type: ignore[arg-type]
    value.backward()
    assert value.item() == 0
    assert z.grad is not None
    assert not z.grad.any()


def test_sup_con_compares_positives_with_one_another_and_nt_xent_does_not() -> None:
    labels = torch.tensor([0, 0, 0])
    z = embeddings_for([0, 0, 0])
    assert sup_con(z, labels) > 0.1
    assert nt_xent(z, labels) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 1, 2]])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-6, 1.0, 1e6, 1e15])
def test_extreme_embeddings_give_finite_losses_and_gradients(
    loss: Loss, similarity: str, labels: list[int], scale: float, dtype: torch.dtype
) -> None:
    z = embeddings_for(labels, 1, scale).to(dtype).requires_grad_()
    value = loss(z, torch.tensor(labels), similarity=similarity)
    value.backward()
    assert value.isfinite()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_zero_vector_has_cosine_zero_with_everything_and_no_gradient(loss: Loss) -> None:
    labels = torch.tensor([0, 0, 1, 1])
    z = embeddings_for([0, 0, 1, 1])
    z[1] = 0
    orthogonal = torch.cat([z, torch.zeros(4, 1, dtype=z.dtype)], dim=1)
    orthogonal[1, -1] = 1
    z.requires_grad_()
    value = loss(z, labels, similarity="cosine")
    torch.testing.assert_close(value, loss(orthogonal, labels, similarity="cosine"), rtol=1e-12, atol=1e-12)
    value.backward()
    assert z.grad is not None
    assert not z.grad[1].any()
    assert z.grad[0].any()
    assert z.grad.abs().max() < 100


def test_confident_log_probabilities_can_be_contrasted() -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0], [9e3, 0.0, 0.0], [0.0, 1e4, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    value = nt_xent(logits.log_softmax(1), torch.tensor([0, 0, 1, 1]))
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_embeddings_and_labels_may_be_views(loss: Loss) -> None:
    labels = torch.tensor([[0, 5], [1, 5], [0, 5]])[:, 0]
    z = embeddings_for([0, 1, 0, 0, 1]).T[:, :3]
    z = torch.stack([z, z], dim=2)[:3, :, 0]
    torch.testing.assert_close(loss(z, labels), loss(z.contiguous(), labels.contiguous()), rtol=0, atol=0)
