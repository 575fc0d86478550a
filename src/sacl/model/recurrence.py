"""One LSTM layer over packed sequences, its gradients written out.

The equations are `torch.nn.LSTM`'s (Hochreiter and Schmidhuber 1997, with a forget gate), and so are the parameters:

    i, f, g, o = sigmoid, sigmoid, tanh, sigmoid of  W_ih x_t + b_ih + W_hh h_(t-1) + b_hh
    c_t = f c_(t-1) + i g,   h_t = o tanh(c_t)

PyTorch runs each direction by itself and records every small operation of every step. Here both directions share a
step's product, what does not depend on the recurrence is computed for all steps at once, and the gradient of a weight
is one product after the last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


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
        cells, tanh_cells, outputs = (gates.new_empty(directions, len(packed), hidden) for _ in range(3))
        steps, cell, tanh_cell, output = (x.split(sizes, 1) for x in (gates, cells, tanh_cells, outputs))
        i, f, g, o = (gate.split(sizes, 1) for gate in gates.split(hidden, 2))
        i_and_f = gates[:, :, : 2 * hidden].split(sizes, 1)
        for t, running in enumerate(sizes):
            if t:
                steps[t].baddbmm_(output[t - 1][:, :running], recurrent)
            i_and_f[t].sigmoid_()
            g[t].tanh_()
            o[t].sigmoid_()
            torch.mul(i[t], g[t], out=cell[t])
            if t:
                cell[t].addcmul_(f[t], cell[t - 1][:, :running])
            torch.tanh(cell[t], out=tanh_cell[t])
            torch.mul(o[t], tanh_cell[t], out=output[t])
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
        by_gate = d_gates.view(directions, positions, 4, hidden)
        d_steps, d_inner, d_out = d_gates.split(sizes, 1), by_gate[:, :, :3].split(sizes, 1), d_outputs.split(sizes, 1)
        d_output_gate = by_gate[:, :, 3].split(sizes, 1)
        forgets, slopes = f.split(sizes, 1), to_cell.split(sizes, 1)
        inner_slopes, output_slopes = to_gates.split(sizes, 1), to_output_gate.split(sizes, 1)
        d_later_cell: Tensor | None = None
        for t in range(len(sizes) - 1, -1, -1):
            d_cell = d_out[t] * slopes[t]
            if d_later_cell is not None:
                d_cell[:, : sizes[t + 1]] += d_later_cell
            torch.mul(d_cell.unsqueeze(2), inner_slopes[t], out=d_inner[t])
            torch.mul(d_out[t], output_slopes[t], out=d_output_gate[t])
            if t:
                d_out[t - 1][:, : sizes[t]].baddbmm_(d_steps[t], recurrent)
                d_later_cell = d_cell.mul_(forgets[t])
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
