"""A seed that a sweep gave up before its last epoch: what is kept of it, in place of a result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacl.errors import RunError
from sacl.experiment.run import write_aside

PRUNED_FILE = "pruned.json"


def write_pruned(folder: Path, seed: int, epoch: int, valid: Mapping[str, float]) -> None:
    """Notes that the seed in this folder was given up after an epoch, with the best validation figures up to it."""
    record = {"format_version": 1, "seed": seed, "pruned": epoch, "valid": dict(valid)}
    write_aside(folder / PRUNED_FILE, json.dumps(record))


def read_pruned(folder: Path) -> dict[str, Any] | None:
    """What was noted; None where nothing was.

    Raises:
        RunError: it is damaged.
    """
    path = folder / PRUNED_FILE
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format_version"] == 1 and isinstance(record["pruned"], int):
            return dict(record, valid={"weighted_f1": float(record["valid"]["weighted_f1"])})
    except (OSError, ValueError, ArithmeticError, KeyError, TypeError, RecursionError):
        pass
    raise RunError("it is damaged", where=str(path), remedy="Delete it, and --resume the sweep")
