"""A causal Dual-LSTM read one utterance at a time: its state is carried, so no turn is read twice."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from sacl.model.dual_lstm import DualLSTM

State = list[tuple[Tensor, Tensor]]
"""(h, c) of every layer, each of shape (1, hidden)."""


class CausalReader:
    """Steps through one conversation, and gives what the model's `forward` gives of the whole of it.

    Every turn costs the same: one step of the context LSTM from the conversation's state, and one step of the speaker
    LSTM from its speaker's. Kept are 2 x layers x hidden numbers for the conversation, and as many for each speaker.

    Args:
        model: a `DualLSTM` in evaluation mode; its weights are read at every step.

    Raises:
        ValueError: a bidirectional model, which cannot be read without the later turns.
    """

    def __init__(self, model: DualLSTM) -> None:
        if model.context_lstm.bidirectional:
            raise ValueError("a bidirectional model reads the later turns too")
        self.model = model
        self._context: State = _start(model.context_lstm)
        self._speakers: dict[Hashable, State] = {}

    @property
    def speakers(self) -> int:
        """How many have spoken."""
        return len(self._speakers)

    @torch.inference_mode()
    def read(self, speaker: Hashable, features: Tensor) -> Tensor:
        """Log-probabilities of the next turn.

        Args:
            speaker: who speaks.
            features: shape (features,), standardised, in the model's precision.

        Returns:
            Shape (emotions,).
        """
        model, row = self.model, features[None]
        context = _step(model.context_lstm, row, self._context)
        own = _step(model.speaker_lstm, row, self._speakers.get(speaker) or _start(model.speaker_lstm))
        hidden = torch.cat([context[-1][0], own[-1][0]], dim=1)
        scores: Tensor = model.classifier(hidden.relu()).log_softmax(dim=1)[0]
        # Only now, so that a turn that fails half-way has not been read.
        self._context, self._speakers[speaker] = context, own
        return scores


def _start(lstm: nn.LSTM) -> State:
    weights = next(lstm.parameters())
    zeros = weights.new_zeros(1, lstm.hidden_size)
    return [(zeros, zeros)] * lstm.num_layers


def _step(lstm: nn.LSTM, row: Tensor, state: State) -> State:
    """The state after one more row, shape (1, features); each layer reads what the one below it gives."""
    after: State = []
    for layer, before in enumerate(state):
        names = [f"{part}_l{layer}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        hidden, cell = torch.lstm_cell(row, before, *(getattr(lstm, name) for name in names))
        after.append((hidden, cell))
        row = hidden
    return after
