"""Files by their address, on this machine or in an object store: found, read, and written whole.

An address is a path, or what fsspec reads, `s3://bucket/chats/*.jsonl.gz` say, with the library for its store installed
(s3fs, gcsfs, adlfs). On this machine a file is written beside its place and moved; a store shows an object once all of
it is there.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from sacl.aside import reason, remedy, whole_file
from sacl.errors import DataError

DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading a damaged .gz raises."""


def is_local(address: str) -> bool:
    """Whether it is a path.

    >>> is_local("chats/a.jsonl"), is_local("s3://chats/a.jsonl")
    (True, False)
    """
    return "://" not in address


def joined(address: str, *names: str) -> str:
    """A place further in."""
    return "/".join([address.rstrip("/") or "/", *names])


def found(pattern: str) -> dict[str, dict[str, Any]]:
    """The files that a pattern names, in order, each with its size in bytes and with what tells when it was changed.

    Raises:
        DataError: there is none, or the store cannot be reached.
    """
    try:
        system, path = _system(pattern)
        details = system.glob(path, detail=True) if any(sign in path for sign in "*?[") else {}
        if not details and system.exists(path):
            details = {path: system.info(path)}
    except (OSError, ValueError) as error:
        raise DataError(f"it cannot be read ({reason(error)})", where=pattern, remedy="Check the address") from error
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
def opened(address: str) -> Iterator[BinaryIO]:
    """Its bytes, unpacked if the name ends in .gz.

    Raises:
        DataError: it cannot be opened. What reading raises is the caller's.
    """
    try:
        system, path = _system(address)
        raw = system.open(path, "rb")
    except (OSError, ValueError) as error:
        raise DataError(f"it cannot be read ({reason(error)})", where=address, remedy="Check the file") from error
    with raw:
        yield gzip.GzipFile(fileobj=raw) if address.endswith(".gz") else raw  # type: ignore[misc]


def names(folder: str) -> set[str]:
    """Names of the files in a folder; none where it is not there."""
    system, path = _system(folder)
    system.invalidate_cache()
    try:
        return {str(entry).rstrip("/").rpartition("/")[2] for entry in system.ls(path, detail=False)}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def read(address: str) -> bytes | None:
    """A small file's bytes; None where there is none.

    Raises:
        DataError: it cannot be read.
    """
    try:
        system, path = _system(address)
        return bytes(system.cat_file(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"it cannot be read ({reason(error)})", where=address, remedy="Check the file") from error


def write(address: str, data: bytes) -> None:
    """Writes a file, whole or not at all; its folder is made.

    Raises:
        DataError: it cannot be written.
    """
    try:
        if is_local(address):
            Path(address).parent.mkdir(parents=True, exist_ok=True)
            with whole_file(Path(address)) as file:
                file.write(data)
        else:
            system, path = _system(address)
            system.pipe_file(path, data)
    except (OSError, ValueError) as error:
        raise DataError(f"it cannot be written ({reason(error)})", where=address, remedy=remedy(error)) from error


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
    """The address of what was found; as the pattern, a path may be relative to where the command was called."""
    if "://" in path:
        return path
    scheme, _, _ = pattern.rpartition("://")
    if scheme:
        return f"{scheme}://{path if scheme == 'file' else path.lstrip('/')}"
    here = Path.cwd()
    inside = not Path(pattern).is_absolute() and Path(path).is_relative_to(here)
    return str(Path(path).relative_to(here)) if inside else path
