"""The tables that benchmarks fill: what was measured, the figure, its limit; a section a file."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from figures import Row

RESULTS = Path(__file__).parent / "RESULTS.md"
HEAD = (
    "# What it costs\n\nWritten by `make bench`, a section a file. Medians of at least five, in brackets from least "
    "to greatest.\n"
)
ROWS = pytest.StashKey[list[tuple[str, str, str]]]()


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """`row(what, figure, limit)` adds a line to the section of the file that asks."""
    rows = _module(request).stash.setdefault(ROWS, [])

    def add(what: str, figure: str, limit: str = "") -> None:
        rows.append((what, figure, limit))

    return add


@pytest.fixture(scope="module", autouse=True)
def section(request: pytest.FixtureRequest) -> Iterator[None]:
    """Replaces the file's section of RESULTS.md when all of the file ran and nothing failed.

    Part of a section would pass for the whole.
    """
    failed, machine = request.session.testsfailed, _machine()
    yield
    if request.session.testsfailed > failed or request.config.option.keyword or "::" in "".join(request.config.args):
        return
    title = (request.module.__doc__ or request.module.__name__).splitlines()[0].rstrip(".")
    lines = [machine, "", "| measured | figure | limit |", "|---|---|---|"]
    lines += [f"| {what} | {figure} | {limit} |" for what, figure, limit in _module(request).stash.get(ROWS, [])]
    sections = _read() | {title: "\n".join(lines)}
    text = "\n".join([HEAD, *(f"## {name}\n\n{content}\n" for name, content in sorted(sections.items()))])
    RESULTS.write_text(text, encoding="utf-8")


def _module(request: pytest.FixtureRequest) -> pytest.Module:
    found = request.node.getparent(pytest.Module)
    assert isinstance(found, pytest.Module)
    return found


def _read() -> dict[str, str]:
    """Sections that are there, by title."""
    parts = RESULTS.read_text(encoding="utf-8").split("\n## ")[1:] if RESULTS.exists() else []
    return {title: content.strip() for title, _, content in (part.partition("\n") for part in parts)}


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (s.partition(":")[2].strip() for s in info.read_text().splitlines() if s.startswith("model name")), cpu
        )
    load = os.getloadavg()[1]
    beside = "nothing" if load < 1.5 else "other work"
    return (
        f"{cpu}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"torch {version('torch')}; {beside} ran beside it (load {load:.1f} over the last 5 minutes)."
    )
