"""An encoding that is under way, kept batch by batch in a file that only grows: a cut costs the batch it falls into."""

from __future__ import annotations

import hashlib
import os
from typing import BinaryIO

import numpy as np


class Pieces:
    """The batches of one encoding, in its order; those that were kept before it was cut off come back first.

    The file holds each batch's rows, little-endian float32, and after them the SHA-256 of the digest before and the
    rows: a batch that is torn, damaged, or of another encoding ends what is believed, and is written over. Processes
    that write the same file at once write the same bytes.

    Args:
        file: open for reading and writing, at its beginning.
        about: what is encoded, by what, and how: all that decides the bits.
    """

    def __init__(self, file: BinaryIO, about: str) -> None:
        self._file, self._digest = file, hashlib.sha256(about.encode()).digest()
        self._kept = 0
        self._end = os.fstat(file.fileno()).st_size

    def kept(self, rows: int, width: int) -> np.ndarray | None:
        """The next batch, (rows, width), if it was kept whole."""
        size = 4 * rows * width
        if self._kept + size + len(self._digest) > self._end:
            return None
        self._file.seek(self._kept)
        data, digest = self._file.read(size), self._file.read(len(self._digest))
        if digest != self._next(data):
            self._end = 0
            return None
        self._digest = digest
        self._kept += size + len(digest)
        return np.frombuffer(data, "<f4").reshape(rows, width)

    def keep(self, vectors: np.ndarray) -> None:
        """Keeps the next batch, where `kept` had none.

        Raises:
            OSError: it cannot be written.
        """
        data = vectors.astype("<f4").tobytes()
        self._digest = self._next(data)
        self._end = 0
        self._file.seek(self._kept)
        self._file.write(data + self._digest)
        self._file.flush()
        self._kept = self._file.tell()

    def _next(self, data: bytes) -> bytes:
        return hashlib.sha256(self._digest + data).digest()
