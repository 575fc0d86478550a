"""What a Dual-LSTM of one layer says of an utterance without another one, for the price of the turns between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from sacl.model.dual_lstm import DualLSTM


@torch.inference_mode()
def without_each(
    model: DualLSTM,
    features: Tensor,
    speakers: np.ndarray,
    target: int,
    positions: Sequence[int],
    min_speaker_utterances: int = 2,
    cancelled: Callable[[], bool] | None = None,
) -> Tensor:
    """Log-probabilities of an utterance with the features of each of some other turns set to zero.

    They are those of `forward` on as many copies of the conversation. Here the turns are read once: a zeroed turn
    leaves what was read before it as it is, and of the two directions changes only the one that comes from it.

    Args:
        model: of one layer, in evaluation mode.
        features: shape (utterances, features), in the model's precision.
        speakers: shape (utterances,), a number for who speaks.
        target: the utterance that is asked about.
        positions: the other turns, distinct.
        min_speaker_utterances: as for `collate`.
        cancelled: asked now and then.

    Returns:
        Shape (1 + positions, emotions); the first row is of the whole conversation.

    Raises:
        concurrent.futures.CancelledError: it was cancelled.
    """
    row_of = {position: row for row, position in enumerate(positions, 1)}
    everyone, own = np.ones(len(speakers), bool), speakers == speakers[target]
    parts = []
    for lstm, said in ((model.context_lstm, everyone), (model.speaker_lstm, own)):
        reads = lstm is model.context_lstm or own.sum() >= min_speaker_utterances
        before = [int(i) for i in np.flatnonzero(said) if i <= target]
        after = [int(i) for i in np.flatnonzero(said)[::-1] if i >= target]
        for direction, read in [("", before), ("_reverse", after)][: 2 if lstm.bidirectional else 1]:
            part = features.new_zeros(1 + len(positions), lstm.hidden_size)
            if reads:
                zeroed = [i in row_of for i in read]
                ends = _ends(lstm, direction, features[read], zeroed, cancelled)
                part[:] = ends[0]
                part[[row_of[i] for i in read if i in row_of]] = ends[1:]
            parts.append(part)
    scores: Tensor = model.classifier(torch.cat(parts, dim=1).relu()).log_softmax(dim=1)
    return scores


def _ends(
    lstm: nn.LSTM, direction: str, rows: Tensor, zeroed: Sequence[bool], cancelled: Callable[[], bool] | None
) -> Tensor:
    """The hidden state after the last row, then the same with each marked row set to zero: (1 + marked, hidden)."""
    weights = [getattr(lstm, f"{part}_l0{direction}") for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    hidden = cell = rows.new_zeros(1, lstm.hidden_size)
    for i, (row, also_without) in enumerate(zip(rows, zeroed, strict=True)):
        if cancelled is not None and i % 100 == 0 and cancelled():
            raise CancelledError
        read = row.expand(len(hidden), -1)
        if also_without:
            # From here on one version more: it has read what the whole one has, and reads zeros now.
            hidden, cell = torch.cat([hidden, hidden[:1]]), torch.cat([cell, cell[:1]])
            read = torch.cat([read, torch.zeros_like(read[:1])])
        hidden, cell = torch.lstm_cell(read, (hidden, cell), *weights)
    return hidden
