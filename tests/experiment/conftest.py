"""A corpus of a few conversations with vectors, so that nothing is encoded, and a recipe that is quick on it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sacl.experiment.recipe import Recipe, parse_recipe, with_settings

EMOTIONS = ("calm", "cross", "glad")
SIZES = {"train": 12, "valid": 4, "test": 5}


@pytest.fixture(scope="session")
def write_corpus() -> Callable[..., Path]:
    """write(folder, seed): train, valid and test as JSONL, 6 numbers an utterance; a tenth is unlabelled."""

    def write(folder: Path, seed: int = 0, splits: tuple[str, ...] = tuple(SIZES)) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for split in splits:
            draw = random.Random(f"{split} {seed}")
            with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
                for i in range(SIZES[split]):
                    turns = [_turn(draw, labelled=i == 0 or draw.random() < 0.9) for _ in range(draw.randint(1, 6))]
                    file.write(json.dumps({"id": f"{split}-{i}", "utterances": turns}) + "\n")
        return folder

    return write


def _turn(draw: random.Random, labelled: bool) -> dict[str, Any]:
    emotion = draw.choice(EMOTIONS)
    vector = [round(draw.gauss(0, 1) + 2 * (k == EMOTIONS.index(emotion)), 3) for k in range(6)]
    return {"speaker": draw.choice("AB"), "vector": vector, **({"emotion": emotion} if labelled else {})}


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, Any]]:
    """contents(run): every file of a run or a seed, but for record, lock, what a kill left beside, and the seconds."""

    def read(run: Path) -> dict[str, Any]:
        files: dict[str, Any] = {}
        for path in sorted(run.rglob("*")):
            name = path.relative_to(run).as_posix()
            if path.is_file() and not path.name.startswith(".") and name != "run.json":
                files[name] = path.read_bytes()
            if path.name == "result.json":
                # Its own digest, on the last line, is of the seconds too.
                files[name] = [line for line in files[name].splitlines()[:-2] if b'"seconds"' not in line]
        return files

    return read


@pytest.fixture
def tiny(tmp_path: Path, write_corpus: Callable[..., Path]) -> Path:
    return write_corpus(tmp_path / "tiny")


@pytest.fixture
def make_recipe(tiny: Path) -> Callable[..., Recipe]:
    """make({"training.epochs": 3}): the tiny recipe with settings changed."""

    def make(settings: dict[str, Any] | None = None) -> Recipe:
        content = {
            "name": "tiny",
            "description": "a few conversations",
            "data": {"name": str(tiny)},
            "model": {"hidden_size": 4},
            "objective": {"focal_gamma": 0, "contrast_on": "hidden"},
            "training": {"batch_size": 3, "learning_rate": 0.02, "epochs": 5},
            "seeds": [0, 1],
        }
        return parse_recipe(with_settings(content, settings or {}), "tiny")

    return make
