"""The layouts that attention and recurrence compute in, from the lengths of a batch's conversations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Grid:
    """Conversations as rows of a table, (conversations, longest), filled from the left.

    Attributes:
        position: shape (utterances,), how many turns come before an utterance in its conversation.
        present: shape (conversations, longest), false where a conversation has ended.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        counts = torch.tensor(lengths)
        conversation = torch.arange(len(counts)).repeat_interleave(counts)
        starts = counts.cumsum(0) - counts
        longest = int(counts.max())
        position = torch.arange(int(counts.sum())) - starts[conversation]
        self.position = position.to(device)
        self.present = (torch.arange(longest) < counts[:, None]).to(device)
        self._cells = (conversation * longest + position).to(device)

    def spread(self, flat: Tensor) -> Tensor:
        """Shape (utterances, width) -> (conversations, longest, width), zeros where a conversation has ended."""
        cells = flat.new_zeros(self.present.numel(), flat.shape[1]).index_copy(0, self._cells, flat)
        return cells.view(*self.present.shape, flat.shape[1])

    def collect(self, grid: Tensor) -> Tensor:
        """The inverse of `spread`."""
        return grid.reshape(-1, grid.shape[-1]).index_select(0, self._cells)

    def softmax(self, scores: Tensor, *, causal: bool) -> Tensor:
        """Attention weights over the turns of an utterance's own conversation; over no later ones if causal.

        `scores`: shape (conversations, ..., longest, longest), [.., i, j] how well j answers i.
        """
        conversations, longest = self.present.shape
        visible = self.present.view(conversations, *[1] * (scores.dim() - 2), longest)
        if causal:
            visible = visible & torch.ones(longest, longest, dtype=torch.bool, device=scores.device).tril()
        # Not minus infinity: a row with nothing to see would become NaN, and poison the gradient of all others.
        return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(dim=-1)


def time_steps(lengths: Sequence[int], device: torch.device, *, backwards: bool = False) -> list[Tensor]:
    """Flat rows read at each time step, one a conversation that is still running, the longest conversation first.

    Args:
        lengths: utterances of each conversation.
        backwards: every conversation is read from its own last turn to its first.

    >>> [rows.tolist() for rows in time_steps([1, 3], torch.device("cpu"))]
    [[1, 0], [2], [3]]
    """
    counts = np.array(lengths)
    order = np.argsort(-counts, kind="stable")
    counts, starts = counts[order], (np.cumsum(counts) - counts)[order]
    steps = []
    for time in range(int(counts.max())):
        running = counts > time
        rows = starts[running] + (counts[running] - 1 - time if backwards else time)
        steps.append(torch.from_numpy(rows).to(device))
    return steps
