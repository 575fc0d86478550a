"""One LSTM layer over packed sequences, its gradients written out.

The equations are `torch.nn.LSTM`'s (Hochreiter and Schmidhuber 1997, with a forget gate), and so are the parameters:

    i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of  W_ih x_t + b_ih + W_hh h_(t-1) + b_hh
    c_t = f c_(t-1) + i g,   h_t = o tanh(c_t)

PyTorch runs each direction by itself and records every small operation of every step. Here both directions share a
step's product, what does not depend on the recurrence is computed for all steps at once, the gradient of a weight is
one product after the last step, and a loop over steps runs without Python.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def _through_time(gates: Tensor, recurrent: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Adds what recurs to the gates and activates them, in place; returns cells, their tanh, and outputs."""
    hidden = recurrent.size(1)
    shape = [gates.size(0), gates.size(1), hidden]
    cells, tanh_cells, outputs = gates.new_empty(shape), gates.new_empty(shape), gates.new_empty(shape)
    start, before = 0, 0
    for t, running in enumerate(sizes):
        step = gates.narrow(1, start, running)
        if t > 0:
            step.baddbmm_(outputs.narrow(1, before, running), recurrent)
        i, f, g, o = step.split(hidden, 2)
        step.narrow(2, 0, 2 * hidden).sigmoid_()
        g.tanh_()
        o.sigmoid_()
        cell, tanh_cell = cells.narrow(1, start, running), tanh_cells.narrow(1, start, running)
        torch.mul(i, g, out=cell)
        if t > 0:
            cell.addcmul_(f, cells.narrow(1, before, running))
        torch.tanh(cell, out=tanh_cell)
        torch.mul(o, tanh_cell, out=outputs.narrow(1, start, running))
        before = start
        start += running
    return cells, tanh_cells, outputs


def _back_through_time(
    d_gates: Tensor,
    d_outputs: Tensor,
    recurrent: Tensor,
    forgets: Tensor,
    to_cell: Tensor,
    to_inner: Tensor,
    to_output: Tensor,
    sizes: list[int],
) -> None:
    """Fills `d_gates`; adds to `d_outputs` what later steps say of them."""
    hidden = d_outputs.size(2)
    by_gate = d_gates.view(d_gates.size(0), d_gates.size(1), 4, hidden)
    start, later, following = d_gates.size(1), 0, d_outputs
    for back in range(len(sizes)):
        t = len(sizes) - 1 - back
        running = sizes[t]
        start -= running
        d_out = d_outputs.narrow(1, start, running)
        d_cell = d_out * to_cell.narrow(1, start, running)
        if later > 0:
            d_cell.narrow(1, 0, later).add_(following)
        inner = by_gate.narrow(1, start, running)
        torch.mul(d_cell.unsqueeze(2), to_inner.narrow(1, start, running), out=inner.narrow(2, 0, 3))
        torch.mul(d_out, to_output.narrow(1, start, running), out=inner.select(2, 3))
        if t > 0:
            before = start - sizes[t - 1]
            d_outputs.narrow(1, before, running).baddbmm_(d_gates.narrow(1, start, running), recurrent)
            following = d_cell.mul_(forgets.narrow(1, start, running))
            later = running


with warnings.catch_warnings():
    # Deprecated, and without a successor that needs no C++ compiler. Scripted, a loop over steps runs without Python's
    # lock, so that two threads do not wait for each other at each of its small operations; the bits are the same.
    warnings.simplefilter("ignore", DeprecationWarning)
    _through_time, _back_through_time = torch.jit.script(_through_time), torch.jit.script(_back_through_time)


