"""The processes of one training run, each of which reads a share of every micro-batch.

Every process has all conversations, makes the same micro-batches, draws the same numbers and takes the same steps of
the optimiser. Of a micro-batch it reads its own share. What the network says of the others' shares is gathered, and
every process computes the whole loss from it, so losses, means, contrastive pairs and figures are those of the whole
micro-batch without further ado. Its backward pass gives the part of each gradient that the own share has in it, and
these are summed over processes.

The contrastive loss of a micro-batch is therefore computed on every process, not divided among them. It is a small
part of a pass, and so the backward pass needs no exchange between processes, and all of them get the same bits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from sacl.adversary import Perturbation, Point
from sacl.errors import RecipeError, RunError

PATIENCE = timedelta(hours=12)
"""How long one process waits for another, which may be encoding a corpus; one that has ended is noticed at once."""

BACKENDS = "cpu:gloo,cuda:nccl"
"""Of `torch.distributed`, where a network is on GPUs; what processes tell each other beside is on the CPU."""


class OthersLost(RunError):
    """Another process of a run has ended, or cannot be reached."""


class Processes:
    """The processes of `torch.distributed`'s default group. All of them make the same calls, in the same order.

    Attributes:
        rank: which of them this is, from 0; the first alone writes files.
        size: how many there are.
        own: of each variable that `rows_of_all` was given last, where this process's rows stand among all; no place
            in a parameter.
    """

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.own = list[slice | None]()

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def share(self, lengths: Sequence[int]) -> slice:
        """Which conversations of a micro-batch are this process's: as many utterances as the others', about.

        A conversation belongs to whom its middle falls to. A process may get none.
        """
        counts = np.array(lengths)
        middles = counts.cumsum() - counts / 2
        owners = np.floor(middles / max(counts.sum(), 1) * self.size)
        start, end = np.searchsorted(owners, [self.rank, self.rank + 1])
        return slice(int(start), int(end))

    def gather(self, *columns: Tensor) -> tuple[Tensor, ...]:
        """The rows of all processes, in the order of the processes, each of whom may have another number of them.

        Gradients flow back to the own rows. They are whole where every process computes the same loss from what it
        gathered: the others' losses are the same number then, not further terms of a sum.

        Args:
            columns: of equal length, and on all processes of the same widths and types; at least one.
        """
        return self._gathered(columns)[0]

    def summed(self, of: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Perturbation:
        """The gradients of tensors, summed over processes; None where no process has one."""
        if not of:
            return []
        parts = [torch.zeros_like(t) if g is None else g for t, g in zip(of, gradients, strict=True)]
        # Adam passes over a parameter without a gradient, but acts on one of zeros: which it is, is summed too.
        present = torch.tensor([g is not None for g in gradients], dtype=parts[0].dtype, device=parts[0].device)
        flat = torch.cat([*(part.reshape(-1) for part in parts), present])
        with _others():
            dist.all_reduce(flat)
        *sums, present = flat.split([*(t.numel() for t in of), len(of)])
        return [
            summed.view_as(t).to(t.dtype) if count else None
            for t, summed, count in zip(of, sums, present.tolist(), strict=True)
        ]

    def of_all(self, variables: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Perturbation:
        """The gradients of all processes: a parameter's summed, of a module's output the rows of all."""
        shared = {i: v for i, v in enumerate(variables) if isinstance(v, nn.Parameter)}
        sums = dict(zip(shared, self.summed(list(shared.values()), [gradients[i] for i in shared]), strict=True))
        return self.rows_of_all(variables, [sums.get(i, g) for i, g in enumerate(gradients)])

    def rows_of_all(self, variables: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Perturbation:
        """Of what is no parameter but the output of a module, the gradient's rows on all processes."""
        self.own, rows = [], list[Tensor | None]()
        for v, g in zip(variables, gradients, strict=True):
            own = None
            if not isinstance(v, nn.Parameter):
                (g,), own = self._gathered([torch.zeros_like(v) if g is None else g])
            self.own.append(own)
            rows.append(g)
        return rows

    def here(self, points: Sequence[Point], perturbation: Perturbation) -> Perturbation:
        """Of a perturbation of all rows of a module's output, the own rows; that of a parameter as it is.

        Args:
            points: whose gradients came from `rows_of_all` last, in that order.
            perturbation: a point.
        """
        return [
            r if r is None or isinstance(point, nn.Parameter) else r[own]
            for point, r, own in zip(points, perturbation, self.own, strict=True)
        ]

    @contextmanager
    def summing(self, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
        """What is added to gradients inside is, on leaving, that of all processes."""
        trained = [p for p in parameters if p.requires_grad]
        earlier = [p.grad for p in trained]
        for p in trained:
            p.grad = None
        gradients: Perturbation = [None] * len(trained)
        try:
            yield
            gradients = self.summed(trained, [p.grad for p in trained])
        finally:
            for p, before, gradient in zip(trained, earlier, gradients, strict=True):
                p.grad = gradient if before is None else before if gradient is None else before + gradient

    def told(self, content: Any) -> Any:
        """What the first process has: anything that JSON can say."""
        text = torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)
        length = torch.tensor([len(text)])
        with _others():
            dist.broadcast(length, 0)
            if not self.first:
                text = torch.empty(int(length), dtype=torch.uint8)
            dist.broadcast(text, 0)
        return json.loads(bytes(text.tolist()))

    def _gathered(self, columns: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], slice]:
        counts = self._counts(columns[0])
        start = sum(counts[: self.rank])
        own = slice(start, start + counts[self.rank])
        return tuple(_Gathered.apply(column, counts, own) for column in columns), own  # type: ignore[no-untyped-call]

    def _counts(self, rows: Tensor) -> list[int]:
        count = torch.tensor([len(rows)], device=rows.device)
        counts = [torch.empty_like(count) for _ in range(self.size)]
        with _others():
            dist.all_gather(counts, count)
        return [int(n) for n in torch.cat(counts).tolist()]


