"""The Dual-LSTM written as one would at first: a Python loop over conversations and speakers, one LSTM call for each.

It is what the packed batch is timed against, under the same objective, with the same weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from sacl.model.batch import ConversationBatch
from sacl.model.dual_lstm import ModelOutput


class PlainDualLSTM(nn.Module):
    """Same parameters under the same names as `DualLSTM`, of one layer.

    Args:
        speakers: conversation id -> shape (utterances,), who speaks; a batch holds them in packed form only.
    """

    def __init__(
        self, input_size: int, classes: int, hidden_size: int, dropout: float, speakers: Mapping[str, np.ndarray]
    ):
        super().__init__()
        self.context_lstm = nn.LSTM(input_size, hidden_size, bidirectional=True)
        self.speaker_lstm = nn.LSTM(input_size, hidden_size, bidirectional=True)
        self.classifier = nn.Linear(4 * hidden_size, classes)
        self.dropout = nn.Dropout(dropout)
        self.speakers = speakers

    def forward(self, batch: ConversationBatch, generator: torch.Generator | None = None) -> ModelOutput:
        hidden, start = [], 0
        for id, length in zip(batch.ids, batch.lengths, strict=True):
            features = batch.features[start : start + length]
            context, _ = self.context_lstm(features)
            speaker = torch.zeros_like(context)
            for who in np.unique(self.speakers[id]):
                rows = torch.from_numpy(np.flatnonzero(self.speakers[id] == who))
                if len(rows) > 1:
                    own, _ = self.speaker_lstm(features[rows])
                    speaker = speaker.index_copy(0, rows, own)
            hidden.append(torch.cat([context, speaker], dim=1))
            start += length
        together = torch.cat(hidden)
        return ModelOutput(self.classifier(self.dropout(together.relu())).log_softmax(dim=1), together)

    def targets(self) -> dict[str, dict[str, Tensor]]:
        """As `DualLSTM.targets`: input weights and biases of each LSTM."""
        return {
            channel: {k: p for k, p in lstm.named_parameters() if k.startswith(("weight_ih", "bias_ih"))}
            for channel, lstm in (("context", self.context_lstm), ("speaker", self.speaker_lstm))
        }
