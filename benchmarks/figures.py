"""How a figure of a benchmark is written."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = Callable[..., None]
"""`row(what, figure, limit="")`: adds a line to the table of results."""


def spread(values: list[float], digits: int = 2) -> str:
    """Median, and from the least to the greatest."""
    middle, low, high = (f"{v:.{digits}f}" for v in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def printed(script: str, *arguments: str) -> dict[str, Any]:
    """What a script beside this file prints; on its own number of threads, whatever the environment says."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    command = [sys.executable, str(Path(__file__).parent / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
