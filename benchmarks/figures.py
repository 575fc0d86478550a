"""How a figure of a benchmark is written."""

from __future__ import annotations

import statistics
from collections.abc import Callable

Row = Callable[..., None]
"""`row(what, figure, limit="")`: adds a line to the table of results."""


def spread(values: list[float], digits: int = 2) -> str:
    """Median, and from the least to the greatest."""
    middle, low, high = (f"{v:.{digits}f}" for v in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"
