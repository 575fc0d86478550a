"""The classification half of the soft supervised contrastive loss."""

from __future__ import annotations

from typing import Literal

from torch import Tensor


def focal_loss(
    log_probabilities: Tensor,
    labels: Tensor,
    *,
    gamma: float = 0.0,
    class_weights: Tensor | None = None,
    reduction: Literal["sum", "mean"] = "sum",
) -> Tensor:
    """Focal loss; with `gamma` 0 and no weights, cross-entropy.

        L = sum_i  -w[y_i] (1 - p_i)^gamma log p_i,      p_i the probability of label y_i

    The factor (1 - p_i)^gamma is a constant to the gradient, as in the authors' code. (Lin et al. 2017, eq. 5,
    differentiate it.)

    Args:
        log_probabilities: shape (utterances, emotions).
        labels: shape (utterances,), index of the emotion.
        gamma: how strongly well-recognised utterances are played down; at least 0.
        class_weights: shape (emotions,).
        reduction: `sum`, or the `mean` over utterances.

    Returns:
        A scalar; 0 for no utterances.

    >>> import torch
    >>> from sacl import focal_loss
    >>> log_probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log()
    >>> round(focal_loss(log_probabilities, torch.tensor([0, 1]), gamma=1.0).item(), 4)  # 0.1 log 0.9 + 0.2 log 0.8
    0.0552
    """
    log_p = log_probabilities.gather(1, labels[:, None])[:, 0]
    loss = -log_p
    if gamma:
        loss = (1 - log_p.detach().exp()) ** gamma * loss
    if class_weights is not None:
        loss = class_weights[labels] * loss
    return loss.sum() if reduction == "sum" else loss.sum() / max(len(loss), 1)


def require_log_probabilities(log_probabilities: Tensor) -> None:
    """Refuses scores that no log-softmax was taken of: every loss here is nonsense on them, and none would say so.

    One row tells; one that is not finite is for others to tell of.

    Args:
        log_probabilities: shape (utterances, emotions).

    Raises:
        ValueError: the first row does not add up to 1.
    """
    log_total = log_probabilities[:1].detach().logsumexp(dim=1)
    if bool(((log_total.abs() > 0.1) & log_total.isfinite()).any()):
        total = log_total.double().exp().item()
        raise ValueError(
            f"a row of log-probabilities adds up to {total:.3g}, not to 1: return scores.log_softmax(dim=1)"
        )
