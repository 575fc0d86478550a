"""Both LSTMs at once give the bits of one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from sacl.model.batch import ConversationBatch, ConversationItem, collate
from sacl.model.dual_lstm import DualLSTM


def make_model(side_by_side: bool, layers: int = 1, dropout: float = 0.2) -> DualLSTM:
    torch.manual_seed(0)
    model = DualLSTM(6, 3, hidden_size=4, layers=layers, dropout=dropout)
    model.side_by_side = side_by_side
    return model


def make_batch(speakers: int = 2) -> ConversationBatch:
    draw = np.random.default_rng(0)
    return collate(
        [
            ConversationItem(
                str(i),
                torch.from_numpy(draw.standard_normal((n, 6)).astype(np.float32)),
                np.arange(n) % speakers,
                draw.integers(0, 3, n),
            )
            for i, n in enumerate([3, 8, 5])
        ]
    )


def outcome(model: DualLSTM, batch: ConversationBatch) -> list[Tensor | None]:
    output = model(batch, torch.Generator().manual_seed(3))
    (output.log_probabilities.square().sum() + output.hidden.sum()).backward()
    return [output.log_probabilities, output.hidden, *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("speakers", [2, 20], ids=["two speakers", "nobody speaks twice"])
@pytest.mark.parametrize("frozen", [False, True])
def test_outputs_and_gradients_have_the_same_bits(layers: int, speakers: int, frozen: bool) -> None:
    found = []
    for side_by_side in (False, True):
        model = make_model(side_by_side, layers)
        if frozen:
            for p in model.context_lstm.last_layer_inputs().values():
                p.requires_grad_(False)
        found.append(outcome(model, make_batch(speakers)))
    for a, b in zip(*found, strict=True):
        assert (a is None and b is None) or torch.equal(a, b)


def test_the_gradient_of_the_features_is_the_sum_of_both() -> None:
    found = []
    for side_by_side in (False, True):
        model, batch = make_model(side_by_side, dropout=0.0), make_batch()
        features = batch.features.clone().requires_grad_()
        model(batch.with_features(features)).log_probabilities.square().sum().backward()
        found.append(features.grad)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-7)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_nothing_is_recorded(mode: type) -> None:
    model, batch = make_model(True).eval(), make_batch()
    with mode():
        output = model(batch)
    assert not output.log_probabilities.requires_grad
    assert torch.equal(output.log_probabilities, make_model(False).eval()(batch).log_probabilities)


def test_an_error_in_the_other_thread_arrives() -> None:
    model, batch = make_model(True), make_batch()

    def fail(*_: object) -> Tensor:
        raise ValueError("no such thing")

    model.speaker_lstm.forward = fail  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="no such thing"):
        model(batch)
