"""The written-out LSTM layer against PyTorch's, against numerical gradients, and against a plain cell-by-cell one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import PlainDualLSTM
from torch import Tensor

from sacl.model.batch import ConversationBatch, ConversationItem, Padding, collate
from sacl.model.dual_lstm import DualLSTM, PackedLSTM
from sacl.model.recurrence import LSTMLayer
from sacl.settings import ObjectiveSettings
from sacl.training.objective import SACL, Forward

CLASSES = 4


def make_batch(
    lengths: list[int], width: int = 5, speakers: int = 3, padding: Padding = "packed", seed: int = 0
) -> ConversationBatch:
    draw = np.random.default_rng(seed)
    items = [
        ConversationItem(
            str(i),
            torch.from_numpy(draw.standard_normal((n, width))),
            draw.integers(0, speakers, n),
            draw.integers(0, CLASSES, n),
        )
        for i, n in enumerate(lengths)
    ]
    return collate(items, padding=padding)


def gradients(output: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    weights = torch.from_numpy(np.random.default_rng(1).standard_normal(tuple(output.shape)))
    return list(torch.autograd.grad((output * weights).sum(), inputs))


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    padding=st.sampled_from(["packed", "released"]),
)
def test_outputs_and_gradients_are_those_of_pytorchs_lstm(
    lengths: list[int], layers: int, bidirectional: bool, padding: Padding
) -> None:
    torch.manual_seed(0)
    lstm = PackedLSTM(5, 6, layers, bidirectional=bidirectional).double()
    batch = make_batch(lengths, padding=padding)
    features = batch.features.requires_grad_()
    inputs = [features, *lstm.parameters()]
    ours = lstm(features, batch.context)
    packed = batch.context.gather(features)
    for layer in range(layers):
        packed = lstm._by_pytorch(packed, batch.context, layer)
    theirs = batch.context.scatter(packed, len(batch))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-13)
    for a, b in zip(gradients(ours, inputs), gradients(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("lengths", [[1], [3], [1, 1], [4, 2, 1]])
def test_gradients_are_the_numerical_ones(lengths: list[int]) -> None:
    torch.manual_seed(0)
    lstm = PackedLSTM(3, 2, bidirectional=True).double()
    sequences = make_batch(lengths, width=3).context
    packed = torch.randn(len(sequences.rows), 3, dtype=torch.float64, requires_grad=True)
    sizes = sequences.batch_sizes.tolist()
    torch.autograd.gradcheck(
        lambda x, *weights: LSTMLayer.apply(x, sequences.reverse, sizes, *weights), (packed, *lstm._layer(0))
    )


def test_only_gradients_that_are_asked_for_are_given() -> None:
    torch.manual_seed(0)
    lstm = PackedLSTM(3, 2, bidirectional=True).double()
    batch = make_batch([4, 2], width=3)
    whole = lstm(batch.features, batch.context).sum()
    whole.backward()
    expected = {name: p.grad.clone() for name, p in lstm.named_parameters() if p.grad is not None}
    for p in lstm.last_layer_inputs().values():
        p.requires_grad_(False)
    lstm.zero_grad()
    lstm(batch.features, batch.context).sum().backward()
    for name, p in lstm.named_parameters():
        if "_ih" in name:
            assert p.grad is None
        else:
            torch.testing.assert_close(p.grad, expected[name], rtol=0, atol=0)


def test_the_two_biases_do_not_share_the_memory_of_their_gradient() -> None:
    lstm = PackedLSTM(3, 2, bidirectional=True).double()
    batch = make_batch([4, 2], width=3)
    lstm(batch.features, batch.context).sum().backward()
    lstm.bias_ih_l0.grad.zero_()
    assert lstm.bias_hh_l0.grad.abs().sum() > 0


def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    lstm = PackedLSTM(3, 2).double()
    batch = make_batch([3], width=3)
    output = lstm(batch.features, batch.context).square().sum()
    first = torch.autograd.grad(output, lstm.weight_hh_l0, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first[0].sum().backward()


@pytest.mark.parametrize("layers", [1, 2])
def test_scores_losses_gradients_and_perturbed_gradients_are_those_of_a_plain_rewrite(layers: int) -> None:
    torch.manual_seed(0)
    fast = DualLSTM(5, CLASSES, hidden_size=6, layers=layers, dropout=0.0).double()
    plain = PlainDualLSTM(5, CLASSES, 6, layers).double()
    plain.load_state_dict(fast.state_dict())
    batch = make_batch([7, 1, 12, 4, 4])
    found = []
    for model in (fast, plain):
        sacl = SACL(model, model.targets(), ObjectiveSettings())

        def closure(model: torch.nn.Module = model) -> Forward:
            return Forward(*model(batch), batch.labels, batch.mask)

        steps = [sacl.backward(closure, draw) for draw in (0.05, 0.7)]
        found.append((steps, {name: p.grad for name, p in model.named_parameters()}))
    (fast_steps, fast_gradients), (plain_steps, plain_gradients) = found
    assert [s.channel for s in fast_steps] == ["context", "all"]
    for a, b in zip(fast_steps, plain_steps, strict=True):
        torch.testing.assert_close(a.forward.log_probabilities, b.forward.log_probabilities, rtol=0, atol=1e-12)
        torch.testing.assert_close(a.clean.total, b.clean.total, rtol=0, atol=1e-9)
        torch.testing.assert_close(a.adversarial.total, b.adversarial.total, rtol=0, atol=1e-9)
    for name, gradient in fast_gradients.items():
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=0, atol=1e-9)
