"""bc-LSTM: one LSTM over the conversation (Poria et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from sacl.model.batch import ConversationBatch
from sacl.model.dual_lstm import ModelOutput, PackedLSTM, dropout_mask


class BcLSTM(nn.Module):
    """Context LSTM, then a linear classifier; speakers are not told apart.

    h_t = LSTM(x_1 .. x_N)_t, scores = Linear(dropout(ReLU(h_t))): the contextual LSTM of the paper (its section 3.2,
    the bidirectional variant "bc-LSTM"), for one modality. It is the Dual-LSTM without its speaker half, so that what
    the speakers add can be read off.

    Poria, Cambria, Hazarika, Majumder, Zadeh, Morency 2017, Context-Dependent Sentiment Analysis in User-Generated
    Videos, ACL.

    Args:
        input_size: numbers an utterance.
        classes: emotions.
        hidden_size: of the LSTM, each direction.
        layers: of the LSTM.
        dropout: before the classifier and between layers.
        bidirectional: False makes a causal model, which sees no later turn (the paper's "sc-LSTM").
    """

    def __init__(
        self,
        input_size: int,
        classes: int,
        *,
        hidden_size: int = 128,
        layers: int = 1,
        dropout: float = 0.2,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        self.inputs = nn.Identity()
        self.context_lstm = PackedLSTM(input_size, hidden_size, layers, bidirectional=bidirectional)
        # Set after construction: torch.nn.LSTM warns about dropout on a single layer, where ours simply has none.
        self.context_lstm.dropout = dropout
        self.classifier = nn.Linear(hidden_size * (2 if bidirectional else 1), classes)
        self.dropout = dropout

    def forward(self, batch: ConversationBatch, generator: torch.Generator | None = None) -> ModelOutput:
        """See `DualLSTM.forward`."""
        hidden = self.context_lstm(self.inputs(batch.features), batch.context, generator)
        active = hidden.relu()
        if self.training and self.dropout:
            active = active * dropout_mask(active.shape, self.dropout, active, generator)
        return ModelOutput(self.classifier(active).log_softmax(dim=1), hidden)

    def targets(self) -> dict[str, Mapping[str, nn.Parameter] | nn.Module]:
        """What an adversary may perturb: `context` (input weights and biases of the last layer), `input` (features)."""
        return {
            "context": {f"context_lstm.{k}": p for k, p in self.context_lstm.last_layer_inputs().items()},
            "input": self.inputs,
        }
