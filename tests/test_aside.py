"""What is written beside its place: whose it is, and who removes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sacl import aside

NOBODY = 2**22 + 1
"""No process has that number: Linux gives none above 2**22."""


def left_by(path: Path, host: str, process: int) -> Path:
    side = path.with_name(f".{path.name}.{host}-{process}-badf00d.part")
    side.touch()
    return side


def test_what_another_container_writes_is_left_alone_though_it_has_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = aside._host()
    monkeypatch.setattr(Path, "readlink", lambda _: Path("pid:[4026532000]"))
    there = aside._host()
    assert here != there
    own, others = (left_by(tmp_path / "a", host, NOBODY) for host in (here, there))
    aside.beside(tmp_path / "a")
    assert (own.exists(), others.exists()) == (False, True)
    os.utime(others, (1, 1))
    aside.beside(tmp_path / "a")
    assert not others.exists()


def test_names_are_remembered_only_while_they_are_written(tmp_path: Path) -> None:
    before = set(aside._own)
    with aside.whole_file(tmp_path / "a"), aside.folder_beside(tmp_path / "b"):
        assert len(aside._own - before) == 2
    assert aside._own == before
