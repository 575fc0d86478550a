"""The Dual-LSTM as a paper writes it: a sequence at a time, a cell at a time, gradients by autograd.

Tests hold the fast path to it, and benchmarks time the fast path against it, under the same objective.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sacl.model.batch import ConversationBatch
from sacl.model.dual_lstm import ModelOutput


class PlainLSTM(nn.Module):
    """Parameters, and their names, of a bidirectional `torch.nn.LSTM`."""

    def __init__(self, input_size: int, hidden_size: int, layers: int = 1) -> None:
        super().__init__()
        like = nn.LSTM(input_size, hidden_size, layers, bidirectional=True)
        self.layers = layers
        for name, parameter in like.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, sequence: Tensor) -> Tensor:
        """Shape (steps, inputs) -> (steps, 2 x hidden)."""
        for layer in range(self.layers):
            forwards = self.read(sequence, f"l{layer}")
            backwards = self.read(sequence.flip(0), f"l{layer}_reverse").flip(0)
            sequence = torch.cat([forwards, backwards], dim=1)
        return sequence

    def read(self, sequence: Tensor, which: str) -> Tensor:
        """i, f, g, o from the input and the last output; c = f c + i g; h = o tanh(c)."""
        w_ih, w_hh, b_ih, b_hh = (self.get_parameter(f"{kind}_{which}") for kind in KINDS)
        h = c = sequence.new_zeros(w_hh.shape[1])
        outputs = []
        for x in sequence:
            i, f, g, o = (w_ih @ x + b_ih + w_hh @ h + b_hh).chunk(4)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs)


KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class PlainDualLSTM(nn.Module):
    """Same parameters under the same names as `DualLSTM`."""

    def __init__(self, input_size: int, classes: int, hidden_size: int, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.context_lstm = PlainLSTM(input_size, hidden_size, layers)
        self.speaker_lstm = PlainLSTM(input_size, hidden_size, layers)
        self.classifier = nn.Linear(4 * hidden_size, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: ConversationBatch, generator: torch.Generator | None = None) -> ModelOutput:
        """See `DualLSTM.forward`; dropout, before the classifier alone, comes from PyTorch's own generator."""
        hidden = []
        features, speakers = batch.features.split(batch.lengths), batch.speakers.split(batch.lengths)
        for turns, who in zip(features, speakers, strict=True):
            context = self.context_lstm(turns)
            speaker = torch.zeros_like(context)
            for one in who.unique():
                own = (who == one).nonzero()[:, 0]
                if len(own) > 1:
                    speaker = speaker.index_copy(0, own, self.speaker_lstm(turns[own]))
            hidden.append(torch.cat([context, speaker], dim=1))
        together = torch.cat(hidden)
        return ModelOutput(self.classifier(self.dropout(together.relu())).log_softmax(dim=1), together)

    def targets(self) -> dict[str, Mapping[str, nn.Parameter]]:
        """As `DualLSTM.targets`: input weights and biases of the last layer of each LSTM."""
        return {
            channel: {k: p for k, p in lstm.named_parameters() if f"_ih_l{lstm.layers - 1}" in k}
            for channel, lstm in (("context", self.context_lstm), ("speaker", self.speaker_lstm))
        }
