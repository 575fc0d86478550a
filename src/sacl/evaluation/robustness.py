"""How a trained model's W-F1 falls with the strength of an attack, and of the damage that conversations come with.

Attacks are white-box and untargeted: projected gradient ascent (Madry et al. 2018) on the cross-entropy of the true
labels, without dropout. Beside each stands noise of the same length, the control: what falls under noise as under the
attack is fragile, not attackable. Every function returns plain records, `attack`, `strength`, `weighted_f1` and
`accuracy` in percent; `ATTACKS` says what strength counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import nll_loss, normalize

from sacl.adversary import Perturbation, add, of_length, perturbed, project
from sacl.evaluation.corruptions import shuffled, speakers_lost, turns_missing
from sacl.model.batch import UNLABELLED, ConversationBatch, ConversationItem
from sacl.settings import ModelSettings, ObjectiveSettings
from sacl.training.loop import Evaluation, evaluate, make_batches

Record = dict[str, Any]
Progress = Callable[[str, int, int], None]
Batched = Callable[[Sequence[ConversationItem]], list[ConversationBatch]]

ATTACKS = {
    "none": "no attack: the model's own figures",
    "weights": "length of the perturbation of each perturbed tensor",
    "weights-noise": "length of the noise on each perturbed tensor",
    "inputs": "length of the perturbation of each utterance's features",
    "inputs-noise": "length of the noise on each utterance's features",
    "speakers-lost": "share of the turns whose speaker is not known",
    "turns-missing": "turns seen up to the one that is named; fewer is harder",
    "turns-shuffled": "places by which a turn may be moved",
    "typing-errors": "share of the letters that are hit",
}
"""Every attack, and what its strength counts."""

WEIGHT_STRENGTHS = (0.25, 0.5, 1.0, 2.0, 5.0)
INPUT_STRENGTHS = (0.25, 0.5, 1.0, 2.0, 5.0)
SPEAKERS_LOST = (0.25, 0.5, 1.0)
TURNS_SEEN = (8, 4, 2, 1)
REACHES = (1, 2, 4, 8)
TYPING_ERRORS = (0.05, 0.1, 0.2)


def batching(model: nn.Module, settings: ModelSettings, batch_size: int) -> Batched:
    """How items become batches for the model, in its precision and on its device.

    Args:
        settings: how the model is batched.
        batch_size: conversations a batch. Packed scores do not depend on it; with released padding give that of the
            training run, or the figures are not those of its record.
    """
    like = next(model.parameters())

    def batched(items: Sequence[ConversationItem]) -> list[ConversationBatch]:
        placed = [replace(item, features=item.features.to(like.dtype)) for item in items]
        return [batch.to(like.device) for batch in make_batches(placed, range(len(placed)), batch_size, settings)]

    return batched


def measure(
    model: nn.Module, batches: Iterable[ConversationBatch], attack: str = "none", strength: float = 0
) -> Record:
    """The record of a model on batches as they are."""
    return _record(attack, strength, [_evaluated(model, batches)])


def attack_weights(
    model: nn.Module,
    batches: Sequence[ConversationBatch],
    strengths: Sequence[float] = WEIGHT_STRENGTHS,
    *,
    steps: int = 10,
    draws: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Record]:
    """W-F1 against the strength of an attack on the context-aware structure, and of noise on it.

    One perturbation serves all batches: the gradient is summed over them.

    Args:
        model: every parameter channel of its `targets()` is perturbed, but for whole LSTMs: with `DualLSTM` the input
            weights and biases of both LSTMs' last layers.
        batches: what is to be misread, labels included.
        strengths: epsilon as in training with `norm: tensor`: absolute, and each tensor moves by at most so much
            (`weight_lengths` gives their own lengths).
        steps: of the ascent, at least 10 for a figure that is to be published; each is 2.5 epsilon / steps long. The
            point of the highest loss on the way is taken.
        draws: of noise; its figures are means.
        seed: of the noise.

    Returns:
        `weights` and `weights-noise`, each by strength.

    Raises:
        ValueError: a model whose targets hold no parameters.
    """
    points = list(_weights(model).values())
    if not points:
        raise ValueError(f"the targets of {type(model).__name__} hold no parameters: attack its inputs")
    attacked, noisy = [], []
    for done, epsilon in enumerate(strengths):
        # Every strength goes the same random ways, only farther.
        generator = torch.Generator().manual_seed(seed)
        with perturbed(points, _ascend_weights(model, batches, points, epsilon, steps)):
            attacked.append(_record("weights", epsilon, [_evaluated(model, batches)]))
        evaluations = []
        for _ in range(draws):
            with perturbed(points, of_length([_noise(p, generator) for p in points], epsilon)):
                evaluations.append(_evaluated(model, batches))
        noisy.append(_record("weights-noise", epsilon, evaluations))
        _tell(progress, "attack weights", done + 1, len(strengths))
    return attacked + noisy


def attack_inputs(
    model: nn.Module,
    batches: Sequence[ConversationBatch],
    strengths: Sequence[float] = INPUT_STRENGTHS,
    *,
    steps: int = 10,
    draws: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Record]:
    """W-F1 against the strength of an attack on the features, and of noise on them.

    The norm is that of one utterance's vector as the model reads it, standardised where the model standardises: each
    moves by at most epsilon, so that a strength means the same whatever the size of the split. All utterances of a
    conversation are moved at once.

    Args:
        batches, steps, draws, seed: see `attack_weights`.
        strengths: epsilon. A standardised vector of n numbers is about sqrt(n) long.

    Returns:
        `inputs` and `inputs-noise`, each by strength.
    """
    attacked, noisy = [], []
    for done, epsilon in enumerate(strengths):
        # Every strength goes the same random ways, only farther.
        generator = torch.Generator().manual_seed(seed)
        moved = [b.with_features(b.features + _ascend_inputs(model, b, epsilon, steps)) for b in batches]
        attacked.append(_record("inputs", epsilon, [_evaluated(model, moved)]))
        evaluations = []
        for _ in range(draws):
            noise = (epsilon * normalize(_noise(b.features, generator), dim=1) for b in batches)
            moved = [b.with_features(b.features + r) for b, r in zip(batches, noise, strict=True)]
            evaluations.append(_evaluated(model, moved))
        noisy.append(_record("inputs-noise", epsilon, evaluations))
        _tell(progress, "attack inputs", done + 1, len(strengths))
    return attacked + noisy


def corrupt(
    model: nn.Module,
    items: Sequence[ConversationItem],
    batched: Batched,
    *,
    draws: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Record]:
    """W-F1 against the plain corruptions that need no text: speakers lost, turns missing, turns shuffled.

    Where chance decides, figures are means over `draws`. Typing errors change the texts: `corruptions.mistyped`, then
    the encoder, then `measure`.
    """
    seeds = range(seed, seed + draws)
    plans: list[tuple[str, float, Callable[[], list[list[ConversationItem]]]]] = [
        *(("speakers-lost", s, lambda s=s: [speakers_lost(items, s, i) for i in seeds]) for s in SPEAKERS_LOST),
        *(("turns-missing", n, lambda n=n: [turns_missing(items, n)]) for n in TURNS_SEEN),
        *(("turns-shuffled", n, lambda n=n: [shuffled(items, n, i) for i in seeds]) for n in REACHES),
    ]
    records = []
    for done, (attack, strength, variants) in enumerate(plans):
        records.append(_record(attack, strength, [_evaluated(model, batched(variant)) for variant in variants()]))
        _tell(progress, "corrupt", done + 1, len(plans))
    return records


def weight_lengths(model: nn.Module) -> dict[str, float]:
    """Norm of each tensor that `attack_weights` perturbs, to read its strengths by."""
    return {name: float(torch.linalg.vector_norm(p.detach())) for name, p in _weights(model).items()}


def _ascend_weights(
    model: nn.Module, batches: Sequence[ConversationBatch], points: list[nn.Parameter], epsilon: float, steps: int
) -> Perturbation:
    """The perturbation of highest loss among those that projected gradient ascent passes through."""
    r: Perturbation = [None] * len(points)
    highest, worst = -torch.inf, r
    for step in range(steps + 1):
        loss = 0.0
        gradients: Perturbation = [None] * len(points)
        with perturbed(points, r):
            for batch in batches:
                here = _cross_entropy(model, batch)
                gradients = add(gradients, list(torch.autograd.grad(here, points, allow_unused=True)))
                loss += here.item()
        if loss > highest:
            highest, worst = loss, r
        if step < steps:
            r = project(add(r, of_length(gradients, 2.5 * epsilon / steps)), epsilon)
    return worst


def _ascend_inputs(model: nn.Module, batch: ConversationBatch, epsilon: float, steps: int) -> Tensor:
    """The same on the features of one batch, shape (utterances, width), utterance by utterance in its ball."""
    r = torch.zeros_like(batch.features)
    highest, worst = -torch.inf, r
    for step in range(steps + 1):
        moved = (batch.features + r).requires_grad_()
        loss = _cross_entropy(model, batch.with_features(moved))
        if loss.item() > highest:
            highest, worst = loss.item(), r
        if step < steps:
            (gradient,) = torch.autograd.grad(loss, moved)
            r = torch.renorm(r + 2.5 * epsilon / steps * normalize(gradient, dim=1), 2, 0, epsilon)
    return worst


def _cross_entropy(model: nn.Module, batch: ConversationBatch) -> Tensor:
    model.eval()
    return nll_loss(model(batch)[0], batch.labels, ignore_index=UNLABELLED, reduction="sum")


def _weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters among the model's targets by name, one that stands in several channels once."""
    targets: Mapping[str, Any] = model.targets()  # type: ignore[operator]
    named: dict[str, nn.Parameter] = {}
    for channel, target in targets.items():
        # The last two are whole LSTMs: more than what training perturbs, unless it was asked to.
        if isinstance(target, nn.Module) or channel in ("context_lstm", "speaker_lstm"):
            continue
        held = [target] if isinstance(target, nn.Parameter) else target
        parts = held if isinstance(held, Mapping) else {f"{channel}.{i}": p for i, p in enumerate(held)}
        named |= {name: p for name, p in parts.items() if all(p is not other for other in named.values())}
    return named


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)


def _evaluated(model: nn.Module, batches: Iterable[ConversationBatch]) -> Evaluation:
    return evaluate(model, batches, ObjectiveSettings())


def _record(attack: str, strength: float, evaluations: Sequence[Evaluation]) -> Record:
    mean = {
        name: sum(getattr(e.scores, name) for e in evaluations) / len(evaluations)
        for name in ("weighted_f1", "accuracy")
    }
    return {"attack": attack, "strength": strength, **mean}


def _tell(progress: Progress | None, what: str, done: int, total: int) -> None:
    if progress is not None:
        progress(what, done, total)
