"""A reader, and the files that it is given."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Read = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Reader:
    """What is fuzzed, and whole inputs to begin from."""

    read: Read
    seeds: Sequence[bytes]


@cache
def scratch() -> Path:
    """A folder that is kept as long as the process."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    _KEPT.append(folder := tempfile.TemporaryDirectory(prefix="sacl-fuzz-", dir=memory))
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def written(name: str, data: bytes) -> Path:
    """A file of these bytes."""
    path = scratch() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def as_json(*values: Any) -> bytes:
    """JSON, a line each."""
    return "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode()
