"""Prediction over files of growing size."""

from __future__ import annotations

import sys

import pytest
from figures import Row
from predict_memory import measured

SMALL, LARGE = 20, 200
MIB_PER_100_MIB, SPREAD_MIB = 10.0, 40.0


@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_memory_does_not_grow_with_the_file(row: Row) -> None:
    small, large = measured(SMALL), measured(LARGE)
    growth = large["peak_mib"] - small["peak_mib"]
    speed = large["mib"] / large["seconds"]
    row(f"peak memory of `sacl predict` on {SMALL} MB of JSONL, MiB", f"{small['peak_mib']:.0f}")
    row(f"on {LARGE} MB, MiB more", f"{growth:.0f}", f"{SPREAD_MIB:g}")
    row(
        f"slope of its memory over {LARGE} MB, MiB per 100 MiB read",
        f"{large['slope_mib_per_100_mib']:.1f}",
        f"{MIB_PER_100_MIB:g}",
    )
    row("MiB a second, few texts that come again and again, start included", f"{speed:.2f}")
    assert growth < SPREAD_MIB
    assert large["slope_mib_per_100_mib"] < MIB_PER_100_MIB
