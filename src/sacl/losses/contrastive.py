"""The contrastive half of the soft supervised contrastive loss: the released form and the paper's."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

Similarity = Literal["cosine", "dot"]


def similarities(embeddings: Tensor, similarity: Similarity, temperature: float) -> Tensor:
    """sim(z_i, z_j) / temperature, shape (utterances, utterances).

    A zero vector has cosine 0 with everything, and no gradient.
    """
    z = embeddings
    if similarity == "cosine":
        # `normalize` divides by 1e-12 there: a finite gradient, but one that drowns all others.
        z = normalize(torch.where((z != 0).any(dim=1, keepdim=True), z, z.detach()), dim=1)
    return z @ z.T / temperature


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
    """
    scores = similarities(embeddings, similarity, temperature)
    same = labels[:, None] == labels[None, :]
    # A finite stand-in for log 0: an anchor without negatives costs nothing, and its gradient is 0 rather than NaN.
    floor = torch.finfo(scores.dtype).min / 4
    log_negatives = scores.masked_fill(same, floor).logsumexp(dim=1, keepdim=True)
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    # -log[e / (e + n)] = softplus(log n - log e)
    loss = softplus(log_negatives - scores, threshold=50)
    return torch.where(positive, loss, 0.0).sum() / positive.sum().clamp(min=1)


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
    """
    scores = similarities(embeddings, similarity, temperature)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    log_p = scores.masked_fill(itself, torch.finfo(scores.dtype).min / 4).log_softmax(dim=1)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    return -(torch.where(positive, log_p, 0.0).sum(dim=1) / positive.sum(dim=1).clamp(min=1)).sum()
