"""Every baseline against its equations, computed one conversation and one utterance at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sacl.model.baselines.bc_lstm import BcLSTM
from sacl.model.baselines.dialogue_crn import DialogueCRN
from sacl.model.baselines.dialogue_rnn import DialogueRNN
from sacl.model.baselines.transformer import Transformer, sinusoids
from sacl.model.batch import ConversationItem, collate
from sacl.model.build import MODELS

WIDTH, CLASSES = 6, 3


def conversation(id: str, speakers: list[int]) -> ConversationItem:
    features = torch.randn(len(speakers), WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return ConversationItem(id, features, np.array(speakers), np.zeros(len(speakers), dtype=np.int64))


# Of several lengths, with one, two and four speakers, turns that repeat, and a conversation of a single turn.
CONVERSATIONS = [
    conversation("two", [0, 1, 0, 0, 1, 0]),
    conversation("four", [3, 1, 2, 0, 3, 3, 2]),
    conversation("single", [5]),
    conversation("monologue", [0, 0, 0, 0]),
]


def check(kind: str, **options: object) -> None:
    """All conversations in one batch against the equations, one at a time; no parameter has a special value."""
    torch.manual_seed(7)
    network = MODELS[kind](WIDTH, CLASSES, hidden_size=8, dropout=0.3, **options).double().eval()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.3 * torch.randn(p.shape, dtype=p.dtype))
        batch = collate(CONVERSATIONS)
        found = network(batch).log_probabilities.split(batch.lengths)
        for item, scores in zip(CONVERSATIONS, found, strict=True):
            torch.testing.assert_close(scores, ORACLES[kind](network, item), rtol=0, atol=1e-10)


def gru_cell(x: Tensor, h: Tensor, cell: nn.Module, suffix: str = "") -> Tensor:
    w_x, w_h = getattr(cell, f"weight_ih{suffix}"), getattr(cell, f"weight_hh{suffix}")
    b_x, b_h = getattr(cell, f"bias_ih{suffix}"), getattr(cell, f"bias_hh{suffix}")
    r_x, z_x, n_x = (w_x @ x + b_x).chunk(3)
    r_h, z_h, n_h = (w_h @ h + b_h).chunk(3)
    r, z = torch.sigmoid(r_x + r_h), torch.sigmoid(z_x + z_h)
    return (1 - z) * torch.tanh(n_x + r * n_h) + z * h


def lstm_cell(x: Tensor, h: Tensor, c: Tensor, cell: nn.LSTMCell) -> tuple[Tensor, Tensor]:
    i, f, g, o = (cell.weight_ih @ x + cell.bias_ih + cell.weight_hh @ h + cell.bias_hh).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm(x: Tensor, like: nn.LSTM) -> Tensor:
    plain = nn.LSTM(like.input_size, like.hidden_size, like.num_layers, bidirectional=like.bidirectional).double()
    plain.load_state_dict(like.state_dict())
    return plain(x)[0]


def emotions_of(item: ConversationItem, reader: nn.Module, backwards: bool) -> list[Tensor]:
    turns = list(range(len(item.labels)))
    zero = torch.zeros(8, dtype=torch.float64)
    g: list[Tensor] = []
    parties: dict[int, Tensor] = {}
    e, emotions = zero, {}
    for t in reversed(turns) if backwards else turns:
        u, who = item.features[t], int(item.speakers[t])
        q = parties.get(who, zero)
        c = zero
        if g:
            alpha = torch.stack([(reader.attention.weight @ u) @ earlier for earlier in g]).softmax(0)
            c = sum(a * earlier for a, earlier in zip(alpha, g, strict=True))
        now = gru_cell(torch.cat([u, q]), g[-1] if g else zero, reader.global_gru)
        parties[who] = gru_cell(torch.cat([u, c]), q, reader.party_gru)
        g.append(now)
        e = gru_cell(parties[who], e, reader.emotion_gru, "_l0")
        emotions[t] = e
    return [emotions[t] for t in turns]


def dialogue_rnn_oracle(network: DialogueRNN, item: ConversationItem) -> Tensor:
    states = torch.stack(emotions_of(item, network.forwards, backwards=False))
    if network.backwards is not None:
        states = torch.cat([states, torch.stack(emotions_of(item, network.backwards, backwards=True))], 1)
    return network.classifier(network.emotion(states).relu()).log_softmax(1)


def dialogue_crn_oracle(network: DialogueCRN, item: ConversationItem) -> Tensor:
    turns = range(len(item.labels))
    context = lstm(item.features, network.context_lstm)
    own = torch.zeros_like(context)
    for who in set(item.speakers.tolist()):
        rows = np.flatnonzero(item.speakers == who)
        if len(rows) > 1:
            own[rows] = lstm(item.features[rows], network.speaker_lstm)
    results = []
    for i in turns:
        levels = []
        for memory, reasoning in ((own, network.speaker_reasoning), (context, network.context_reasoning)):
            q = reasoning.query(memory[i])
            h = c = torch.zeros(memory.shape[1], dtype=torch.float64)
            for _ in range(reasoning.steps):
                h, c = lstm_cell(q, h, c, reasoning.retrieve)
                visible = [j for j in turns if j <= i or not reasoning.causal]
                alpha = torch.stack([memory[j] @ h for j in visible]).softmax(0)
                q = torch.cat([h, sum(a * memory[j] for a, j in zip(alpha, visible, strict=True))])
            levels.append(q)
        results.append(network.classifier(torch.cat(levels).relu()).log_softmax(0))
    return torch.stack(results)


def transformer_oracle(network: Transformer, item: ConversationItem) -> Tensor:
    turns, width = range(len(item.labels)), network.embed.out_features
    place = [
        [(math.cos if k % 2 else math.sin)(t / 10000 ** ((k - k % 2) / width)) for k in range(width)] for t in turns
    ]
    x = network.embed(item.features) + torch.tensor(place, dtype=torch.float64)
    for layer in network.layers:
        q, k, v = layer.attend(layer.attend_norm(x)).chunk(3, dim=1)
        size = width // layer.heads
        read = torch.zeros_like(x)
        for head in range(layer.heads):
            part = slice(head * size, (head + 1) * size)
            for i in turns:
                visible = [j for j in turns if j <= i or not layer.causal]
                energies = [
                    q[i, part] @ k[j, part] / math.sqrt(size)
                    + layer.same_speaker[head] * float(item.speakers[i] == item.speakers[j])
                    for j in visible
                ]
                alpha = torch.stack(energies).softmax(0)
                read[i, part] = sum(a * v[j, part] for a, j in zip(alpha, visible, strict=True))
        x = x + layer.gather(read)
        x = x + layer.mlp(layer.mlp_norm(x))
    return network.classifier(network.norm(x)).log_softmax(1)


def bc_lstm_oracle(network: BcLSTM, item: ConversationItem) -> Tensor:
    return network.classifier(lstm(item.features, network.context_lstm).relu()).log_softmax(1)


ORACLES: dict[str, Callable[..., Tensor]] = {
    "bc_lstm": bc_lstm_oracle,
    "dialogue_rnn": dialogue_rnn_oracle,
    "dialogue_crn": dialogue_crn_oracle,
    "transformer": transformer_oracle,
}


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ORACLES)
def test_computes_its_equations(kind: str, layers: int, bidirectional: bool) -> None:
    check(kind, layers=layers, bidirectional=bidirectional)


def test_dialogue_crn_reasons_as_often_as_it_is_told() -> None:
    check("dialogue_crn", context_steps=1, speaker_steps=4)
    with pytest.raises(ValueError, match="0 steps"):
        DialogueCRN(WIDTH, CLASSES, context_steps=0)


def test_transformer_refuses_a_width_that_its_heads_cannot_share() -> None:
    with pytest.raises(ValueError, match="no multiple of 8"):
        Transformer(WIDTH, CLASSES, hidden_size=12)


def test_sinusoids_tell_positions_apart_however_long_the_conversation() -> None:
    signs = sinusoids(torch.arange(2000), torch.zeros(1, 32, dtype=torch.float64))
    assert torch.pdist(signs).min() > 0.1
