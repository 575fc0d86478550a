"""Files and folders that are written beside their place, then moved into it: a reader sees the old or the new, whole.

What a process that was killed has left beside a place is removed when the next one writes there.
"""

from __future__ import annotations

import errno
import glob
import os
import platform
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sacl.errors import SaclError


def _host() -> str:
    """Where one sees whether a process runs: containers that share a name do not see each other's."""
    seen = platform.node()
    with suppress(OSError):  # not everywhere
        seen += str(Path("/proc/self/ns/pid").readlink())
    return f"{zlib.crc32(seen.encode()):08x}"


_HOST = _host()
_DAY = 24 * 3600
_own = set[str]()
"""Names that this process made: an earlier one may have had its number."""

_REMEDIES = {
    errno.ENOENT: "Make the folder that it is to be in, or choose another",
    errno.ENOTDIR: "A file stands where a folder should be: choose another folder",
    errno.EISDIR: "Choose another name",
    errno.EACCES: "Choose a folder that you may write to",
    errno.EPERM: "Choose a folder that you may write to",
    errno.EROFS: "Choose a folder that can be written to",
    errno.EDQUOT: "Delete files of yours, or choose another folder",
}


def reason(error: BaseException) -> str:
    """Why something could not be written, in the system's words where it has some."""
    told = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(told).splitlines()[0].rstrip(".")


def remedy(error: BaseException) -> str:
    """What to do about it."""
    return _REMEDIES.get(getattr(error, "errno", None) or 0, "Free space, or choose another folder")


def beside(path: Path) -> Path:
    """A name in the same folder that nothing else has; removes what killed processes left under such names.

    It says which process of which machine has it: `.model.safetensors.5f2c9a31-4711-0badf00d.part`.
    """
    for left in _all_left(path):
        removed(left)
    name = f".{path.name}.{_HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part"
    _own.add(name)
    return path.with_name(name)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A stream whose file takes the place of `path` when the block ends well, and vanishes when it does not.

    Raises:
        OSError: the place cannot be written to; what was there stays.
    """
    side = beside(path)
    try:
        with side.open("xb") as file:
            yield file
            if not file.closed:
                file.flush()
                # Before the move: a machine that fails must not leave a name without its content.
                os.fsync(file.fileno())
        side.replace(path)
    finally:
        with suppress(OSError):
            side.unlink()
        _own.discard(side.name)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A new folder beside `path` to work in, gone after the block; what is complete is moved out of it.

    Raises:
        OSError: the place cannot be written to.
    """
    side = beside(path)
    try:
        side.mkdir(parents=True)
        yield side
    except SaclError as error:  # by the name that people know
        raise type(error)(error.found, where=error.where.replace(str(side), str(path)), remedy=error.remedy) from error
    finally:
        shutil.rmtree(side, ignore_errors=True)
        _own.discard(side.name)


def put_back(path: Path, mark: str) -> None:
    """A folder that is missing because its process was killed while it replaced it has its place again.

    Args:
        path: where it was.
        mark: the file that is written last, by which a whole one is told.
    """
    for left in _all_left(path):
        if (left / mark).exists() and not path.exists():
            with suppress(OSError):
                left.rename(path)


def removed(path: Path) -> None:
    """Removes a file or a whole folder, if it can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def is_running(process: int) -> bool:
    """Whether this machine has a process of that number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's, or no number of a process: it is not to be touched
    return True


def _all_left(path: Path) -> list[Path]:
    """What killed processes left beside a place."""
    try:
        return [side for side in path.parent.glob(f".{glob.escape(path.name)}.*.part") if _is_left(side)]
    except OSError:  # whoever writes there is told
        return []


def _is_left(side: Path) -> bool:
    """Whether nobody writes it any more: its process is gone, or a day has passed where it is not seen from here."""
    host, _, rest = side.name.rpartition(".part")[0].rpartition(".")[2].partition("-")
    process = rest.partition("-")[0]
    if not process.isdecimal() or side.name in _own:
        return False
    if host == _HOST and int(process) != os.getpid():
        return not is_running(int(process))
    return host == _HOST or time.time() - side.lstat().st_mtime > _DAY
