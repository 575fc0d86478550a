"""Two networks on the same input at once, a thread each, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Network = Callable[[Tensor], Tensor]


def side_by_side(networks: tuple[Network, Network], flat: Tensor, modules: tuple[nn.Module, nn.Module]) -> Tensor:
    """Both outputs, concatenated along the second dimension: the same bits as one after the other.

    PyTorch shares the work of a single operation among threads, and an LSTM's operations are too small for that.

    Args:
        networks: each maps `flat` to a tensor of as many rows. They must draw no random numbers.
        flat: shape (rows, width).
        modules: those whose parameters the networks use.
    """
    parameters = [[p for p in module.parameters() if p.requires_grad] for module in modules]
    # Inside the function autograd is off, whatever it is out here.
    recorded = torch.is_grad_enabled()
    result: Tensor = _SideBySide.apply(  # type: ignore[no-untyped-call]
        networks, recorded, len(parameters[0]), flat, *parameters[0], *parameters[1]
    )
    return result


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, networks: tuple[Network, Network], recorded: bool, first: int, flat: Tensor, *parameters: Tensor
    ) -> Tensor:
        inference = torch.is_inference_mode_enabled()

        def run(network: Network) -> tuple[Tensor, Tensor]:
            # Both modes are a thread's own.
            with torch.inference_mode(inference), torch.set_grad_enabled(recorded):
                own = flat.detach().requires_grad_(recorded and flat.requires_grad)
                return own, network(own)

        later = _thread().submit(run, networks[1])
        ran = [run(networks[0]), later.result()]
        if recorded:
            ctx.graphs = [
                (output, [own, *held])
                for (own, output), held in zip(ran, (parameters[:first], parameters[first:]), strict=True)
            ]
        return torch.cat([output.detach() for _, output in ran], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        def gradients(output: Tensor, inputs: Sequence[Tensor], part: Tensor) -> list[Tensor | None]:
            wanted = [x for x in inputs if x.requires_grad]
            found = iter(torch.autograd.grad(output, wanted, part, allow_unused=True) if wanted else ())
            return [next(found) if x.requires_grad else None for x in inputs]

        parts = grad.split([output.shape[1] for output, _ in ctx.graphs], dim=1)
        (output, inputs), (later_output, later_inputs) = ctx.graphs
        later = _thread().submit(gradients, later_output, later_inputs, parts[1])
        first, *of_first = gradients(output, inputs, parts[0])
        second, *of_second = later.result()
        d_flat = None if first is None or second is None else first + second
        return (None, None, None, d_flat, *of_first, *of_second)


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "side-by-side")
