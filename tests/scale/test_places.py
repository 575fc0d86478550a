"""Files by their address: here, and in a store, for which the one that fsspec keeps in memory stands."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from sacl.errors import DataError, RunError
from sacl.rows import Columns
from sacl.scale import places
from sacl.scale.records import kind_of, parts


@pytest.fixture(params=["", "memory://"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, here or in the store."""
    if not request.param:
        return str(tmp_path)
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    return "memory://bucket/some"


def test_what_is_written_is_found_by_a_pattern_and_read(home: str) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.csv"):
        places.write(places.joined(home, "chats", name), name.encode())
    found = places.found(places.joined(home, "chats", "*.jsonl"))
    assert list(found) == [places.joined(home, "chats", name) for name in ("a.jsonl", "b.jsonl")]
    assert [about["size"] for about in found.values()] == [7, 7]
    assert [places.read(name) for name in found] == [b"a.jsonl", b"b.jsonl"]
    assert places.names(places.joined(home, "chats")) == {"a.jsonl", "b.jsonl", "c.csv"}
    assert list(places.found(places.joined(home, "chats", "c.csv"))) == [places.joined(home, "chats", "c.csv")]


def test_a_gzipped_file_is_unpacked(home: str) -> None:
    places.write(places.joined(home, "a.jsonl.gz"), gzip.compress(b"text"))
    with places.opened(places.joined(home, "a.jsonl.gz")) as (stream, packed):
        assert stream.read() == b"text"
        assert packed is not None
        assert packed() == len(gzip.compress(b"text"))


def test_what_is_not_there_is_none_of_it_or_an_error(home: str) -> None:
    assert places.names(places.joined(home, "none")) == set()
    assert places.read(places.joined(home, "none")) is None
    for pattern in ("none", "*.jsonl"):
        with pytest.raises(DataError, match="no such file"):
            places.found(places.joined(home, pattern))
    with pytest.raises(RunError, match="cannot be read"), places.opened(places.joined(home, "none")):
        pass


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pattern in quotes"):
        places.found(str(tmp_path))


def test_a_file_has_one_name_however_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    places.write("chats/a.csv", b"x")
    for pattern in (
        "chats/*",
        str(tmp_path / "chats/*"),
        f"file://{tmp_path}/chats/*",
        "~/chats/*",
        "x/../chats/a.csv",
    ):
        assert list(places.found(places.settled(pattern))) == [str(tmp_path / "chats/a.csv")]


class Failing:
    """A store's file whose reading fails at some byte, in the way of its library."""

    def __init__(self, raw: Any, error: Exception, at: int) -> None:
        self._raw, self._error, self._at = raw, error, at

    def read(self, size: int = -1) -> bytes:
        if self._raw.tell() >= self._at:
            raise self._error
        return bytes(self._raw.read(min(size, self._at - self._raw.tell())))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def __enter__(self) -> Failing:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()


class NoCredentialsError(Exception):
    """As those of botocore are, no OSError."""


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), NoCredentialsError("Unable to locate any")])
def test_whatever_a_store_says_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    place = "memory://bucket/a.jsonl"
    store = fsspec.filesystem("memory")
    for name in ("glob", "exists", "ls", "cat_file", "pipe_file", "open"):
        monkeypatch.setattr(type(store), name, lambda *_, **__: (_ for _ in ()).throw(error))
    asked: list[Any] = [places.found, places.names, places.read, lambda address: places.write(address, b"")]
    for ask in asked:
        with pytest.raises(DataError, match=r"memory.*it cannot be (read|written) \((Input|Unable)"):
            ask(place)
    with pytest.raises(RunError, match="it cannot be read"), places.opened(place):
        pass


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "jsonl.gz"])
def test_a_file_that_cannot_be_read_for_now_is_no_malformed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    path = tmp_path / f"a.{kind}"
    rows = [{"conversation": str(n), "speaker": "Ann", "text": f"{n * 7919 % 100003}" * 3} for n in range(20_000)]
    if kind == "csv":
        path.write_text("conversation,speaker,text\n" + "".join(",".join(row.values()) + "\n" for row in rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=500)
    else:
        lines = "".join(json.dumps({"id": row["conversation"], "utterances": [row]}) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(lines) if kind == "jsonl.gz" else lines)
    opened = LocalFileSystem.open
    fails = OSError(5, "Input/output error")
    monkeypatch.setattr(
        LocalFileSystem, "open", lambda *a, **k: Failing(opened(*a, **k), fails, path.stat().st_size // 2)
    )
    with pytest.raises(RunError, match="Input/output error"):
        list(parts(str(path), kind_of(str(path)), Columns(emotion=None)))


def test_names_that_begin_with_a_dot_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".00000.jsonl.0badf00d-1-0badf00d.part").touch()
    assert places.names(str(tmp_path)) == set()


def test_a_file_that_was_changed_is_told_from_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"x")
    before = places.found(str(path))
    assert places.found(str(path)) == before
    path.write_bytes(b"y")
    os.utime(path, (1, 1))
    assert places.found(str(path)) != before


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    places.write(str(path), b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DataError, match="No space left"):
        places.write(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_store_whose_library_is_missing_says_which() -> None:
    with pytest.raises(DataError, match="library for its store"):
        places.found("abfs://bucket/*.jsonl")
