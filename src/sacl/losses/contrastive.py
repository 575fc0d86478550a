"""The contrastive half of the soft supervised contrastive loss: the released form and the paper's.

Both are sums over positive pairs (i, p), weighted by anchor i, of -log[ e(i, p) / what it is compared with ], where
e(i, j) = exp(sim(z_i, z_j) / temperature). The matrix of scores sim(z_i, z_j) / temperature is taken in blocks of rows,
a block's gradient beside its loss: memory is linear in the number of utterances, time quadratic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

Similarity = Literal["cosine", "dot"]
Rows = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Some anchors' scores and two masks of ones and zeros, who shares the anchor's label (it does) and which is the anchor
itself, each of shape (anchors, utterances) -> their part of the loss, and its gradient by the scores."""

BLOCK = 2**20
"""Scores held at once: all of a usual batch, and a few megabytes."""

SHORTEST = 1e-12
"""A shorter embedding has cosine 0 with everything, and no gradient: it would drown all others."""


def nt_xent(
    embeddings: Tensor, labels: Tensor, *, temperature: float = 0.1, similarity: Similarity = "cosine"
) -> Tensor:
    """Normalised temperature-scaled cross-entropy over labelled pairs, as the authors' code has it.

    With e(i, j) = exp(sim(z_i, z_j) / temperature), the mean over all ordered pairs (i, p) of one label of

        -log[ e(i, p) / (e(i, p) + sum of e(i, a) over all a of another label) ]

    Unlike `sup_con`, a positive is never compared with the other positives.

    Args:
        embeddings: shape (utterances, width).
        labels: shape (utterances,).
        temperature: above 0.
        similarity: `cosine` or `dot`.

    Returns:
        A scalar; 0 where no two utterances share a label.

    >>> import torch
    >>> from sacl import nt_xent
    >>> apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(nt_xent(apart, torch.tensor([0, 0, 1]), temperature=1.0).item(), 4)  # log(1 + exp(0 - 1))
    0.3133
    """
    labels = labels.contiguous()  # a view would have `searchsorted` warn
    ordered = labels.sort().values
    pairs = (torch.searchsorted(ordered, labels, right=True) - torch.searchsorted(ordered, labels)).sum() - len(labels)
    rows = partial(_nt_xent_rows, pairs=pairs.clamp(min=1))
    loss: Tensor = _Contrast.apply(embeddings, labels, temperature, similarity, rows)  # type: ignore[no-untyped-call]
    return loss


def sup_con(embeddings: Tensor, labels: Tensor, *, temperature: float = 0.1, similarity: Similarity = "dot") -> Tensor:
    """Supervised contrastive loss as the paper writes it (Khosla et al. 2020, eq. 2; Hu et al. 2023).

    With P(i) the other utterances of label y_i and A(i) all others,

        sum_i  -1/|P(i)|  sum_{p in P(i)}  log [ exp(sim(z_i, z_p)/tau) / sum_{a in A(i)} exp(sim(z_i, z_a)/tau) ]

    Args:
        embeddings: shape (utterances, width).
        labels: shape (utterances,).
        temperature: tau, above 0.
        similarity: `dot` or `cosine`.

    Returns:
        A scalar; an anchor without positives adds nothing.

    >>> import torch
    >>> from sacl import sup_con
    >>> apart = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(sup_con(apart, torch.tensor([0, 0, 1]), temperature=1.0).item(), 4)  # two anchors of log(1 + exp(-1))
    0.6265
    """
    loss: Tensor = _Contrast.apply(embeddings, labels, temperature, similarity, _sup_con_rows)  # type: ignore[no-untyped-call]
    return loss


# In both gradients a pair pulls its own score up, and all that it is compared with down, by their shares of the sum.


def _nt_xent_rows(scores: Tensor, same: Tensor, itself: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    negatives = torch.add(scores, same, alpha=_floor(scores))
    shares = negatives.softmax(dim=1)
    # `logsumexp` by the largest share, exp(largest negative) / sum: its own exp is slow on what the floor masks.
    log_sum = negatives.amax(dim=1, keepdim=True) - shares.amax(dim=1, keepdim=True).log()
    behind = log_sum - scores
    positive = (same - itself) / pairs
    # -log[e / (e + n)] = softplus(log n - log e)
    loss = (positive * softplus(behind, threshold=50)).sum()
    pull = positive * behind.sigmoid()
    return loss, pull.sum(dim=1, keepdim=True) * shares - pull


def _sup_con_rows(scores: Tensor, same: Tensor, itself: Tensor) -> tuple[Tensor, Tensor]:
    others = torch.add(scores, itself, alpha=_floor(scores))
    positive = same - itself
    pull = positive / positive.sum(dim=1, keepdim=True).clamp(min=1)
    loss = -(pull * others.log_softmax(dim=1)).sum()
    return loss, pull.sum(dim=1, keepdim=True) * others.softmax(dim=1) - pull


def _floor(scores: Tensor) -> float:
    """A finite stand-in for log 0: who has nothing to be compared with costs nothing; its gradient is 0, not NaN."""
    return torch.finfo(scores.dtype).min / 4


class _Contrast(torch.autograd.Function):
    """The loss over all anchors. Its gradient is written out: autograd would keep every block until the end."""

    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, labels: Tensor, *settings: Any) -> Tensor:
        loss, gradient = _in_blocks(embeddings, labels, *settings)
        ctx.save_for_backward(embeddings, labels, gradient)
        ctx.settings = settings
        return loss

    @staticmethod
    def backward(ctx: Any, by_loss: Tensor) -> tuple[Tensor | None, ...]:
        embeddings, labels, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants its derivative too: compute it where autograd follows
            _, gradient = _in_blocks(embeddings, labels, *ctx.settings)
        return by_loss * gradient, None, *(None for _ in ctx.settings)


def _in_blocks(
    embeddings: Tensor, labels: Tensor, temperature: float, similarity: Similarity, rows: Rows
) -> tuple[Tensor, Tensor]:
    """The loss over all anchors and its gradient by the embeddings."""
    z = embeddings
    if similarity == "cosine":
        length = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        scale = 1 / length.masked_fill(length < SHORTEST, torch.inf)
        z = embeddings * scale
    # The narrow matrix stands on the left of a product, so gradients lie transposed: several times as fast.
    loss, gradient = z.new_zeros(()), z.new_zeros(z.shape[::-1])
    anchors = max(1, BLOCK // max(1, len(z)))
    for start in range(0, len(z), anchors):
        block = slice(start, start + anchors)
        same = (labels[block, None] == labels).to(z.dtype)
        itself = torch.zeros_like(same)
        itself.diagonal(start).fill_(1)
        scores = (z[block] / temperature) @ z.T
        part, by_score = rows(scores, same, itself)
        loss += part
        if len(scores) == len(z):  # all at once: one product serves both z_i and z_j
            by_score = by_score + by_score.T
        else:
            gradient[:, block] += z.T @ by_score.T
        gradient += z[block].T @ by_score
    gradient = gradient.T / temperature
    if similarity == "cosine":
        gradient = (gradient - (gradient * z).sum(dim=1, keepdim=True) * z) * scale
    return loss, gradient
