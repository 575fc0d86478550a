"""The bare matrix multiplications of a training epoch, at the shapes used: what no implementation can do without.

Input projections forward in both passes and for the weights' gradient in the clean one (the adversarial gradient of the
perturbed weights is discarded); recurrent products forward and backward in both passes, step by step, and for the
gradient of their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from sacl.model.batch import ConversationBatch

HIDDEN = 128
PASSES = 2


class _Layer(NamedTuple):
    """Buffers in the shapes of one LSTM's pass over one batch."""

    inputs: Tensor
    gates: Tensor
    outputs: Tensor
    sizes: list[int]


def bare_multiplications(batches: Iterable[ConversationBatch], features: int) -> tuple[Callable[[], None], float]:
    """A function that multiplies and does nothing else, and how many floating-point operations that is."""
    layers = []
    for batch in batches:
        for sequences in (batch.context, batch.speaker):
            n = len(sequences.rows)
            buffers = torch.randn(n, features), torch.randn(n, 4 * HIDDEN), torch.randn(n, HIDDEN)
            layers.append(_Layer(*buffers, sequences.batch_sizes.tolist()))
    w_ih, w_hh = torch.randn(4 * HIDDEN, features), torch.randn(4 * HIDDEN, HIDDEN)
    d_w_ih, d_w_hh = torch.empty_like(w_ih), torch.empty_like(w_hh)

    def multiply() -> None:
        for inputs, gates, outputs, sizes in layers:
            for direction_and_pass in range(2 * PASSES):
                torch.mm(inputs, w_ih.t(), out=gates)
                if direction_and_pass % PASSES == 0:
                    torch.mm(gates.t(), inputs, out=d_w_ih)
                for gate, output in zip(gates.split(sizes), outputs.split(sizes), strict=True):
                    torch.mm(output, w_hh.t(), out=gate)
                for gate, output in zip(gates.split(sizes), outputs.split(sizes), strict=True):
                    torch.mm(gate, w_hh, out=output)
                torch.mm(gates.t(), outputs, out=d_w_hh)

    rows = sum(len(layer.inputs) for layer in layers)
    operations = 2 * rows * 4 * HIDDEN * 2 * ((PASSES + 1) * features + 3 * PASSES * HIDDEN)
    return multiply, operations


def best_rate(seconds: float = 0.5) -> float:
    """Floating-point operations a second of one large multiplication, the best of several."""
    import time

    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2 * 1024**3 / (time.perf_counter() - started))
    return best
