"""One epoch of training, one of evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sacl.errors import NumericalError, place
from sacl.losses import focal_loss
from sacl.metrics import Scores, score
from sacl.model.batch import UNLABELLED, ConversationBatch, ConversationItem, collate
from sacl.settings import ModelSettings, ObjectiveSettings
from sacl.training.objective import SACL, Step
from sacl.training.processes import Processes
from sacl.training.side_by_side import SideBySide


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model does on a split.

    Args:
        loss: mean over batches of the classification loss (`ObjectiveSettings`: summed and weighted as it says).
        scores: over all labelled utterances.
        log_probabilities: shape (utterances, emotions), unlabelled utterances included.
        labels: shape (utterances,), `UNLABELLED` where there is none.
    """

    loss: float
    scores: Scores
    log_probabilities: np.ndarray
    labels: np.ndarray


def make_batches(
    items: Sequence[ConversationItem],
    order: Sequence[int],
    batch_size: int,
    model: ModelSettings,
    processes: Processes | None = None,
) -> Iterator[ConversationBatch]:
    """Conversations in the order given, `batch_size` at a time, the last batch what is left.

    With several processes, the share of each batch that is this one's, which may be without utterances.
    """
    for start in range(0, len(order), batch_size):
        chosen = [items[i] for i in order[start : start + batch_size]]
        share = slice(None) if processes is None else processes.share([len(item.labels) for item in chosen])
        yield collate(
            chosen,
            padding=model.padding,
            min_speaker_utterances=model.min_speaker_utterances,
            share=share,
        )


def ends_window(step: int, steps: int, accumulation: int, window: Literal["released", "exact"]) -> bool:
    """Whether the parameters are updated after this micro-batch, `step` counting from 0."""
    last = step == steps - 1
    if window == "released":
        return step > 0 and (step % accumulation == 0 or last)
    return (step + 1) % accumulation == 0 or last


def train_epoch(
    model: nn.Module,
    batches: Iterable[ConversationBatch],
    steps: int,
    objective: SACL,
    optimizer: Optimizer,
    *,
    accumulation: int,
    window: Literal["released", "exact"] = "released",
    generator: torch.Generator | None = None,
    draws: Iterator[float] | None = None,
    threads: int = 1,
) -> Evaluation:
    """Trains on every batch once.

    Args:
        model: called as `model(batch, generator)`; returns (log-probabilities, hidden).
        batches: `steps` of them.
        objective: fills the gradients of a micro-batch.
        optimizer: stepped at the end of every accumulation window.
        generator: gives each micro-batch the seed of its dropout masks; PyTorch's own by default.
        draws: the adversary's decisions, one a micro-batch; drawn from the objective's generator if not given.
        threads: how many micro-batches of a window are worked on at once; see `SideBySide` for what it asks of a model.

    Returns:
        The clean passes' figures, as they were when each batch was seen; its loss is the mean over batches of the
        clean total (classification and contrastive).

    Raises:
        NumericalError: a loss or gradient that is not finite, with the step and the batch's conversations. The
            parameters are those of the last update.
    """
    model.train()
    seen = []
    totals = []
    optimizer.zero_grad()
    windows = _windows(batches, steps, accumulation, window)
    step = 0
    with SideBySide(objective, threads) as workers:
        held = next(windows, [])
        while held:
            working = workers.start(held, generator, draws)
            upcoming = next(windows, [])  # batched while they work
            for batch, result in zip(held, workers.finish(working), strict=True):
                _refuse_bad_losses(result, step, batch)
                seen.append((result.forward.log_probabilities, result.forward.labels))
                totals.append(result.clean.total)
                step += 1
            if ends_window(step - 1, steps, accumulation, window):
                _refuse_bad_gradients(model, step - 1, batch)
                optimizer.step()
                optimizer.zero_grad()
            held = upcoming
    return _evaluation(float(torch.stack(totals).mean()), seen)


def _windows(
    batches: Iterable[ConversationBatch], steps: int, accumulation: int, window: Literal["released", "exact"]
) -> Iterator[list[ConversationBatch]]:
    """The micro-batches of each update; last those that no update follows, if there are such."""
    held = []
    for step, batch in enumerate(batches):
        held.append(batch)
        if ends_window(step, steps, accumulation, window):
            yield held
            held = []
    if held:
        yield held


def _refuse_bad_losses(result: Step, step: int, batch: ConversationBatch) -> None:
    losses = [result.clean.total] + ([result.adversarial.total] if result.adversarial else [])
    if not all(bool(loss.isfinite()) for loss in losses):
        raise NumericalError(
            f"the loss is {'; adversarial: '.join(f'{float(loss):g}' for loss in losses)}",
            where=place(step=step + 1, conversations=" ".join(batch.whole.ids)),
            remedy="Lower the learning rate or epsilon, or look at these conversations' features",
        )


def _refuse_bad_gradients(model: nn.Module, step: int, batch: ConversationBatch) -> None:
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if not bool(torch.nn.utils.get_total_norm(gradients).isfinite()):
        raise NumericalError(
            "a gradient is not a finite number",
            where=place(step=step + 1, conversations=" ".join(batch.whole.ids)),
            remedy="Lower the learning rate or epsilon, or look at these conversations' features",
        )


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[ConversationBatch],
    settings: ObjectiveSettings,
    class_weights: Tensor | None = None,
    processes: Processes | None = None,
) -> Evaluation:
    """Figures of a model on batches, by the classification loss alone; of the whole batches where these are shares.

    Raises:
        NumericalError: scores that are not finite, with the batch's conversations.
    """
    model.eval()
    seen = []
    losses = []
    for batch in batches:
        (log_probabilities, _), labels = model(batch), batch.labels
        if processes is not None:
            log_probabilities, labels = processes.gather(log_probabilities, labels)
        if not bool(log_probabilities.isfinite().all()):
            raise NumericalError(
                "the model's scores are not finite numbers",
                where=place(conversations=" ".join(batch.whole.ids)),
                remedy="Train with a lower learning rate, or look at these conversations' features",
            )
        known = labels != UNLABELLED
        loss = focal_loss(
            log_probabilities[known],
            labels[known],
            gamma=settings.focal_gamma,
            class_weights=class_weights,
            reduction=settings.reduction,
        )
        losses.append(loss / settings.loss_divisor)
        seen.append((log_probabilities, labels))
    return _evaluation(float(torch.stack(losses).mean()), seen)


def _evaluation(loss: float, seen: list[tuple[Tensor, Tensor]]) -> Evaluation:
    log_probabilities = torch.cat([p for p, _ in seen]).cpu().numpy()
    labels = torch.cat([y for _, y in seen]).cpu().numpy()
    known = labels >= 0
    scores = score(labels[known], log_probabilities[known].argmax(axis=1), log_probabilities.shape[1])
    return Evaluation(loss, scores, log_probabilities, labels)
