"""How near an epoch comes to its bare multiplications, and what training many models at once would bring."""

from __future__ import annotations

import statistics

import pytest
from figures import Row, printed, spread

GOAL, WORTH_KEEPING = 1.6, 1.1


@pytest.mark.timeout(900)
def test_an_epoch_beside_its_bare_multiplications(row: Row) -> None:
    figures = printed("epoch.py", "floor")
    ratios = [a / b for a, b in zip(figures["epochs"], figures["floors"], strict=True)]
    row(
        "one training epoch of recipe `meld`, 1,024 numbers an utterance, two threads, seconds",
        spread(figures["epochs"]),
    )
    row("its bare multiplications at the shapes used, two threads, in turn with it, seconds", spread(figures["floors"]))
    row("the epoch, times its bare multiplications", spread(ratios), f"{GOAL:g}")
    best = figures["operations"] / figures["rate"]
    row(
        f"the same multiplications at this machine's best rate, {figures['rate'] / 1e9:.0f} GFLOP/s, seconds",
        f"{best:.2f}",
    )
    assert statistics.median(ratios) < GOAL


@pytest.mark.timeout(900)
def test_many_models_at_once(row: Row) -> None:
    figures = printed("together.py")
    what = "five models' recurrent layers one by one, times as long as in one call (same batches, nothing padded)"
    for kind, how in (("one_thread", "one thread"), ("two_cores", "two processes against two threads")):
        row(f"{what}: {how}", spread([a / b for a, b in figures[kind]]), f"{WORTH_KEEPING:g} to be kept")
