"""Files by their address, on this machine or in an object store: found, read, and written whole.

An address is a path, or what fsspec reads, `s3://bucket/chats/*.jsonl.gz` say, with the library for its store installed
(s3fs, gcsfs, adlfs). On this machine a file is written beside its place and moved; a store shows an object once all of
it is there.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sacl.aside import reason, remedy, whole_file
from sacl.errors import DataError, RunError, SaclError

DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading a damaged .gz raises."""

_BUFFER = 2**16
_AGAIN = "Mend that, and give the same command: what is done is kept"


def is_local(address: str) -> bool:
    """Whether it is a path.

    >>> is_local("chats/a.jsonl"), is_local("s3://chats/a.jsonl")
    (True, False)
    """
    return "://" not in address


def settled(address: str) -> str:
    """The same place under the name that it has wherever it is asked from: absolute, if it is a path.

    >>> settled("file:///chats/../a.jsonl"), settled("s3://chats/a.jsonl")
    ('/a.jsonl', 's3://chats/a.jsonl')
    """
    address = address.removeprefix("file://").removeprefix("local://")
    # Not resolved: where a link leads may differ from machine to machine.
    return os.path.abspath(os.path.expanduser(address)) if is_local(address) else address  # noqa: PTH100, PTH111


def joined(address: str, *names: str) -> str:
    """A place further in.

    >>> joined("/", "a"), joined("s3://chats/", "a", "b")
    ('/a', 's3://chats/a/b')
    """
    return "/".join([address.rstrip("/"), *names])


def found(pattern: str) -> dict[str, dict[str, Any]]:
    """The files that a pattern names, in order, each with its size in bytes and with what tells when it was changed.

    Raises:
        DataError: there is none, or the store cannot be reached.
    """
    with _told("read", pattern, "Check the address"):
        system, path = _system(pattern)
        details = system.glob(path, detail=True) if any(sign in path for sign in "*?[") else {}
        if not details and system.exists(path):
            details = {path: system.info(path)}
    files = {_address(pattern, name): about for name, about in details.items() if about["type"] != "directory"}
    if not files:
        told = "Give a file, or a pattern in quotes: 'chats/*.jsonl.gz'"
        raise DataError("there is no such file", where=pattern, remedy=told)
    changed = ("ETag", "etag", "mtime", "LastModified", "last_modified", "md5Hash")
    return {
        name: {"size": about["size"], "changed": next((str(about[key]) for key in changed if key in about), None)}
        for name, about in sorted(files.items())
    }


@contextmanager
def opened(address: str) -> Iterator[tuple[BinaryIO, Callable[[], int] | None]]:
    """Its bytes, unpacked if the name ends in .gz; and then how many packed ones have been read.

    Raises:
        RunError: it cannot be opened or, within, read: what a store says in passing must not be taken for what the
            file holds. Of a .gz that is damaged, DAMAGED.
    """
    with _told("read", address, _AGAIN, RunError):
        system, path = _system(address)
        raw = system.open(path, "rb")
    with raw:
        read = _Read(raw, address)
        stream = io.BufferedReader(read, _BUFFER)
        if address.endswith(".gz"):
            yield gzip.GzipFile(fileobj=stream), lambda: read.count  # type: ignore[misc]
        else:
            yield stream, None


class _Read(io.RawIOBase):
    """An open file, whose errors are RunErrors; `count` is of the bytes that were read."""

    def __init__(self, raw: Any, address: str) -> None:
        self._raw, self._address, self.count = raw, address, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._raw.seekable())

    def readinto(self, buffer: Any) -> int:
        with _told("read", self._address, _AGAIN, RunError):
            data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with _told("read", self._address, _AGAIN, RunError):
            return int(self._raw.seek(offset, whence))


def names(folder: str) -> set[str]:
    """Names of the files in a folder, but for those that begin with a dot; none where it is not there.

    Raises:
        DataError: it cannot be listed.
    """
    with _told("read", folder, "Check the folder"):
        system, path = _system(folder)
        system.invalidate_cache()
        try:
            found = {str(entry).rstrip("/").rpartition("/")[2] for entry in system.ls(path, detail=False)}
        except (FileNotFoundError, NotADirectoryError):
            return set()
    return {name for name in found if not name.startswith(".")}


def read(address: str) -> bytes | None:
    """A small file's bytes; None where there is none.

    Raises:
        DataError: it cannot be read.
    """
    with _told("read", address, "Check the file"):
        system, path = _system(address)
        try:
            return bytes(system.cat_file(path))
        except FileNotFoundError:
            return None


def write(address: str, data: bytes) -> None:
    """Writes a file, whole or not at all; its folder is made.

    Raises:
        DataError: it cannot be written.
    """
    with _told("written", address):
        if is_local(address):
            Path(address).parent.mkdir(parents=True, exist_ok=True)
            with whole_file(Path(address)) as file:
                file.write(data)
        else:
            system, path = _system(address)
            system.pipe_file(path, data)


@contextmanager
def _told(done: str, address: str, mend: str | None = None, kind: type[SaclError] = DataError) -> Iterator[None]:
    """Whatever goes wrong within, told: stores have errors of many kinds, those of their credentials say."""
    try:
        yield
    except SaclError:
        raise
    except Exception as error:
        found = f"it cannot be {done} ({reason(error)})"
        raise kind(found, where=address, remedy=mend or remedy(error)) from error


def _system(address: str) -> tuple[Any, str]:
    import fsspec  # type: ignore[import-untyped]

    try:
        system, path = fsspec.url_to_fs(address)
    except ImportError as error:
        raise DataError(
            f"the library for its store is not installed ({error})", where=address, remedy="Install it with pip"
        ) from error
    return system, str(path)


def _address(pattern: str, path: str) -> str:
    """The address of what was found under a pattern."""
    scheme, _, _ = pattern.rpartition("://")
    return path if "://" in path or not scheme else f"{scheme}://{path.lstrip('/')}"
