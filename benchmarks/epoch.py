"""Training epochs of the recipe `meld` on 1,024 numbers an utterance, timed in a process of their own.

    python benchmarks/epoch.py one        epochs on one thread, which is the recipe's setting
    python benchmarks/epoch.py two        epochs on two threads, and the process's peak memory
    python benchmarks/epoch.py floor      epochs on two threads beside their bare multiplications, in turn
    python benchmarks/epoch.py plain      two batches against the plain rewrite, side by side, on one thread

Prints one JSON document.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import torch
from floor import bare_multiplications, best_rate
from meld_like import FEATURES, items
from plain import PlainDualLSTM
from torch import nn

from sacl.experiment.recipe import load_recipe
from sacl.model.build import build_model
from sacl.training.loop import make_batches, train_epoch
from sacl.training.memory import keep_freed_memory
from sacl.training.objective import SACL

TIMES = 5
RECIPE = load_recipe("meld")
PART = 2 * RECIPE.training.batch_size


def one_epoch(model: nn.Module, chosen: list[Any], threads: int = 1) -> float:
    """Seconds of one epoch over these conversations, batching, both passes and updates included."""
    s = RECIPE.training
    objective = SACL(model, model.targets(), RECIPE.objective, generator=torch.Generator().manual_seed(1))  # type: ignore[operator]
    optimizer = torch.optim.Adam(model.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay, fused=True)
    batches = make_batches(chosen, range(len(chosen)), s.batch_size, RECIPE.model)
    steps = -(-len(chosen) // s.batch_size)
    dropout = torch.Generator().manual_seed(2)
    started = time.perf_counter()
    train_epoch(
        model,
        batches,
        steps,
        objective,
        optimizer,
        accumulation=s.accumulation,
        window=s.window,
        generator=dropout,
        threads=threads,
    )
    return time.perf_counter() - started


def whole() -> dict[str, Any]:
    torch.manual_seed(0)
    chosen, labels, source = items()
    model = build_model(RECIPE.model, FEATURES, len(labels))
    seconds, busy = [], []
    for _ in range(TIMES + 1):
        before = time.process_time()
        seconds.append(one_epoch(model, chosen, RECIPE.training.threads))
        busy.append(time.process_time() - before)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    utterances = sum(len(item.labels) for item in chosen)
    size = {"source": source, "conversations": len(chosen), "utterances": utterances}
    return {**size, "seconds": seconds[1:], "cpu_seconds": busy[1:], "peak_mib": peak}  # the first epoch warms up


def beside_plain() -> dict[str, Any]:
    chosen, labels, _ = items()
    chosen = chosen[:PART]
    torch.manual_seed(0)
    packed = build_model(RECIPE.model, FEATURES, len(labels))
    m = RECIPE.model
    plain = PlainDualLSTM(FEATURES, len(labels), m.hidden_size, m.layers, m.dropout)
    plain.load_state_dict(packed.state_dict())
    batch = next(make_batches(chosen, range(len(chosen)), len(chosen), m))
    with torch.inference_mode():
        apart = (packed.eval()(batch).log_probabilities - plain.eval()(batch).log_probabilities).abs().max()
    pairs = [(one_epoch(packed, chosen), one_epoch(plain, chosen)) for _ in range(TIMES + 1)][1:]
    return {"packed": [a for a, _ in pairs], "plain": [b for _, b in pairs], "apart": float(apart)}


def beside_floor() -> dict[str, Any]:
    """Seconds of an epoch on two threads and of its bare multiplications, one after the other, in turn."""
    torch.manual_seed(0)
    chosen, labels, _ = items()
    model = build_model(RECIPE.model, FEATURES, len(labels))
    order = range(len(chosen))
    multiply, operations = bare_multiplications(
        make_batches(chosen, order, RECIPE.training.batch_size, RECIPE.model), FEATURES
    )
    epochs, floors, rates = [], [], []
    for _ in range(TIMES + 1):
        torch.set_num_threads(2)
        rates.append(best_rate())
        started = time.perf_counter()
        multiply()
        floors.append(time.perf_counter() - started)
        torch.set_num_threads(1)  # within each of two micro-batches at once, as a run does it
        epochs.append(one_epoch(model, chosen, threads=2))
    return {"epochs": epochs[1:], "floors": floors[1:], "operations": operations, "rate": max(rates)}


KINDS = {"one": whole, "two": whole, "plain": beside_plain, "floor": beside_floor}

if __name__ == "__main__":
    kind = sys.argv[1]
    keep_freed_memory()
    torch.set_num_threads(1)
    if kind == "two":
        RECIPE = RECIPE.model_copy(update={"training": RECIPE.training.model_copy(update={"threads": 2})})
    print(json.dumps(KINDS[kind]()))
