"""One process at a time on a run directory, and who it is."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from sacl.aside import reason, remedy
from sacl.errors import RunError

LOCK_FILE, HOLDER_FILE = ".lock", ".holder"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Makes the folder if it is not there, and keeps every other process from it.

    The lock is the system's: it ends with the process, however that ends. Who has it stands in a file beside it.

    Raises:
        RunError: another process has it; or the folder cannot be made or written to.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_FILE, timeout=0)
    holder = folder / HOLDER_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunError(
            f"another process works on this run{_told(holder)}",
            where=str(folder),
            remedy="Wait for it, or give another --out",
        ) from None
    except (OSError, NotImplementedError) as error:  # the latter of file systems without locks
        raise RunError(f"it cannot be written ({reason(error)})", where=str(folder), remedy=remedy(error)) from error
    about = {"process": os.getpid(), "machine": platform.node(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
    text = json.dumps(about)
    try:
        with suppress(OSError):  # a full disk is told by what matters
            holder.write_text(text, encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            # Where the block has removed the lock, another process may have begun in the folder.
            if text.startswith(holder.read_text(encoding="utf-8")):
                holder.unlink()
        lock.release()


def require_free(folder: Path) -> None:
    """Raises the RunError of `held` where another process has the folder; changes nothing."""
    if (folder / LOCK_FILE).exists():
        with held(folder):
            pass


def _told(holder: Path) -> str:
    try:
        who = json.loads(holder.read_text(encoding="utf-8"))
        return f": process {who['process']} on {who['machine']}, since {who['since']}"
    except (OSError, ValueError, LookupError, TypeError):
        return ""  # it has only just begun
