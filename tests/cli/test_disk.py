"""A disk that is full, read-only or gone, on a small file system in memory: one line, and what was whole stays."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Sacl = Callable[..., Any]
SIZE = 2**20
FULL, PAGE = "No space left on device", 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(place)]
    done = subprocess.run(command, capture_output=True, text=True) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip(f"a file system cannot be mounted here ({'no mount' if done is None else done.stderr.strip()})")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, room: int) -> Path:
    """A file that leaves so many bytes on the disk."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * PAGE
    ballast.write_bytes(bytes(max(0, free - room)))
    return ballast


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def tree(folder: Path) -> dict[str, bytes]:
    """Files that a person would look at."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def trained_files(run: Path) -> dict[str, bytes]:
    """What training gives; the results and the record have seconds in them."""
    return {name: data for name, data in tree(run).items() if name.endswith((".safetensors", ".jsonl", ".yaml"))}


def refused(done: Any, *told: str) -> None:
    assert (done.code, done.out) == (2, ""), done.err
    assert done.err.count("\n") == 1
    assert "Traceback" not in done.err
    for words in told:
        assert words.lower() in done.err.lower(), done.err


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 4, 6, 8, 10, 12])
def test_a_study_on_a_full_disk_says_so_and_goes_on_to_the_same_bits(
    sacl: Sacl, trained: Any, disk: Path, pages: int
) -> None:
    ballast = fill(disk, pages * PAGE)
    train = ["train", trained.recipe, "--out", disk / "run", "--jobs", "1"]
    done = sacl(*train)
    refused(done, FULL, "free space", str(disk / "run"))
    assert not list(disk.rglob("*.part"))
    ballast.unlink()
    # Where no epoch was kept, the folder is as it was before, and the command itself begins anew.
    again = sacl(*train, *(["--resume"] if (disk / "run").exists() else []))
    assert again.code == 0, again.err
    assert trained_files(disk / "run") == trained_files(trained.run)


def test_seeds_side_by_side_on_a_full_disk_say_so_once(sacl: Sacl, trained: Any, disk: Path) -> None:
    ballast = fill(disk, 8 * PAGE)
    train = ["train", trained.recipe, "--out", disk / "run", "--jobs", "2"]
    refused(sacl(*train), FULL)
    ballast.unlink()
    assert sacl(*train[:-1], "1", *(["--resume"] if (disk / "run").exists() else [])).code == 0
    assert trained_files(disk / "run") == trained_files(trained.run)


TEXTS = "".join(f"Ann: the {word} cake\nBo: late {word}\n" for word in ("sunny", "noon", "paper", "table") * 40)


def test_whatever_is_written_on_a_full_disk_is_whole_or_not_there(
    sacl: Sacl, trained: Any, disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "chat.txt").write_text(TEXTS)
    (disk / "former.jsonl").write_text("what was there\n")
    fill(disk, 0)
    before = tree(disk)
    words = ["data", "convert", tmp_path / "chat.txt", "--out"]
    test = trained.data / "test.jsonl"
    refused(sacl(*words, disk / "new.jsonl"), FULL)
    refused(sacl(*words, disk / "former.jsonl"), FULL)
    refused(sacl("predict", trained.run, test, "--format", "jsonl", "--out", disk / "former.jsonl"), FULL)
    refused(sacl("report", trained.run, "--out", disk / "report.html"), FULL)
    refused(sacl("data", "convert", trained.data, "--out", disk / "new.csv.jsonl"), FULL)
    assert tree(disk) == before


def test_an_encoding_on_a_full_disk_keeps_what_is_done(sacl: Sacl, disk: Path, tmp_path: Path) -> None:
    (tmp_path / "chat.txt").write_text(TEXTS)
    encode = ["encode", tmp_path / "chat.txt", "--cache"]
    for pages in (0, 2):
        ballast = fill(disk, pages * PAGE)
        refused(sacl(*encode, disk / "cache"), FULL, "--cache")
        assert not list(disk.glob("cache/*/manifest.json"))
        ballast.unlink()
    assert sacl(*encode, disk / "cache").code == 0
    assert sacl(*encode, tmp_path / "cache").code == 0
    assert tree(disk / "cache") == tree(tmp_path / "cache")


def test_a_read_only_disk_is_told_and_what_is_on_it_stays_readable(
    sacl: Sacl, trained: Any, disk: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained.run, disk / "run")
    (disk / "chat.txt").write_text(TEXTS)
    with read_only(disk):
        told = "Read-only file system"
        refused(sacl("train", trained.recipe, "--out", disk / "new"), told, "can be written to")
        refused(sacl("train", trained.recipe, "--out", disk / "run", "--resume"), told)
        refused(sacl("data", "convert", trained.data, "--out", disk / "a.jsonl"), told)
        refused(sacl("encode", disk / "chat.txt", "--cache", disk / "cache"), told, "--cache")
        refused(sacl("report", disk / "run"), told)
        assert sacl("report", disk / "run", "--out", tmp_path / "report.html").code == 0
        assert sacl("evaluate", disk / "run").code == 0
        assert sacl("predict", disk / "run", trained.data / "test.jsonl").code == 0
    assert trained_files(disk / "run") == trained_files(trained.run)


def test_a_used_up_quota_is_told(sacl: Sacl, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", refuse)  # a quota is met when the data go to the disk
    refused(sacl("data", "convert", trained.data, "--out", tmp_path / "a.jsonl"), "quota", "delete files of yours")
    refused(sacl("train", trained.recipe, "--out", tmp_path / "run", "--jobs", "1"), "quota", "delete files of yours")
    assert not (tmp_path / "a.jsonl").exists()
    assert not (tmp_path / "run").exists()


def test_a_run_whose_folder_vanishes_is_told(
    sacl: Sacl, trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sacl.training.fit import Fit

    epoch = Fit._epoch

    def lost_in_the_second(fit: Fit) -> dict[str, Any]:
        if fit.history:
            shutil.rmtree(tmp_path / "run")
        return epoch(fit)

    monkeypatch.setattr(Fit, "_epoch", lost_in_the_second)
    done = sacl("train", trained.recipe, "--out", tmp_path / "run", "--jobs", "1")
    refused(done, "checkpoint.safetensors", "No such file or directory")
