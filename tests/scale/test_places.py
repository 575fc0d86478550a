"""Files by their address: here, and in a store, for which the one that fsspec keeps in memory stands."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import fsspec
import pytest

from sacl.errors import DataError
from sacl.scale import places


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
    with places.opened(places.joined(home, "a.jsonl.gz")) as stream:
        assert stream.read() == b"text"


def test_what_is_not_there_is_none_of_it_or_an_error(home: str) -> None:
    assert places.names(places.joined(home, "none")) == set()
    assert places.read(places.joined(home, "none")) is None
    for pattern in ("none", "*.jsonl"):
        with pytest.raises(DataError, match="no such file"):
            places.found(places.joined(home, pattern))
    with pytest.raises(DataError, match="cannot be read"), places.opened(places.joined(home, "none")):
        pass


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pattern in quotes"):
        places.found(str(tmp_path))


def test_under_a_relative_pattern_addresses_are_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places.write("chats/a.csv", b"x")
    assert list(places.found("chats/*")) == ["chats/a.csv"]
    assert list(places.found(str(tmp_path / "chats/*"))) == [str(tmp_path / "chats/a.csv")]


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
