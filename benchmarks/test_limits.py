"""What is promised of speed and memory, measured and held; `make bench` writes the figures into RESULTS.md."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SECONDS_AN_EPOCH, PEAK_MIB, HELP_SECONDS = 10.0, 1.5 * 1024, 0.5


@pytest.fixture(scope="session")
def table() -> Iterator[dict[str, tuple[str, str]]]:
    """What is measured -> figure and limit; the results are written once all of them are there."""
    rows: dict[str, tuple[str, str]] = {}
    yield rows
    if len(rows) == 7:
        lines = [f"| {what} | {figure} | {limit} |" for what, (figure, limit) in rows.items()]
        head = ["# What it costs", "", f"Written by `make bench`. {_machine()}", "", "| measured | figure | limit |"]
        (HERE / "RESULTS.md").write_text("\n".join([*head, "|---|---|---|", *lines, ""]), encoding="utf-8")


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (s.partition(":")[2].strip() for s in info.read_text().splitlines() if s.startswith("model name")), cpu
        )
    load = os.getloadavg()[2]
    beside = "nothing" if load < 1.5 else "other work"
    return (
        f"{cpu}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"torch {version('torch')}; {beside} ran beside it (load {load:.1f} over the last 15 minutes). "
        "Medians of at least five; in brackets from the least to the greatest."
    )


def spread(values: list[float], digits: int = 2) -> str:
    middle, low, high = (f"{v:.{digits}f}" for v in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def measured(kind: str) -> dict[str, Any]:
    """What `epoch.py` prints; on its own number of threads, whatever the environment says."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    command = [sys.executable, str(HERE / "epoch.py"), kind]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.timeout(900)
def test_an_epoch_of_meld_in_ten_seconds_and_one_and_a_half_gigabytes(table: dict[str, tuple[str, str]]) -> None:
    figures, two = measured("one"), measured("two")
    what = (
        f"one training epoch of recipe `meld`, 1,024 numbers an utterance ({figures['source']}: "
        f"{figures['conversations']} conversations, {figures['utterances']} utterances)"
    )
    table[f"{what}, one thread as the recipe says, seconds"] = spread(figures["seconds"]), f"{SECONDS_AN_EPOCH:g}"
    table["the same, seconds of the processor"] = spread(figures["cpu_seconds"]), ""
    table["the same, two threads, seconds: the steps are too small to share out"] = spread(two["seconds"]), ""
    table["peak memory of that process, MiB"] = f"{figures['peak_mib']:.0f}", f"{PEAK_MIB:.0f}"
    assert statistics.median(figures["seconds"]) < SECONDS_AN_EPOCH
    assert figures["peak_mib"] < PEAK_MIB


@pytest.mark.timeout(900)
def test_packing_beats_a_plain_loop_over_sequences(table: dict[str, tuple[str, str]]) -> None:
    figures = measured("plain")
    assert figures["apart"] < 1e-5, "the plain rewrite computes something else"
    ratios = [b / a for a, b in zip(figures["packed"], figures["plain"], strict=True)]
    seconds = f"{statistics.median(figures['plain']):.2f} s against {statistics.median(figures['packed']):.2f} s"
    table[f"four batches by a plain loop over sequences ({seconds}, one thread), times as long"] = (
        spread(ratios, 1),
        "more than 1",
    )
    assert statistics.median(ratios) > 1


def wall(*command: str, times: int = 9) -> list[float]:
    """Seconds from start to end of a process."""
    seconds = []
    for _ in range(times + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def test_help_comes_at_once(table: dict[str, tuple[str, str]]) -> None:
    seconds = wall(sys.executable, "-c", "import sys; sys.argv = ['sacl', '--help']; from sacl.cli import main; main()")
    table["`sacl --help`, seconds"] = spread(seconds), f"{HELP_SECONDS:g}"
    assert statistics.median(seconds) < HELP_SECONDS


def test_importing_the_package_is_free(table: dict[str, tuple[str, str]]) -> None:
    nothing, package = wall(sys.executable, "-c", "pass"), wall(sys.executable, "-c", "import sacl")
    cost = statistics.median(package) - statistics.median(nothing)
    table["`import sacl`, seconds above Python's own start"] = f"{cost:.3f}", "0.1"
    assert cost < 0.1
