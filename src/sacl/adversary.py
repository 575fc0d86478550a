"""A perturbation of fixed length: computed from gradients, applied, taken back exactly.

A *point* is what can be perturbed: a parameter, or a module whose output is perturbed. A perturbation is a list of
tensors, one a point; None leaves the point as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

Point = nn.Parameter | nn.Module
Perturbation = list[Tensor | None]
Norm = Literal["tensor", "all"]
Target = nn.Module | nn.Parameter | Sequence[nn.Parameter] | Mapping[str, nn.Parameter]
"""What a caller names as one channel."""


def points_of(channel: str, target: Target) -> list[Point]:
    """A channel's points.

    Raises:
        ValueError: there is none, or one is frozen or neither parameter nor module.
    """
    if isinstance(target, nn.Module | nn.Parameter):
        points: list[Point] = [target]
    else:
        points = distinct(target.values() if isinstance(target, Mapping) else target)
    if not points:
        raise ValueError(f"channel {channel!r} has no parameters to perturb: name at least one")
    strange = [type(p).__name__ for p in points if not isinstance(p, nn.Module | nn.Parameter)]
    if strange:
        raise ValueError(f"channel {channel!r} holds a {strange[0]}: give parameters, or a module")
    require_trained(channel, points)
    return points


def require_trained(channel: str, points: Sequence[Point]) -> None:
    """Raises the ValueError of `points_of` where a parameter is frozen."""
    if any(isinstance(p, nn.Parameter) and not p.requires_grad for p in points):
        raise ValueError(f"channel {channel!r} holds a frozen parameter: perturb trained ones, or a module's output")


def distinct(points: Iterable[Point]) -> list[Point]:
    """Each once, in order."""
    return list({id(p): p for p in points}.values())


def of_length(directions: Sequence[Tensor | None], length: float, norm: Norm = "tensor") -> Perturbation:
    """r = length x g / ||g||: the released FGM step, the paper's worst case to first order.

    Args:
        directions: gradients, one a point, or None.
        length: epsilon.
        norm: every tensor by its own norm (released), or all by their common one (paper).

    Returns:
        None for a tensor whose norm is zero or not a finite number.
    """
    return [
        None if g is None or factor is None else g.detach() * factor
        for g, factor in zip(directions, _factors(directions, length, norm), strict=True)
    ]


def _factors(directions: Sequence[Tensor | None], length: float, norm: Norm) -> list[float | None]:
    """By what each direction is multiplied to get that length."""
    norms = [None if g is None else torch.linalg.vector_norm(g) for g in directions]
    if norm == "all":
        present = [n for n in norms if n is not None]
        common = torch.linalg.vector_norm(torch.stack(present)) if present else None
        norms = [None if n is None else common for n in norms]
    return [None if n is None or not n.isfinite() or n == 0 else float(length / n) for n in norms]


def project(perturbation: Perturbation, epsilon: float, norm: Norm = "tensor") -> Perturbation:
    """Shortens to epsilon what is longer, tensor by tensor or all by their common norm."""
    norms = [None if r is None else torch.linalg.vector_norm(r) for r in perturbation]
    if norm == "all":
        present = [n for n in norms if n is not None]
        common = torch.linalg.vector_norm(torch.stack(present)) if present else None
        norms = [common] * len(perturbation)
    return [
        r if r is None or n is None or n <= epsilon else epsilon * r / n
        for r, n in zip(perturbation, norms, strict=True)
    ]


def add(a: Perturbation, b: Perturbation) -> Perturbation:
    """Sum, point by point; None counts as zero."""
    return [y if x is None else x if y is None else x + y for x, y in zip(a, b, strict=True)]


@contextmanager
def perturbed(
    points: Sequence[Point], perturbation: Perturbation, length: float | None = None, norm: Norm = "tensor"
) -> Iterator[None]:
    """Inside, every point is moved by its tensor; on leaving, also by an exception, all is as before, bit for bit.

    With `length`, by `of_length` of its tensor, in one pass over the weights: they are read from memory, not cache.
    A parameter's storage is exchanged, never written to. Run the backward pass inside: autograd reads the perturbed
    values from the parameters themselves.
    """
    with ExitStack() as undo:
        factors = [1.0] * len(points) if length is None else _factors(perturbation, length, norm)
        for point, r, factor in zip(points, perturbation, factors, strict=True):
            if r is None or factor is None:
                continue
            if isinstance(point, nn.Module):
                undo.callback(point.register_forward_hook(_adding(factor * r)).remove)
            else:
                undo.callback(setattr, point, "data", point.data)
                point.data = torch.add(point.data, r, alpha=factor)
        yield


@contextmanager
def watched(points: Sequence[Point]) -> Iterator[list[list[Tensor]]]:
    """Gives, a point, the tensors by which its gradient can be asked for once the forward pass has run.

    For a parameter that is itself. For a module it is a tensor of zeros added to its output.
    """
    with ExitStack() as undo:
        variables: list[list[Tensor]] = []
        for point in points:
            if isinstance(point, nn.Module):
                variables.append([])
                undo.callback(point.register_forward_hook(_watching(variables[-1])).remove)
            else:
                variables.append([point])
        yield variables


@contextmanager
def frozen(points: Sequence[Point]) -> Iterator[None]:
    """Inside, no gradient is computed for the points that are parameters."""
    parameters = [p for p in points if isinstance(p, nn.Parameter) and p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Inside, batch normalisation works as ever; on leaving, its running statistics are as before."""
    buffers = [
        buffer
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._NormBase)
        for buffer in module.buffers(recurse=False)
    ]
    saved = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        for buffer, value in zip(buffers, saved, strict=True):
            buffer.copy_(value)


def _adding(r: Tensor):  # type: ignore[no-untyped-def]
    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        return output + r

    return hook


def _watching(variables: list[Tensor]):  # type: ignore[no-untyped-def]
    def hook(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        if not isinstance(output, Tensor):
            raise TypeError(
                f"{type(module).__name__} gives {type(output).__name__}: perturb a module that gives a tensor"
            )
        if variables:
            raise ValueError(f"{type(module).__name__} runs twice in one forward pass: perturb one that runs once")
        variables.append(torch.zeros_like(output, requires_grad=True))
        return output + variables[0]

    return hook
