"""Every example runs as it stands, and does what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_runs(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) < 60
    done = subprocess.run([sys.executable, "-W", "error", example], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if example.stem == "objective_alone":
        clean, adversarial = (
            [float(x) for x in re.findall(rf"{name} ([\d.]+)", done.stdout)] for name in ("clean loss", "adversarial")
        )
        assert clean[-1] < 0.8 * clean[0]
        assert all(a > c for a, c in zip(adversarial, clean, strict=True))
