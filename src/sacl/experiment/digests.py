"""SHA-256 in a run's own files, so that a bit that flipped is noticed. Files of earlier versions have none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacl.errors import RunError

_ENTRY, _LINE = "sha256", "# SHA-256 of what follows: "


def with_digest(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record that is to become JSON, with its own digest as its last entry."""
    return dict(record) | {_ENTRY: _of(json.dumps(record))}


def without_digest(record: dict[str, Any]) -> dict[str, Any]:
    """A record read back, its digest checked and taken out.

    Raises:
        ValueError: it is not the digest of the rest.
    """
    rest = {key: value for key, value in record.items() if key != _ENTRY}
    if record.get(_ENTRY, "") not in ("", _of(json.dumps(rest))):
        raise ValueError("its SHA-256 is not its own")
    return rest


def with_first_line(text: str) -> str:
    """YAML under a comment that holds its digest. It is the first line: a file that is cut short still has it."""
    return f"{_LINE}{_of(text)}\n{text}"


def check_first_line(path: Path) -> None:
    """Refuses what `with_first_line` gave, where anything below the comment has changed since.

    Raises:
        RunError: it has.
    """
    try:
        first, _, rest = path.read_bytes().partition(b"\n")
    except OSError:
        return  # whoever reads it says so
    if first.startswith(_LINE.encode()) and first != f"{_LINE}{hashlib.sha256(rest).hexdigest()}".encode():
        raise RunError(
            "it has changed since the run was begun: its SHA-256 is not that of its first line",
            where=str(path),
            remedy="Put the former file back; if the change is yours and is meant, delete that line",
        )


def file_digest(path: Path) -> str:
    """Of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(folder: Path, digests: object) -> None:
    """Refuses files of a folder that are not those whose digests were noted, by name; `digests` may be None.

    Raises:
        RunError: one is missing, or not what it was.
    """
    for name, digest in digests.items() if isinstance(digests, dict) else ():
        path = folder / Path(str(name)).name
        try:
            found = "it is damaged: its SHA-256 is not that of result.json" if file_digest(path) != digest else ""
        except OSError as error:
            found = f"it cannot be read ({error.strerror or error})"
        if found:
            raise RunError(found, where=str(path), remedy="Delete the seed's folder and --resume")


def _of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