class LSTMLayer(torch.autograd.Function):
    """`LSTMLayer.apply(packed, reverse, sizes, *weights)`: (positions, inputs) -> (positions, directions x hidden).

    Args:
        packed: shape (positions, inputs), in the order of `sacl.model.batch.Sequences`.
        reverse: shape (positions,), for each position the one at which its sequence read backwards stands.
        sizes: how many sequences still run at each time.
        weights: weight_ih, weight_hh, bias_ih, bias_hh of the forward direction, then perhaps of the backward one.

    It can be differentiated once.
    """

    @staticmethod
    def forward(ctx: Any, packed: Tensor, reverse: Tensor, sizes: list[int], *weights: Tensor) -> Tensor:
        hidden, directions = weights[1].shape[1], len(weights) // 4
        gates = packed.new_empty(directions, len(packed), 4 * hidden)
        for d in range(directions):
            w_ih, _, b_ih, b_hh = weights[4 * d : 4 * d + 4]
            if d:
                torch.index_select(torch.addmm(b_ih + b_hh, packed, w_ih.t()), 0, reverse, out=gates[d])
            else:
                torch.addmm(b_ih + b_hh, packed, w_ih.t(), out=gates[d])
        recurrent = torch.stack(weights[1::4]).transpose(1, 2)
        cells, tanh_cells, outputs = _through_time(gates, recurrent, sizes)
        ctx.save_for_backward(packed, reverse, gates, cells, tanh_cells, outputs, *weights)
        ctx.sizes = sizes
        return torch.cat([outputs[0], *(backwards.index_select(0, reverse) for backwards in outputs[1:])], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        packed, reverse, gates, cells, tanh_cells, outputs, *weights = ctx.saved_tensors
        sizes: list[int] = ctx.sizes
        directions, positions, hidden = cells.shape
        i, f, g, o = gates.split(hidden, 2)
        # Known for all steps before the recurrence: the slopes of a cell and of the gates before activation.
        previous = _previous(sizes)
        to_cell = torch.addcmul(o, o, tanh_cells.square(), value=-1)
        to_gates = gates.new_empty(directions, positions, 3, hidden)
        torch.mul(torch.addcmul(i, i, i, value=-1), g, out=to_gates[:, :, 0])
        torch.mul(torch.addcmul(f, f, f, value=-1), _shifted(cells, previous), out=to_gates[:, :, 1])
        torch.addcmul(i, i, g.square(), value=-1, out=to_gates[:, :, 2])
        to_output_gate = torch.addcmul(o, o, o, value=-1).mul_(tanh_cells)
        d_outputs = torch.empty_like(outputs)
        for d, part in enumerate(grad.split(hidden, 1)):
            d_outputs[d] = part.index_select(0, reverse) if d else part
        d_gates = torch.empty_like(gates)
        recurrent = torch.stack(weights[1::4])
        _back_through_time(d_gates, d_outputs, recurrent, f, to_cell, to_gates, to_output_gate, sizes)
        return _gradients(ctx.needs_input_grad, packed, reverse, d_gates, _shifted(outputs, previous), weights)


def _gradients(
    needed: Sequence[bool], packed: Tensor, reverse: Tensor, d_gates: Tensor, before: Tensor, weights: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients of the input and of each weight, where asked for, from those of the gates before activation."""
    d_packed = torch.zeros_like(packed) if needed[0] else None
    result: list[Tensor | None] = []
    for d, d_gate in enumerate(d_gates):
        needs_w_ih, needs_w_hh, needs_b_ih, needs_b_hh = needed[3 + 4 * d : 7 + 4 * d]
        d_bias = d_gate.sum(dim=0) if needs_b_ih or needs_b_hh else None
        d_w_hh = d_gate.t() @ before[d] if needs_w_hh else None
        if d and (needs_w_ih or needed[0]):
            d_gate = d_gate.index_select(0, reverse)
        result += [d_gate.t() @ packed if needs_w_ih else None, d_w_hh]
        # Two tensors: what is handed to autograd twice would be added to in place.
        result += [d_bias if needs_b_ih else None, d_bias.clone() if d_bias is not None and needs_b_hh else None]
        if d_packed is not None:
            d_packed.addmm_(d_gate, weights[4 * d])
    return (d_packed, None, None, *result)


def _previous(sizes: list[int]) -> Tensor:
    """Shape (positions after the first time,): the position of the same sequence one step earlier."""
    counts = torch.tensor(sizes)
    # A sequence's place within a time step is the same at every time.
    back = torch.repeat_interleave(counts[:-1], counts[1:])
    return torch.arange(sizes[0], int(counts.sum())) - back


def _shifted(values: Tensor, previous: Tensor) -> Tensor:
    """Each position's value one step earlier, zeros at the first time. Shape (directions, positions, hidden)."""
    first = values.shape[1] - len(previous)
    shifted = torch.empty_like(values)
    shifted[:, :first] = 0
    for row, value in zip(shifted[:, first:], values, strict=True):
        torch.index_select(value, 0, previous, out=row)
    return shifted
