"""Run directories as `sacl train` writes them, from predictions drawn by chance."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sacl.conversation import Corpus
from sacl.datasets import load_corpus
from sacl.experiment.recipe import load_recipe
from sacl.metrics import score

LABELS = ("calm", "glad", "<cross & $loud$>")
MakeRun = Callable[..., Path]


@pytest.fixture(scope="session")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of conversations whose texts try to be markup; every third one has an unlabelled turn."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    for split, count in (("train", 3), ("valid", 2), ("test", 9)):
        with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for c in range(count):
                turns: list[dict[str, str]] = []
                for i in range(3 + c % 4):
                    turn = {
                        "speaker": f"<b>S{i % 2}</b>",
                        "text": f"<script>alert({c})</script> & turn {i} 'of' {split}",
                    }
                    if i or c % 3:
                        turn["emotion"] = LABELS[(c + i * i) % 3]
                    turns.append(turn)
                file.write(json.dumps({"id": f"c{c}", "utterances": turns}) + "\n")
    return folder


@pytest.fixture(scope="session")
def write_run(own_data: Path) -> MakeRun:
    """parent, name, seeds, skill (share of utterances that are recognised) -> a run directory on `own_data`."""

    def make(
        parent: Path, name: str = "run", seeds: Sequence[int] = (0, 1), skill: float = 0.6, **changes: Any
    ) -> Path:
        corpus = load_corpus(own_data)
        published = {
            "source": "A paper, table 2",
            "encoder": "another encoder",
            "mean": {"accuracy": 61.0, "weighted_f1": 60.5, "f1": {"calm": 70.0}},
        }
        settings = load_recipe("sample").model_dump() | {"name": name, "description": "A test", "seeds": list(seeds)}
        settings |= {"data": {"name": str(own_data)}, "published": published} | changes
        folder = parent / name
        folder.mkdir()
        (folder / "recipe.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        data = {
            "corpus": corpus.name,
            "fingerprint": corpus.fingerprint(),
            "features": "f" * 64,
            "source": {"name": "minilm"},
        }
        record = {"format_version": 1, "data": data, "data_folder": None, "versions": {"sacl": "0"}, "commit": None}
        (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
        for seed in seeds:
            _write_seed(folder / f"seed-{seed}", seed, corpus, data, skill)
        return folder

    return make


@pytest.fixture
def make_run(write_run: MakeRun, tmp_path: Path) -> MakeRun:
    """The same in the test's own folder."""
    return partial(write_run, tmp_path)


def _write_seed(folder: Path, seed: int, corpus: Corpus, data: dict[str, Any], skill: float) -> None:
    folder.mkdir()
    generator = np.random.default_rng([seed, int(100 * skill)])
    gold, predicted, lines = [], [], []
    for conversation in corpus["test"]:
        for u in conversation.utterances:
            label = -1 if u.emotion is None else corpus.labels.index(u.emotion)
            p = generator.dirichlet(np.ones(len(corpus.labels)))
            if label >= 0 and generator.random() < skill:
                p[[label, p.argmax()]] = p[[p.argmax(), label]]
            p = np.round(p, 6)
            gold.append(label)
            predicted.append(int(p.argmax()))
            line = {"conversation": conversation.id, "utterance": u.id, "emotion": u.emotion}
            line |= {"predicted": corpus.labels.names[predicted[-1]]}
            line |= {"probabilities": dict(zip(corpus.labels, p.tolist(), strict=True))}
            lines.append(json.dumps(line) + "\n")
    known = np.array(gold) >= 0
    scores = score(np.array(gold)[known], np.array(predicted)[known], len(corpus.labels)).to_dict()
    epochs = [
        {"epoch": e, "train_loss": 9 / e, "valid_loss": 8 / e, "train_weighted_f1": 50.0, "valid_weighted_f1": 40.0 + e}
        for e in (1, 2, 3)
    ]
    result = {"format_version": 1, "recipe": "run", "seed": seed, "epoch": 2, "epochs": 3, "seconds": 1.0}
    result |= {"labels": list(corpus.labels), "valid": {"accuracy": 50.0, "weighted_f1": 42.0, "macro_f1": 40.0}}
    result |= {"test": {"loss": 1.0, **scores}, "data": data}
    (folder / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in epochs), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
