"""Linear layers whose weights are laid out anew for a call, and multiply faster for it."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@contextmanager
def packed(model: PreTrainedModel, tokens: int) -> Iterator[None]:
    """Within, linear layers in single precision on an x86 processor multiply by oneDNN, equal to rounding.

    On an AMD EPYC that makes encoding a sixth faster than the library that PyTorch takes by itself, MKL (see
    benchmarks). The weights are copied anew in every call, so they may change in between.

    Args:
        model: its layers change their `forward`, and have their own back after the block.
        tokens: about how many a forward pass will have.
    """
    import torch

    ops = torch.ops.mkldnn
    fit = platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()
    known = fit and hasattr(ops, "_linear_pointwise") and hasattr(ops, "_reorder_linear_weight")
    changed = []
    try:
        for layer in model.modules() if known else ():
            # A subclass, or a layer whose `forward` somebody has replaced, may compute something else.
            if type(layer) is not torch.nn.Linear or "forward" in vars(layer):
                continue
            weight = layer.weight.detach()
            if weight.dtype == torch.float32 and weight.device.type == "cpu":
                weight = ops._reorder_linear_weight(weight, tokens)
                layer.forward = partial(_multiply, weight, layer.bias)  # type: ignore[method-assign]
                changed.append(layer)
        yield
    finally:
        for layer in changed:
            vars(layer).pop("forward", None)


def _multiply(weight: torch.Tensor, bias: torch.Tensor | None, given: torch.Tensor) -> torch.Tensor:
    import torch

    flat = given.reshape(-1, given.shape[-1])
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(flat, weight, bias, "none", [], "")
    return result.view(*given.shape[:-1], -1)
