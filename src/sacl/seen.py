"""Which ids went by in a stream of any length."""

from __future__ import annotations

import hashlib

import numpy as np


class Seen:
    """Ids seen so far, in some 16 bytes each: a Python set of the ids themselves takes eight times as many.

    An id is kept as 64 bits of its hash. Among a million ids, two are taken for one another with a chance of 3e-8.

    >>> seen = Seen()
    >>> [seen.add(id) for id in ("a", "b", "a")]
    [False, False, True]
    """

    def __init__(self) -> None:
        self._old = np.empty(0, np.uint64)  # in order
        self._new: set[int] = set()

    def add(self, id: str) -> bool:
        """Note an id; true if it was there before."""
        key = int.from_bytes(hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
        if key in self._new or self._is_old(key):
            return True
        self._new.add(key)
        if len(self._new) > 1024 + len(self._old) // 8:  # seldom enough that the copies cost little in all
            self._old = np.union1d(self._old, np.fromiter(self._new, np.uint64, len(self._new)))
            self._new = set()
        return False

    def _is_old(self, key: int) -> bool:
        at = int(np.searchsorted(self._old, np.uint64(key)))
        return at < len(self._old) and int(self._old[at]) == key
