"""Time and memory against size, in a process of its own, on one thread.

    python benchmarks/growth.py read 20        one conversation of 20 speakers, longer and longer: batch and scores
    python benchmarks/growth.py train 20       the same, a training step: loss and gradients, one pass
    python benchmarks/growth.py soft 20        the same with the contrastive loss, shorter ones: its time is quadratic
    python benchmarks/growth.py nt_xent        that loss alone, over more and more utterances, and its gradient
    python benchmarks/growth.py sup_con

Prints one JSON document. Sizes ascend, so that the peak memory of the process is that of the last one measured. Seconds
are the processor's: what runs beside it takes turns with it.
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

FEATURES, CLASSES = 384, 7
WARM = 200
TURNS, BATCHES = (1_000, 10_000, 100_000), (2_500, 5_000, 10_000, 20_000)
KIBI = 1024


class Point(NamedTuple):
    """What one size costs: median seconds of the processor, MiB at the peak above a process that has warmed up."""

    size: int
    seconds: float
    mib: float


def exponent(points: list[Point], of: Literal["seconds", "mib"]) -> float:
    """Slope of its logarithm on that of the size: 1 is linear, 2 quadratic."""
    sizes, costs = zip(*((math.log(p.size), math.log(getattr(p, of))) for p in points), strict=True)
    return statistics.linear_regression(sizes, costs).slope


def kib_each(points: list[Point]) -> float:
    """Memory that a further utterance takes between the two largest sizes, in KiB."""
    a, b = points[-2:]
    return KIBI * (b.mib - a.mib) / (b.size - a.size)


def measured(*arguments: str) -> list[Point]:
    """What this file prints when run so."""
    command = [sys.executable, str(Path(__file__)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [Point(*point) for point in json.loads(done.stdout)]


def points(sizes: tuple[int, ...], prepared: Callable[[int], Callable[[], object]]) -> list[Point]:
    """`prepared(size)` gives what is to be timed: five times, fewer where it takes seconds."""
    prepared(WARM)()
    start = _peak_mib()
    result = []
    for size in sizes:
        task, seconds = prepared(size), []
        while len(seconds) < (1 if sum(seconds) > 10 else 3 if sum(seconds) > 2 else 5):
            before = time.process_time()
            task()
            seconds.append(time.process_time() - before)
        result.append(Point(size, statistics.median(seconds), _peak_mib() - start))
    return result


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIBI


def one_conversation(kind: str, speakers: int) -> Callable[[int], Callable[[], object]]:
    """Reads it, or computes loss and gradients, as `points` wants it."""
    import numpy as np
    import torch

    from sacl.model.batch import ConversationItem, collate
    from sacl.model.dual_lstm import DualLSTM
    from sacl.settings import AdversarySettings, ObjectiveSettings
    from sacl.training.objective import SACL, Forward

    model = DualLSTM(FEATURES, CLASSES).train(kind != "read")
    weight = 0.1 if kind == "soft" else 0.0
    settings = ObjectiveSettings(contrastive_weight=weight, adversary=AdversarySettings(kind="none"))
    sacl = SACL(model, {}, settings)
    draw = np.random.default_rng(0)

    def prepared(turns: int) -> Callable[[], object]:
        who, labels = draw.integers(speakers, size=turns), draw.integers(CLASSES, size=turns)
        items = [ConversationItem("1", torch.randn(turns, FEATURES), who, labels)]

        def read() -> None:
            with torch.inference_mode():
                model(collate(items))

        def train() -> None:
            def closure() -> Forward:
                batch = collate(items)
                return Forward(*model(batch), batch.labels, batch.mask)

            sacl.backward(closure)

        return read if kind == "read" else train

    return prepared


def loss_alone(name: str) -> Callable[[int], Callable[[], object]]:
    """Value and gradient on log-probabilities, as `points` wants it."""
    import torch

    from sacl import losses

    loss = getattr(losses, name)

    def prepared(utterances: int) -> Callable[[], object]:
        z = torch.randn(utterances, CLASSES).log_softmax(1).requires_grad_()
        labels = torch.randint(CLASSES, (utterances,))
        return lambda: loss(z, labels, similarity="cosine").backward()

    return prepared


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    kind = sys.argv[1]
    if kind in ("nt_xent", "sup_con"):
        print(json.dumps(points(BATCHES, loss_alone(kind))))
    else:
        sizes = BATCHES if kind == "soft" else TURNS
        print(json.dumps(points(sizes, one_conversation(kind, int(sys.argv[2])))))