class _Gathered(torch.autograd.Function):
    """Padded to the largest count, since a gather of unequal sizes ends the process; cut again."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], own: slice) -> Tensor:
        ctx.own = own
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        with _others():
            dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient[ctx.own], None, None


def are_several() -> bool:
    """Whether `torchrun` started this process beside others."""
    return os.environ.keys() >= {"RANK", "MASTER_ADDR", "MASTER_PORT"} and os.environ.get("WORLD_SIZE", "1") != "1"


@contextmanager
def joined(device: str = "cpu") -> Iterator[Processes | None]:
    """Within, the processes that `torchrun` started, of which this is one; None where it started one or none.

    Args:
        device: what the network is on; on `cuda` every process has the GPU of its own rank.

    Raises:
        RecipeError: see `require_any_gpu`. OthersLost: they are not to be found.
    """
    if not are_several():
        yield None
        return
    require_any_gpu(device)
    # Its functions take the group of their import as a default, and would keep it: it has to be imported before there
    # is one. A thread of a group that lives on may still let go of a tensor when Python ends, which aborts the process.
    import torch.distributed.nn.functional

    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    with _others():
        store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            # torchrun's store outlives a restart, and in it the addresses of processes that have ended.
            store = dist.PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT')}", store)  # type: ignore[attr-defined]
        backends = BACKENDS if device == "cuda" else "gloo"
        dist.init_process_group(backends, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield Processes()
    finally:
        dist.destroy_process_group()


def require_any_gpu(device: str) -> None:
    """Raises a RecipeError where a device is one numbered GPU, which cannot be every process's."""
    if device.startswith("cuda:"):
        raise RecipeError(
            f"several processes cannot each have {device}",
            where="training.device",
            remedy="Set training.device=cuda: every process takes its own",
        )


@contextmanager
def _others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        told = (str(error).splitlines() or [""])[0].rstrip(".")
        raise OthersLost(
            f"the other processes of this run cannot be reached ({told[:200]})",
            remedy="Look for what ended them, and go on with --resume",
        ) from error
