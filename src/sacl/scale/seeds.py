"""A seed on a worker of Ray: the folder that it writes to, and how what it meets there comes to the user."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from sacl import errors
from sacl.errors import SaclError
from sacl.experiment.lock import LOCK_FILE
from sacl.experiment.run import remove_unfinished
from sacl.experiment.tasks import Task
from sacl.scale.cluster import not_seen

RETRIES = 3
"""How often training is begun again whose worker or machine was lost; it goes on from the seed's own checkpoint."""

_WAIT = 120  # seconds until whoever wrote to this seed's folder before, and was lost from sight, must have ended


@contextmanager
def seed_folder_of(task: Task, home: Path, writes: bool = True) -> Iterator[None]:
    """Within, this process is in the driver's folder `home`, and, if it `writes`, alone in the seed's.

    Raises:
        RunError: this machine does not see them.
    """
    from filelock import FileLock

    folder = home / task.folder
    if not home.is_dir() or not folder.parent.is_dir():
        raise not_seen(str(task.folder), "Work in a folder that all machines of the cluster share")
    os.chdir(home)
    if not writes:
        yield
        return
    folder.mkdir(exist_ok=True)
    with FileLock(folder / LOCK_FILE, timeout=_WAIT):
        yield


@contextmanager
def tidied(tasks: Sequence[Task]) -> Iterator[None]:
    """After the block, and not before Ray has ended, what workers left beside the seeds' files is gone."""
    from filelock import FileLock

    try:
        yield
    finally:
        for task in tasks:
            lock = task.folder / LOCK_FILE
            if not lock.exists():
                continue
            with suppress(OSError), FileLock(lock, timeout=1):  # whoever is lost from sight may still write
                remove_unfinished(task.folder)
                lock.unlink(missing_ok=True)


def as_text(fault: SaclError) -> str:
    """For `fault_of`: an exception of our own would come through Ray as one of its own."""
    return json.dumps([type(fault).__name__, fault.found, fault.where, fault.remedy])


def fault_of(text: str) -> SaclError:
    """What `as_text` was given.

    >>> print(fault_of(as_text(errors.RunError("it is damaged", where="seed-0", remedy="Delete it"))))
    seed-0: it is damaged. Delete it
    """
    kind, found, where, remedy = json.loads(text)
    fault: SaclError = getattr(errors, kind)(found, where=where, remedy=remedy)
    return fault
