"""The micro-batches of an accumulation window, as many at a time as there are threads.

Between two updates the weights stand still, and micro-batches need of each other but one thing: an adversary that
follows what has accumulated waits for the gradients of the micro-batch before. So each works on a twin of the network,
the same weights with gradients of its own, and these are summed in order: same bits for any number of threads.
(PyTorch's own threads share out single operations, and an LSTM's are too small for that.)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import NamedTuple, Self

import torch
from torch import nn

from sacl.adversary import Perturbation, add
from sacl.model.batch import ConversationBatch
from sacl.model.dual_lstm import mask_generator
from sacl.settings import ModelSettings, TrainingSettings
from sacl.training.objective import SACL, Forward, Step
from sacl.training.processes import Processes


class _Task(NamedTuple):
    """A micro-batch, its adversary's draw, seeds of its masks and noise, followed gradients summed before and after."""

    batch: ConversationBatch
    draw: float | None
    seeds: tuple[int, int]
    before: Future[Perturbation] | None
    after: Future[Perturbation]


Working = tuple[Iterator[tuple[Step, Perturbation]], Future[Perturbation]]


class SideBySide:
    """Works on the micro-batches of one window after the other.

    Args:
        objective: its model is called as `model(batch, generator)`. With more than one thread that must run on the CPU,
            draw random numbers from the generator alone, and keep nothing from one call to the next.
        threads: with 1 all is done in the caller's own, on `objective` itself.
    """

    def __init__(self, objective: SACL, threads: int = 1) -> None:
        self.objective = objective
        self.free: SimpleQueue[SACL] = SimpleQueue()
        for one in [objective] if threads == 1 else [_twin(objective) for _ in range(threads)]:
            self.free.put(one)
        self.pool = ThreadPoolExecutor(threads, "micro-batch") if threads > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def start(
        self,
        window: Sequence[ConversationBatch],
        generator: torch.Generator | None = None,
        draws: Iterator[float] | None = None,
    ) -> Working:
        """Begins a window, which `finish` ends.

        Args:
            window: its micro-batches.
            generator: gives each the seeds of its own generators; PyTorch's by default.
            draws: what each adversary draws; drawn from the objective's generator if not given.
        """
        tasks: list[_Task] = []
        for batch in window:
            draw = next(draws) if draws is not None else self.objective.draw()
            masks, noise = torch.randint(2**62, (2,), generator=generator).tolist()
            tasks.append(_Task(batch, draw, (masks, noise), tasks[-1].after if tasks else None, Future()))
        at_once = map if self.pool is None else self.pool.map
        return at_once(self._work, tasks), tasks[-1].after

    def finish(self, working: Working) -> list[Step]:
        """Waits for the window, in order, and puts its gradients into the parameters' `.grad`."""
        worked, accumulated = working
        followed, others = _parameters(self.objective)
        steps: list[Step] = []
        sums: Perturbation = [None] * len(others)
        for step, gradients in worked:
            steps.append(step)
            sums = add(sums, gradients)
        for p, gradient in zip([*followed, *others], [*accumulated.result(), *sums], strict=True):
            p.grad = gradient
        return steps

    def _work(self, task: _Task) -> tuple[Step, Perturbation]:
        """The step, and the gradients of those parameters that no adversary follows."""
        sacl = self.free.get()
        followed, others = _parameters(sacl)

        def forward() -> Forward:
            log_probabilities, hidden = sacl.model(task.batch, masks)
            return Forward(log_probabilities, hidden, task.batch.labels, task.batch.mask)

        def accumulated(settled: bool) -> Perturbation:
            sums: Perturbation = [p.grad for p in followed]
            if task.before is not None:
                sums = add(task.before.result(), sums)
            if settled:
                task.after.set_result(sums)
            return sums

        try:
            masks = mask_generator(task.batch, task.seeds[0])
            alone = copy.copy(sacl)
            alone.generator = torch.Generator().manual_seed(task.seeds[1])
            step = alone.backward(forward, task.draw, accumulated)
            if not task.after.done():
                accumulated(settled=True)
            return step, [p.grad for p in others]
        except BaseException as error:
            if not task.after.done():
                task.after.set_exception(error)  # whoever waits for it would wait for ever
            raise
        finally:
            for p in sacl.model.parameters():
                p.grad = None
            self.free.put(sacl)


def micro_batches_at_once(model: ModelSettings, training: TrainingSettings, processes: Processes | None = None) -> int:
    """Of a run's threads: all of them where the network is ours; what an own one keeps or draws is not known.

    One of several processes works on one at a time: what they exchange, they have to exchange in the same order.
    """
    if processes is not None:
        return 1
    return training.threads if training.device == "cpu" and ":" not in model.kind else 1


def _parameters(sacl: SACL) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those that the adversary follows over a window, and the others, in an order that all twins share."""
    followed = sacl.followed
    known = {id(p) for p in followed}
    return followed, [p for p in sacl.model.parameters() if id(p) not in known]


def _twin(objective: SACL) -> SACL:
    """The same objective on the same weights, with gradients of its own."""
    twin = copy.deepcopy(objective, {id(objective.generator): objective.generator})
    for own, shared in zip(twin.model.parameters(), objective.model.parameters(), strict=True):
        own.data = shared.data
    return twin
