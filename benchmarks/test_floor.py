"""How near an epoch comes to its bare multiplications, and what training many models at once would bring."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from figures import Row, spread

HERE = Path(__file__).parent
GOAL, WORTH_KEEPING = 1.6, 1.1


def printed(*command: str) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    script, *rest = command
    command = [sys.executable, str(HERE / script), *rest]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.timeout(900)
def test_an_epoch_beside_its_bare_multiplications(row: Row) -> None:
    figures = printed("epoch.py", "floor")
    ratios = [a / b for a, b in zip(figures["epochs"], figures["floors"], strict=True)]
    row(
        "one training epoch of recipe `meld`, 1,024 numbers an utterance, two threads, seconds",
        spread(figures["epochs"]),
    )
    row("its bare multiplications at the shapes used, two threads, in turn with it, seconds", spread(figures["floors"]))
    row("the epoch, times its bare multiplications (1.6 was the goal)", spread(ratios), f"{GOAL:g}")
    best = figures["operations"] / figures["rate"]
    row(
        f"the same multiplications at this machine's best rate, {figures['rate'] / 1e9:.0f} GFLOP/s, seconds",
        f"{best:.2f}",
    )
    assert statistics.median(ratios) < 2 * GOAL


@pytest.mark.timeout(900)
def test_many_models_at_once(row: Row) -> None:
    figures = printed("together.py")
    what = "five models' recurrent layers one by one, times as long as in one call (same batches, nothing padded)"
    for kind, how in (("one_thread", "one thread"), ("two_cores", "two processes against two threads")):
        row(f"{what}: {how}", spread([a / b for a, b in figures[kind]]), f"{WORTH_KEEPING:g} to be kept")
