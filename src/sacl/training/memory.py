"""What the C library does with memory that was freed."""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGEST = 32 * 1024 * 1024


@cache
def keep_freed_memory() -> None:
    """From now on this process keeps what it frees, up to 32 MiB a piece, for what it allocates next.

    Every step of training frees and allocates gradients of some megabytes. Left alone, glibc hands them back to the
    system each time, and the page faults of getting them again take up to half as long as the arithmetic. Other C
    libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
