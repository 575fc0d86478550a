"""The Dual-LSTM, against the LSTM's equations a cell at a time and against torch.nn.LSTM on padded tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sacl.errors import ModelError
from sacl.model.batch import ConversationBatch, ConversationItem, collate
from sacl.model.dual_lstm import DualLSTM, ModelOutput, PackedLSTM, dropout_mask, from_released

EXACT: dict[str, Any] = {"rtol": 0.0, "atol": 1e-12}
WIDTH, HIDDEN, CLASSES = 5, 3, 4
Padding = Literal["packed", "released"]
PADDINGS: list[Padding] = ["packed", "released"]
TURNS = [[0, 1, 0, 0, 2], [0], [1, 0, 1, 0, 1, 1, 3, 0], [0, 1], [4, 4, 4]]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def items_of(speakers: list[list[int]]) -> list[ConversationItem]:
    generator = torch.Generator().manual_seed(1)
    return [
        ConversationItem(
            str(i),
            torch.randn(len(turns), WIDTH, generator=generator),
            np.array(turns),
            np.arange(len(turns)) % CLASSES,
        )
        for i, turns in enumerate(speakers)
    ]


def model_of(layers: int = 1, bidirectional: bool = True, dropout: float = 0.0) -> DualLSTM:
    return DualLSTM(WIDTH, CLASSES, hidden_size=HIDDEN, layers=layers, bidirectional=bidirectional, dropout=dropout)


def read_by_the_equations(lstm: nn.LSTM, x: Tensor, layer: int = 0) -> Tensor:
    """One sequence, shape (turns, features) -> (turns, directions x hidden), one cell after another."""
    directions = []
    for suffix in ("", "_reverse")[: 2 if lstm.bidirectional else 1]:
        w_x, w_h, b_x, b_h = (
            getattr(lstm, f"{part}_l{layer}{suffix}") for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h = c = torch.zeros(lstm.hidden_size)
        outputs = []
        for row in reversed(list(x)) if suffix else x:
            i, f, g, o = (w_x @ row + b_x + w_h @ h + b_h).chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        directions.append(torch.stack(outputs[::-1] if suffix else outputs))
    read = torch.cat(directions, dim=1)
    return read if layer == lstm.num_layers - 1 else read_by_the_equations(lstm, read, layer + 1)


def hidden_by_the_equations(model: DualLSTM, items: list[ConversationItem], shortest: int) -> Tensor:
    hidden = []
    for item in items:
        context = read_by_the_equations(model.context_lstm, item.features)
        speaker = torch.zeros_like(context)
        for who in set(item.speakers.tolist()):
            turns = [i for i, other in enumerate(item.speakers.tolist()) if other == who]
            if len(turns) >= shortest:
                speaker[turns] = read_by_the_equations(model.speaker_lstm, item.features[turns])
        hidden.append(torch.cat([context, speaker], dim=1))
    return torch.cat(hidden)


@pytest.mark.parametrize("shortest", [1, 2])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_hidden_states_and_scores_follow_the_equations(layers: int, bidirectional: bool, shortest: int) -> None:
    model, items = model_of(layers, bidirectional), items_of(TURNS)
    output = model(collate(items, min_speaker_utterances=shortest))
    hidden = hidden_by_the_equations(model, items, shortest)
    torch.testing.assert_close(output.hidden, hidden, **EXACT)
    scores = hidden.clamp(min=0) @ model.classifier.weight.T + model.classifier.bias
    log_probabilities = scores - scores.exp().sum(dim=1, keepdim=True).log()
    torch.testing.assert_close(output.log_probabilities, log_probabilities, **EXACT)


@pytest.mark.parametrize("layers", [1, 2])
def test_gradients_follow_the_equations(layers: int) -> None:
    model, items = model_of(layers), items_of(TURNS)
    parameters = [*model.context_lstm.parameters(), *model.speaker_lstm.parameters()]
    ours = torch.autograd.grad(model(collate(items)).hidden.square().sum(), parameters)
    theirs = torch.autograd.grad(hidden_by_the_equations(model, items, 2).square().sum(), parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_released_padding_equals_pytorch_on_zero_padded_tensors(layers: int, bidirectional: bool) -> None:
    model, items = model_of(layers, bidirectional), items_of(TURNS)
    longest = max(map(len, TURNS))

    def read_padded(lstm: PackedLSTM, turns: Tensor) -> Tensor:
        plain = nn.LSTM(WIDTH, HIDDEN, layers, bidirectional=bidirectional)
        plain.load_state_dict(lstm.state_dict())
        padded = torch.cat([turns, torch.zeros(longest - len(turns), WIDTH)])
        read: Tensor = plain(padded[:, None])[0]
        return read[: len(turns), 0]

    hidden = []
    for item in items:
        context = read_padded(model.context_lstm, item.features)
        speaker = torch.zeros_like(context)
        for who in np.unique(item.speakers):
            own = np.flatnonzero(item.speakers == who)
            if len(own) >= 2:
                speaker[own] = read_padded(model.speaker_lstm, item.features[own])
        hidden.append(torch.cat([context, speaker], dim=1))
    released = model(collate(items, padding="released")).hidden
    torch.testing.assert_close(released, torch.cat(hidden), **EXACT)
    packed = model(collate(items)).hidden
    assert ((released - packed).abs().max() > 1e-3) == bidirectional


def test_a_causal_model_sees_no_later_turn() -> None:
    model = model_of(2, bidirectional=False)
    (item,) = items_of([[0, 1, 0, 1, 0, 0]])
    changed = item.features.clone()
    changed[3:] += 1
    before = model(collate([item])).log_probabilities
    after = model(collate([ConversationItem("0", changed, item.speakers, item.labels)])).log_probabilities
    assert torch.equal(before[:3], after[:3])
    assert (before[3:] != after[3:]).any(dim=1).all()


def test_a_lone_turn_has_zeros_for_the_speaker_half() -> None:
    hidden = model_of()(collate(items_of([[0, 1, 0]]))).hidden
    assert not hidden[1, 2 * HIDDEN :].any()
    assert hidden[[0, 2], 2 * HIDDEN :].all()


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("layers", [1, 2])
def test_gradients_of_the_speaker_lstm_are_zero_not_absent_where_no_speaker_has_two_turns(
    layers: int, padding: Padding
) -> None:
    model = model_of(layers)
    model(collate(items_of([[0, 1], [0]]), padding=padding)).log_probabilities.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    assert all(p.grad is not None and not p.grad.any() for p in model.speaker_lstm.parameters())


def test_the_state_dict_has_the_names_of_pytorchs_lstm() -> None:
    lstm = [
        f"{part}_l{k}{d}"
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        for k in (0, 1)
        for d in ("", "_reverse")
    ]
    names = {f"{which}_lstm.{name}" for which in ("context", "speaker") for name in lstm}
    assert set(model_of(2).state_dict()) == names | {"classifier.weight", "classifier.bias"}
    plain = nn.LSTM(WIDTH, HIDDEN, 2, bidirectional=True)
    assert {k: v.shape for k, v in plain.state_dict().items()} == {
        k: v.shape for k, v in model_of(2).context_lstm.state_dict().items()
    }


def test_fresh_weights_are_those_of_pytorchs_lstm() -> None:
    torch.manual_seed(3)
    plain = nn.LSTM(WIDTH, HIDDEN, 2, bidirectional=True)
    torch.manual_seed(3)
    ours = model_of(2).context_lstm
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), ours.parameters(), strict=True))


def test_the_released_checkpoints_names_become_ours_and_strange_ones_are_refused() -> None:
    model = model_of()
    theirs = {
        name.replace("context_lstm.", "rnn.")
        .replace("speaker_lstm.", "rnn_parties.")
        .replace("classifier.", "cognition_net.smax_fc."): tensor
        for name, tensor in model.state_dict().items()
    }
    assert from_released(theirs).keys() == model.state_dict().keys()
    with pytest.raises(ModelError, match=r"'encoder\.weight'"):
        from_released({"encoder.weight": torch.zeros(1)})


@pytest.mark.parametrize("layers", [1, 2])
def test_what_contextual_training_moves_is_the_input_side_of_the_last_layer(layers: int) -> None:
    targets = model_of(layers).targets()
    for lstm in ("context_lstm", "speaker_lstm"):
        whole = {f"{lstm}.{k}": p for k, p in getattr(model_of(layers), lstm).named_parameters()}
        assert {k: p.shape for k, p in targets[lstm].items()} == {k: p.shape for k, p in whole.items()}
    for channel in ("context", "speaker"):
        expected = {
            f"{channel}_lstm.{part}_ih_l{layers - 1}{d}" for part in ("weight", "bias") for d in ("", "_reverse")
        }
        found = targets[channel]
        assert isinstance(found, dict)
        assert set(found) == expected
    assert isinstance(targets["input"], nn.Module)


def test_perturbed_features_are_what_both_lstms_read() -> None:
    model, batch = model_of(), collate(items_of(TURNS))
    noise = torch.randn_like(batch.features)
    expected = model(batch.with_features(batch.features + noise)).hidden
    inputs = model.targets()["input"]
    assert isinstance(inputs, nn.Module)
    with_hook = inputs.register_forward_hook(lambda module, args, output: output + noise)
    try:
        assert torch.equal(model(batch).hidden, expected)
    finally:
        with_hook.remove()


def trained_pass(model: DualLSTM, batch: ConversationBatch, seed: int) -> tuple[Tensor, Tensor]:
    output: ModelOutput = model.train()(batch, torch.Generator().manual_seed(seed))
    return output


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_follows_the_generator_alone(layers: int) -> None:
    model, batch = model_of(layers, dropout=0.5), collate(items_of(TURNS))
    first, _ = trained_pass(model, batch, 7)
    torch.rand(10)
    again, _ = trained_pass(model, batch, 7)
    other, _ = trained_pass(model, batch, 8)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("padding", PADDINGS)
def test_dropout_follows_pytorchs_generator_where_none_is_given(padding: Padding) -> None:
    model, batch = model_of(2, dropout=0.5).train(), collate(items_of(TURNS), padding=padding)
    torch.manual_seed(1)
    first = model(batch).log_probabilities
    torch.manual_seed(1)
    assert torch.equal(first, model(batch).log_probabilities)
    assert not torch.equal(first, model(batch).log_probabilities)


@pytest.mark.parametrize("layers", [1, 2])
def test_utterances_get_the_same_dropout_masks_packed_and_padded(layers: int) -> None:
    # A causal model never reads the padding before a turn, so nothing but the masks could tell the two apart.
    model, items = model_of(layers, bidirectional=False, dropout=0.5), items_of(TURNS)
    packed, _ = trained_pass(model, collate(items), 7)
    released, _ = trained_pass(model, collate(items, padding="released"), 7)
    torch.testing.assert_close(released, packed, **EXACT)


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_acts_in_training_only_and_between_layers_only_where_there_are_two(layers: int) -> None:
    model, batch = model_of(layers, dropout=0.5), collate(items_of(TURNS))
    without = model_of(layers)
    without.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(batch).log_probabilities, without(batch).log_probabilities)
    log_probabilities, hidden = trained_pass(model, batch, 7)
    assert not torch.equal(log_probabilities, without(batch).log_probabilities)
    assert torch.equal(hidden, without(batch).hidden) == (layers == 1)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_a_dropout_mask_drops_its_share_and_keeps_the_mean(p: float) -> None:
    mask = dropout_mask((200, 200), p, torch.zeros(1), torch.Generator().manual_seed(0))
    assert set(mask.unique().tolist()) == {0.0, 1 / (1 - p)}
    assert (mask == 0).double().mean().item() == pytest.approx(p, abs=0.01)
    assert mask.mean().item() == pytest.approx(1, abs=0.02)
