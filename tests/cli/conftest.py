"""The command, run in this process, and a small trained run for it to work on."""

from __future__ import annotations

import json
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from sacl.cli import main
from sacl.experiment.recipe import load_recipe
from sacl.experiment.study import study

RECIPE = """\
name: tiny
description: a few conversations
data: {name: DATA}
model: {hidden_size: 4}
training: {batch_size: 3, epochs: 3, learning_rate: 0.02}
seeds: [0, 1]
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def sacl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """sacl("data", "list"): its exit code, stdout and stderr, at 80 columns."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["sacl", *map(str, arguments)])
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as stop:
                main()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        code = stop.value.code
        return Done(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


class Trained(NamedTuple):
    data: Path
    recipe: Path
    run: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Conversations with 5 numbers an utterance, a recipe for them, and the run that it gave. Not to be changed."""
    folder = tmp_path_factory.mktemp("trained")
    draw = random.Random(0)
    (folder / "data").mkdir()
    for split, size in (("train", 8), ("valid", 3), ("test", 4)):
        lines = []
        for i in range(size):
            turns = [
                {"speaker": draw.choice("AB"), "vector": [draw.gauss(0, 1) for _ in range(5)], "emotion": emotion}
                for emotion in draw.choices(["calm", "cross", "glad"], k=i + 1)
            ]
            lines.append(json.dumps({"id": f"{split}-{i}", "utterances": turns}))
        (folder / "data" / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "tiny.yaml").write_text(RECIPE.replace("DATA", str(folder / "data")), encoding="utf-8")
    study(load_recipe(str(folder / "tiny.yaml")), folder / "run", jobs=1)
    return Trained(folder / "data", folder / "tiny.yaml", folder / "run")
