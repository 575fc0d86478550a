"""Training epochs and start-up."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pytest
from figures import Row, printed, spread

SECONDS_AN_EPOCH, PEAK_MIB, HELP_SECONDS = 10.0, 1.5 * 1024, 0.3


@pytest.mark.timeout(900)
def test_an_epoch_of_meld_in_ten_seconds_and_one_and_a_half_gigabytes(row: Row) -> None:
    figures, two = printed("epoch.py", "one"), printed("epoch.py", "two")
    what = (
        f"one training epoch of recipe `meld`, 1,024 numbers an utterance ({figures['source']}: "
        f"{figures['conversations']} conversations, {figures['utterances']} utterances)"
    )
    row(f"{what}, one thread as the recipe says, seconds", spread(figures["seconds"]), f"{SECONDS_AN_EPOCH:g}")
    row("the same, seconds of the processor", spread(figures["cpu_seconds"]))
    row("the same, two threads, seconds", spread(two["seconds"]))
    row("peak memory of that process, MiB", f"{figures['peak_mib']:.0f}", f"{PEAK_MIB:.0f}")
    assert statistics.median(figures["seconds"]) < SECONDS_AN_EPOCH
    assert figures["peak_mib"] < PEAK_MIB


@pytest.mark.timeout(900)
def test_packing_beats_a_plain_loop_over_sequences(row: Row) -> None:
    figures = printed("epoch.py", "plain")
    assert figures["apart"] < 1e-5, "the plain rewrite computes something else"
    ratios = [b / a for a, b in zip(figures["packed"], figures["plain"], strict=True)]
    seconds = f"{statistics.median(figures['plain']):.2f} s against {statistics.median(figures['packed']):.2f} s"
    what = f"two batches by a plain rewrite, a sequence and a cell at a time ({seconds}, one thread), times as long"
    row(what, spread(ratios, 1), "more than 1")
    assert statistics.median(ratios) > 1


def wall(*command: str, times: int = 9) -> list[float]:
    """Seconds from start to end of a process."""
    seconds = []
    for _ in range(times + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def test_help_comes_at_once(row: Row) -> None:
    seconds = wall(sys.executable, "-c", "import sys; sys.argv = ['sacl', '--help']; from sacl.cli import main; main()")
    row("`sacl --help`, seconds", spread(seconds), f"{HELP_SECONDS:g}")
    assert statistics.median(seconds) < HELP_SECONDS


def test_importing_the_package_is_free(row: Row) -> None:
    nothing, package = wall(sys.executable, "-c", "pass"), wall(sys.executable, "-c", "import sacl")
    cost = statistics.median(package) - statistics.median(nothing)
    row("`import sacl`, seconds above Python's own start", f"{cost:.3f}", "0.1")
    assert cost < 0.1
