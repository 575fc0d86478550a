"""A point that a sweep gave up: its note is read back, and one that is damaged is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacl.errors import RunError
from sacl.experiment.pruned import PRUNED_FILE, read_pruned, write_pruned


def test_a_note_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert read_pruned(tmp_path) is None
    write_pruned(tmp_path, 3, 7, {"weighted_f1": 41.5})
    found = read_pruned(tmp_path)
    assert found is not None
    assert (found["seed"], found["pruned"], found["valid"]) == (3, 7, {"weighted_f1": 41.5})


@pytest.mark.parametrize("figure", [10**400, "much", None, []])
def test_a_note_without_its_figure_is_told_as_damaged(tmp_path: Path, figure: object) -> None:
    record = {"format_version": 1, "seed": 0, "pruned": 3, "valid": {"weighted_f1": figure}}
    (tmp_path / PRUNED_FILE).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(RunError, match="damaged"):
        read_pruned(tmp_path)
