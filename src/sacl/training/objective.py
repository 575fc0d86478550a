"""SACL: the soft supervised contrastive loss on the clean and on the adversarially perturbed network.

    L = L_soft(clean; lambda) + L_soft(adversarial; lambda_adv),   L_soft = L_classification + lambda L_contrastive

It works on any PyTorch model: `SACL.backward` is given a closure that runs the forward pass, and fills `.grad`. It
never steps. See Hu et al. 2023, section 3, and `ObjectiveSettings` for every choice in which the released code and the
paper differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sacl.adversary import (
    Perturbation,
    Point,
    Target,
    add,
    distinct,
    frozen,
    of_length,
    perturbed,
    points_of,
    project,
    require_trained,
    statistics_kept,
    watched,
)
from sacl.losses import focal_loss, nt_xent, require_log_probabilities, sup_con
from sacl.settings import ObjectiveSettings
from sacl.training.processes import Processes

Accumulated = Callable[[bool], Sequence[Tensor | None]]
"""Called between the passes. Given: whether the gradients of `SACL.followed` are final as they stand in `.grad`, the
adversarial pass adding nothing to them. Returns them summed over the window, this micro-batch included."""


class Forward(NamedTuple):
    """What a closure returns.

    Args:
        log_probabilities: shape (items, classes).
        embeddings: shape (items, width), what the contrastive loss compares where settings say `hidden`.
        labels: shape (items,), int64.
        mask: shape (items,), true where an item has a label; None for all.

    >>> import torch
    >>> from sacl import Forward
    >>> z, y = torch.randn(5, 8), torch.tensor([0, 1, 2, 0, 1])
    >>> Forward(torch.nn.Linear(8, 3)(z).log_softmax(1), z, y).mask is None
    True
    """

    log_probabilities: Tensor
    embeddings: Tensor
    labels: Tensor
    mask: Tensor | None = None


class Terms(NamedTuple):
    """The soft supervised contrastive loss and its parts, each a scalar without gradient."""

    classification: Tensor
    contrastive: Tensor
    total: Tensor


class Step(NamedTuple):
    """What one micro-batch gave.

    Args:
        clean: losses on the network as it is.
        adversarial: losses on the perturbed network, or None where the adversary did not act.
        channel: the channel it acted on, `all` for every target, or None.
        forward: the clean forward pass, without gradient.
    """

    clean: Terms
    adversarial: Terms | None
    channel: str | None
    forward: Forward


class SACL:
    """The objective: fills the gradients of one micro-batch.

    Args:
        model: the network; batch normalisation in it keeps the statistics of the clean pass.
        targets: what may be perturbed, by channel name. A channel is a module, whose output is perturbed, or
            parameters. Token ids cannot be perturbed: name the embedding module. Required unless `adversary.kind` is
            `none`, in which case it is ignored.
        settings: weights, temperature, adversary.
        class_weights: shape (classes,), for the classification loss.
        generator: for the draw of channel and for random directions; PyTorch's own by default.
        scale: applied to a loss before its backward pass, `torch.amp.GradScaler.scale` say. A perturbation does not
            depend on it, since it has fixed length; where gradients overflow, the adversary moves nothing.
        processes: those that share every micro-batch, if this is not the only one. Each closure reads the own share,
            an item a row; generators and draws are the same on all. Losses and gradients are the whole micro-batch's.

    Raises:
        ValueError: a channel without parameters, a frozen parameter, or shares for a channel that does not exist.

    Parameters that several modules share are perturbed once. Gradients of earlier micro-batches are kept and added
    to, as with `backward`.

    >>> import torch
    >>> from torch import nn
    >>> from sacl import SACL, Forward, ObjectiveSettings
    >>> encoder, head = nn.Linear(4, 8), nn.Linear(8, 3)
    >>> settings = ObjectiveSettings(adversary={"on": ["input"], "shares": {}, "epsilon": 0.1})
    >>> sacl = SACL(nn.Sequential(encoder, head), {"input": encoder}, settings)
    >>> x, y = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    >>> def closure():
    ...     z = encoder(x)
    ...     return Forward(head(z).log_softmax(1), z, y)
    >>> sacl.backward(closure).channel
    'input'
    """

    def __init__(
        self,
        model: nn.Module,
        targets: Mapping[str, Target],
        settings: ObjectiveSettings | None = None,
        *,
        class_weights: Tensor | None = None,
        generator: torch.Generator | None = None,
        scale: Callable[[Tensor], Tensor] | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.model = model
        self.settings = settings or ObjectiveSettings()
        self.class_weights = class_weights
        self.generator = generator
        self.scale = scale or (lambda loss: loss)
        self.processes = processes
        self.channels: dict[str, list[Point]] = {}
        adversary = self.settings.adversary
        if adversary.kind != "none":
            missing = [name for name in adversary.on if name not in targets]
            if missing:
                raise ValueError(f"no target {missing[0]!r}: the model offers {', '.join(targets) or 'none'}")
            self.channels = {name: points_of(name, targets[name]) for name in adversary.on}

    @property
    def followed(self) -> list[nn.Parameter]:
        """The parameters of all channels, if the adversary follows what has accumulated over a window."""
        if self.settings.adversary.follows == "batch":
            return []
        return [p for p in distinct(p for c in self.channels.values() for p in c) if isinstance(p, nn.Parameter)]

    def backward(
        self, closure: Callable[[], Forward], draw: float | None = None, accumulated: Accumulated | None = None
    ) -> Step:
        """Clean pass, adversarial pass, gradients.

        Args:
            closure: runs the forward pass on one micro-batch; called again, with new dropout masks, for every
                adversarial pass.
            draw: the number in [0, 1) that decides whether the adversary acts and where; drawn if not given.
            accumulated: needed where earlier micro-batches' gradients are kept elsewhere than in `.grad`.

        Raises:
            ValueError: a frozen parameter, a module that does not run exactly once, or scores for log-probabilities.
        """
        closure = self._of_all(closure)
        channel, points = self._channel(draw)
        require_trained(str(channel), points)  # it may have been frozen since
        with watched(points) as variables:
            forward = closure()
            clean = self._terms(forward, self.settings.contrastive_weight)
            gradients = self._clean_gradients(clean.total, variables)
        forward = Forward(*(None if t is None else t.detach() for t in forward))  # type: ignore[arg-type]
        adversarial = None
        if channel is not None:
            followed = self.followed
            if accumulated is not None and followed:
                acted_on = {id(p) for p in points}
                settled = self.settings.adversary.keeps == "clean" and all(id(p) in acted_on for p in followed)
                sums = dict(zip(map(id, followed), accumulated(settled), strict=True))
                gradients = [sums.get(id(p), own) for p, own in zip(points, gradients, strict=True)]
            with statistics_kept(self.model):
                adversarial = self._adversarial_pass(closure, points, gradients, forward)
        return Step(_detached(clean), adversarial, channel, forward)

    def draw(self) -> float | None:
        """The number in [0, 1) that decides of one micro-batch; None where there is no adversary."""
        if self.settings.adversary.kind == "none":
            return None
        return torch.rand((), generator=self.generator, dtype=torch.float64).item()

    def _of_all(self, closure: Callable[[], Forward]) -> Callable[[], Forward]:
        """The closure, with the items of all processes."""
        if self.processes is None:
            return closure
        gather, hidden = self.processes.gather, self.settings.contrast_on == "hidden"

        def whole() -> Forward:
            own = closure()
            mask = torch.ones_like(own.labels) if own.mask is None else own.mask.to(own.labels.dtype)
            # Embeddings that nothing compares are not sent.
            log_probabilities, labels, mask, *compared = gather(
                own.log_probabilities, own.labels, mask, *([own.embeddings] if hidden else [])
            )
            return Forward(log_probabilities, compared[0] if hidden else log_probabilities, labels, mask.bool())

        return whole

    def _summing(self) -> AbstractContextManager[None]:
        """Inside, backward passes give the parameters the gradients of all processes."""
        return nullcontext() if self.processes is None else self.processes.summing(list(self.model.parameters()))

    def _channel(self, draw: float | None) -> tuple[str | None, list[Point]]:
        """One number decides both: up to `rate` the adversary acts, and where in that range picks the channel."""
        adversary = self.settings.adversary
        draw = self.draw() if draw is None else draw
        if draw is None or draw > adversary.rate or adversary.kind == "none":
            return None, []
        reach = 0.0
        for name, points in self.channels.items():
            reach += adversary.shares.get(name, 0.0)  # type: ignore[call-overload]
            if adversary.shares.get(name) and draw <= adversary.rate * reach:  # type: ignore[call-overload]
                return name, points
        name = next(iter(self.channels)) if len(self.channels) == 1 else "all"
        return name, distinct(p for points in self.channels.values() for p in points)

    def _terms(self, forward: Forward, contrastive_weight: float) -> Terms:
        s = self.settings
        log_probabilities, embeddings, labels, mask = forward
        require_log_probabilities(log_probabilities)
        embeddings = log_probabilities if s.contrast_on == "log_probabilities" else embeddings
        if mask is not None and not bool(mask.all()):
            log_probabilities, embeddings, labels = log_probabilities[mask], embeddings[mask], labels[mask]
        classification = focal_loss(
            log_probabilities, labels, gamma=s.focal_gamma, class_weights=self.class_weights, reduction=s.reduction
        )
        contrastive = classification.new_zeros(())
        if contrastive_weight:
            loss = nt_xent if s.contrastive == "nt_xent" else sup_con
            contrastive = loss(embeddings, labels, temperature=s.temperature, similarity=s.similarity)
        scale = len(labels) if s.contrastive_scale == "utterances" else 1
        total = (classification + contrastive_weight * contrastive * scale) / s.loss_divisor
        return Terms(classification, contrastive, total)

    def _clean_gradients(self, loss: Tensor, variables: list[list[Tensor]]) -> list[Tensor | None]:
        """Runs the clean backward pass; returns, a point, the gradient that the adversary follows."""
        for held in variables:
            if not held:
                raise ValueError("a module to perturb did not run in the forward pass: name one that does")
        parameters = [held[0] for held in variables]
        earlier: list[Tensor | None] = [None] * len(parameters)
        if self.settings.adversary.follows == "batch":
            for i, p in enumerate(parameters):
                earlier[i], p.grad = p.grad, None
        try:
            with self._summing():
                self.scale(loss).backward()
            gradients = [p.grad for p in parameters]
            return gradients if self.processes is None else self.processes.rows_of_all(parameters, gradients)
        finally:
            for p, before in zip(parameters, earlier, strict=True):
                if before is not None:
                    p.grad = before if p.grad is None else before + p.grad

    def _adversarial_pass(
        self, closure: Callable[[], Forward], points: list[Point], gradients: list[Tensor | None], clean: Forward
    ) -> Terms:
        a = self.settings.adversary
        if a.kind == "random":
            gradients = [None if g is None else self._noise(g) for g in gradients]
        elif a.kind == "virtual":
            gradients = self._most_sensitive(closure, points, gradients, clean)
        length: float | None = a.epsilon
        if a.kind == "pgd":
            gradients, length = self._ascend(closure, points, gradients), None
        if self.processes is not None:
            r = gradients if length is None else of_length(gradients, length, a.norm)
            gradients, length = self.processes.here(points, r), None
        kept = points if a.keeps == "clean" else []
        with perturbed(points, gradients, length, a.norm), frozen(kept), self._summing():
            terms = self._adversarial_terms(closure(), clean)
            if terms.total.requires_grad:
                self.scale(terms.total).backward()
        return _detached(terms)

    def _adversarial_terms(self, forward: Forward, clean: Forward) -> Terms:
        """The joint loss with its own lambda; for `virtual`, which knows no labels, the divergence from `clean`."""
        if self.settings.adversary.kind == "virtual":
            divergence = _divergence(clean, forward)
            return Terms(divergence, divergence.new_zeros(()), divergence / self.settings.loss_divisor)
        return self._terms(forward, self.settings.adversarial_contrastive_weight)

    def _ascend(
        self, closure: Callable[[], Forward], points: list[Point], gradients: list[Tensor | None]
    ) -> Perturbation:
        """Projected gradient ascent: the first step follows `gradients`, each later one the perturbed network's."""
        a = self.settings.adversary
        r = project(of_length(gradients, a.step_size, a.norm), a.epsilon, a.norm)
        for _ in range(a.steps - 1):
            gradients = self._gradients_at(
                closure, points, r, lambda f: self._terms(f, self.settings.adversarial_contrastive_weight).total
            )
            r = project(add(r, of_length(gradients, a.step_size, a.norm)), a.epsilon, a.norm)
        return r

    def _most_sensitive(
        self,
        closure: Callable[[], Forward],
        points: list[Point],
        gradients: list[Tensor | None],
        clean: Forward,
        probe: float = 1e-2,
    ) -> list[Tensor | None]:
        """One power iteration towards the direction in which predictions change most (Miyato et al. 2018, eq. 12)."""
        noise = [None if g is None else self._noise(g) for g in gradients]
        r = of_length(noise, probe * self.settings.adversary.epsilon, self.settings.adversary.norm)
        return self._gradients_at(closure, points, r, lambda f: _divergence(clean, f))

    def _gradients_at(
        self,
        closure: Callable[[], Forward],
        points: list[Point],
        r: Perturbation,
        loss: Callable[[Forward], Tensor],
    ) -> list[Tensor | None]:
        r = r if self.processes is None else self.processes.here(points, r)
        with perturbed(points, r), watched(points) as variables:
            total = self.scale(loss(closure()))
            inputs = [held[0] for held in variables]
            gradients: list[Tensor | None] = list(torch.autograd.grad(total, inputs, allow_unused=True))
        return gradients if self.processes is None else self.processes.of_all(inputs, gradients)

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator, dtype=like.dtype).to(like.device)


def _divergence(clean: Forward, perturbed_pass: Forward) -> Tensor:
    """KL(clean || perturbed), summed over items; labels are not needed."""
    return nn.functional.kl_div(
        perturbed_pass.log_probabilities, clean.log_probabilities, log_target=True, reduction="sum"
    )


def _detached(terms: Terms) -> Terms:
    return Terms(*(t.detach() for t in terms))
