"""Softmax regression on each utterance by itself: what the features say without any conversation."""

from __future__ import annotations

import torch
from torch import nn

from sacl.model.batch import ConversationBatch
from sacl.model.dual_lstm import ModelOutput, dropout_mask


class UtteranceLinear(nn.Module):
    """Scores are Linear(dropout(features)), the floor of every comparison.

    Multinomial logistic regression; its hidden state is the features themselves. It has no context, so `targets()`
    offers `input` alone.

    Args:
        input_size: numbers an utterance.
        classes: emotions.
        dropout: of the features.
        hidden_size, layers, bidirectional: have no meaning here.
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
        self.classifier = nn.Linear(input_size, classes)
        self.dropout = dropout

    def forward(self, batch: ConversationBatch, generator: torch.Generator | None = None) -> ModelOutput:
        """See `DualLSTM.forward`."""
        hidden = self.inputs(batch.features)
        kept = hidden
        if self.training and self.dropout:
            kept = kept * dropout_mask(kept.shape, self.dropout, kept, generator)
        return ModelOutput(self.classifier(kept).log_softmax(dim=1), hidden)

    def targets(self) -> dict[str, nn.Module]:
        """What an adversary may perturb: `input` (features)."""
        return {"input": self.inputs}
