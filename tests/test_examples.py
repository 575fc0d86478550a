"""Every example is short, runs as it stands, and does what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def run(name: str, *arguments: object, folder: Path, typed: str = "", code: int = 0) -> str:
    """What an example prints; it may not warn."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *map(str, arguments)],
        cwd=folder, input=typed, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stderr == ""
    return done.stdout


def cells(notebook: Path) -> list[dict[str, Any]]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    assert content["nbformat"] == 4
    return content["cells"]


def code_of(example: Path) -> str:
    if example.suffix == ".py":
        return example.read_text(encoding="utf-8")
    return "\n".join("".join(cell["source"]) for cell in cells(example) if cell["cell_type"] == "code")


@pytest.mark.parametrize("example", [*sorted(EXAMPLES.glob("*.py")), *NOTEBOOKS], ids=lambda path: path.name)
def test_an_example_is_short_and_is_tested(example: Path) -> None:
    assert len(code_of(example).splitlines()) < 60
    assert example.suffix == ".ipynb" or f'"{example.name}"' in Path(__file__).read_text(encoding="utf-8")


def test_the_objective_alone_trains_a_plain_transformer(tmp_path: Path) -> None:
    shown = run("objective_alone.py", folder=tmp_path)
    clean, adversarial = (
        [float(x) for x in re.findall(rf"{name} ([\d.]+)", shown)] for name in ("clean loss", "adversarial")
    )
    assert clean[-1] < 0.8 * clean[0]
    assert all(a > c for a, c in zip(adversarial, clean, strict=True))


@pytest.mark.slow
def test_own_labels_are_learnt_better_than_by_always_saying_the_same(tmp_path: Path) -> None:
    shown = run("own_labels.py", folder=tmp_path)
    assert "labels: even, low, pleased, upset" in shown
    fitted, always = (float(x) for x in re.findall(r"W-F1 ([\d.]+)", shown))
    assert fitted > 2 * always
    assert re.search(r"after loading: (even|low|pleased|upset) \(0\.\d\d\)", shown)


def test_the_live_loop_answers_every_turn_and_points_out_two_in_a_row(tmp_path: Path) -> None:
    typed = (
        "Ann: Good morning.\n\nThis line names nobody\n"
        "Ann: This is the last time I ask. I am done with you!\nBo: Get out. Get out of my house!\n"
    )
    shown = run("live_loop.py", folder=tmp_path, typed=typed)
    assert re.findall(r"\d  (\w+): ", shown) == ["Ann", "Ann", "Bo"]
    assert shown.count("somebody should read this") == 1
    assert shown.endswith("3 turns of 2 speakers\n")


def test_the_batch_job_does_each_file_once_and_goes_on_after_a_bad_one(tmp_path: Path) -> None:
    inbox, outbox = tmp_path / "inbox", tmp_path / "outbox"
    inbox.mkdir()
    (inbox / "a.csv").write_text("speaker,text\nAnn\n")
    (inbox / "b.txt").write_text("Ann: You came!\nBo: I did say I would.\n\nZoë: No.\n", encoding="utf-8")
    first = run("batch_job.py", inbox, outbox, folder=tmp_path, code=1)
    assert "a.csv, line 2: the row has 1 cells" in first
    assert "b.txt: 3 turns" in first
    assert [path.name for path in outbox.iterdir() if path.suffix != ".part"] == ["b.txt.emotions.jsonl"]
    lines = [json.loads(line) for line in (outbox / "b.txt.emotions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [[turn["speaker"] for turn in conversation] for conversation in lines] == [["Ann", "Bo"], ["Zoë"]]
    (inbox / "a.csv").write_text("speaker,text\nAnn,Fine.\n")
    second = run("batch_job.py", inbox, outbox, folder=tmp_path)
    assert second.splitlines() == ["a.csv: 1 turns", "b.txt: done before"]
    assert sorted(path.suffix for path in outbox.iterdir()) == [".jsonl", ".jsonl"]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_stored_without_outputs_and_runs_from_top_to_bottom(notebook: Path, tmp_path: Path) -> None:
    for cell in cells(notebook):
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    # A kernel has `display`, and shows what a cell's last line gives; nothing else of a kernel is used.
    (tmp_path / "script.py").write_text(
        "def display(thing, raw=False):\n    print('shown', *thing)\n\n\n"
        f"if __name__ == '__main__':\n    exec({code_of(notebook)!r})\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "script.py"], cwd=tmp_path, env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    drawn = sorted(path.stem for path in (tmp_path / "figures").glob("*.svg"))
    assert {"run-1-confusion", "run-1-learning-curves", "run-1-class-f1", "run-1-tsne"} <= set(drawn)
    assert done.stdout.count("shown image/svg+xml") == len(drawn)
