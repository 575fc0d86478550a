"""The table that benchmarks fill: what was measured, the figure, its limit; a section a file."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from figures import Row

SECTIONS = pytest.StashKey[dict[str, list[tuple[str, str, str]]]]()


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """`row(what, figure, limit)` adds a line to the section of the file that asks, titled by its docstring."""
    title = (request.module.__doc__ or request.module.__name__).splitlines()[0].rstrip(".")
    rows = request.config.stash.setdefault(SECTIONS, {}).setdefault(title, [])

    def add(what: str, figure: str, limit: str = "") -> None:
        rows.append((what, figure, limit))

    return add


@pytest.fixture(scope="session", autouse=True)
def results(request: pytest.FixtureRequest) -> Iterator[None]:
    """Writes RESULTS.md when all benchmarks ran and none failed: part of a table would pass for the whole."""
    yield
    config = request.config
    if request.session.testsfailed or config.option.keyword or [Path(a).name for a in config.args] != ["benchmarks"]:
        return
    lines = ["# What it costs", "", f"Written by `make bench`. {_machine()}"]
    for title, rows in config.stash.get(SECTIONS, {}).items():
        lines += ["", f"## {title}", "", "| measured | figure | limit |", "|---|---|---|"]
        lines += [f"| {what} | {figure} | {limit} |" for what, figure, limit in rows]
    (Path(__file__).parent / "RESULTS.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (s.partition(":")[2].strip() for s in info.read_text().splitlines() if s.startswith("model name")), cpu
        )
    load = os.getloadavg()[2]
    beside = "nothing" if load < 1.5 else "other work"
    return (
        f"{cpu}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"torch {version('torch')}; {beside} ran beside it (load {load:.1f} over the last 15 minutes). "
        "Medians of at least five; in brackets from the least to the greatest."
    )
