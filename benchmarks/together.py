"""Five models trained together, as far as that could pay: their recurrent layers in one call, beside five calls.

    python benchmarks/together.py           both ways in turn, on one thread, then on two cores
    python benchmarks/together.py ALONE N   one process's share of the second: N rounds of single calls

What is measured favours training together: all models read the same batches, where seeds draw different ones, whose
lengths would have to be padded to the longest; and only the layers are timed, which is where a leading dimension can
save anything. Prints one JSON document.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from meld_like import FEATURES, items
from torch import Tensor

from sacl.experiment.recipe import load_recipe
from sacl.model.recurrence import LSTMLayer
from sacl.training.loop import make_batches
from sacl.training.memory import keep_freed_memory

RECIPE = load_recipe("meld")
MODELS, BATCHES, TIMES = 5, 20, 5
OTHER = ThreadPoolExecutor(1)
Layer = tuple[Tensor, Tensor, list[int]]


def layers() -> list[tuple[Layer, Layer]]:
    """What the context and the speaker LSTM read, a batch each."""
    chosen, _, _ = items()
    made = make_batches(
        chosen[: BATCHES * RECIPE.training.batch_size],
        range(BATCHES * RECIPE.training.batch_size),
        RECIPE.training.batch_size,
        RECIPE.model,
    )
    return [
        tuple((s.gather(batch.features), s.reverse, s.batch_sizes.tolist()) for s in (batch.context, batch.speaker))
        for batch in made
    ]  # type: ignore[misc]


def weights(directions: int) -> list[Tensor]:
    hidden = RECIPE.model.hidden_size
    shapes = [(4 * hidden, FEATURES), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,)]
    return [(torch.randn(*shape) / 20).requires_grad_() for _ in range(directions) for shape in shapes]


def passes(layer: Layer, given: list[Tensor]) -> None:
    """Forward and backward."""
    LSTMLayer.apply(*layer, *given).sum().backward()


def seconds(batches: list[tuple[Layer, Layer]], given: list[list[Tensor]], beside: bool) -> float:
    started = time.perf_counter()
    for context, speaker in batches:
        for one in given:
            if beside:
                later = OTHER.submit(passes, speaker, one)
                passes(context, one)
                later.result()
            else:
                passes(context, one)
                passes(speaker, one)
    return time.perf_counter() - started


def alone(rounds: int) -> None:
    batches, given = layers(), [weights(2)]
    seconds(batches, given, beside=False)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(rounds):
        seconds(batches, given, beside=False)
    print("done", flush=True)


def in_two_processes() -> float:
    """Seconds of five models in two processes: twice five single rounds, five in each process, halved."""
    command = [sys.executable, __file__, "ALONE", str(MODELS)]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        worker.stdout.readline()  # type: ignore[union-attr]
    started = time.perf_counter()
    for worker in workers:
        worker.stdin.write("go\n")  # type: ignore[union-attr]
        worker.stdin.flush()  # type: ignore[union-attr]
    for worker in workers:
        worker.stdout.readline()  # type: ignore[union-attr]
    elapsed = time.perf_counter() - started
    for worker in workers:
        worker.communicate()
    return elapsed / 2


def main() -> dict[str, Any]:
    batches, one, together = layers(), [weights(2) for _ in range(MODELS)], [weights(2 * MODELS)]
    figures: dict[str, Any] = {"one_thread": [], "two_cores": []}
    for _ in range(TIMES + 1):
        figures["one_thread"].append((seconds(batches, one, False), seconds(batches, together, False)))
        figures["two_cores"].append((in_two_processes(), seconds(batches, together, True)))
    return {kind: pairs[1:] for kind, pairs in figures.items()}  # the first warms up


if __name__ == "__main__":
    keep_freed_memory()
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["ALONE"]:
        alone(int(sys.argv[2]))
    else:
        print(json.dumps(main()))
