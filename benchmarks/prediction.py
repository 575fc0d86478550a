"""From a file of conversations to emotions, timed part by part in a process of its own.

    python benchmarks/prediction.py [UTTERANCES]

One thread, seconds of the processor: distinct texts, then the same conversations each written twice. The model has the
size of recipe `meld` and random weights: what it costs does not depend on them. Prints one JSON document.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from encoding import TEXTS, TIMES, texts

from sacl.cli.models import _write
from sacl.conversation import Conversation, LabelSet, Utterance
from sacl.experiment.recipe import load_recipe
from sacl.features import Encoder
from sacl.formats import read_conversations, write_conversations
from sacl.model.build import build_model
from sacl.recognizer import EmotionRecognizer
from sacl.training.trained import Standardisation, TrainedModel

TURNS = 15
spent: Counter[str] = Counter()


def timed(owner: Any, name: str, part: str) -> None:
    """From now on the seconds of this function count for a part."""
    function = getattr(owner, name)

    def run(*args: Any, **options: Any) -> Any:
        started = time.process_time()
        result = function(*args, **options)
        spent[part] += time.process_time() - started  # type: ignore[assignment]
        return result

    setattr(owner, name, run)


def model(encoder: Encoder) -> TrainedModel:
    recipe, labels = load_recipe("meld"), LabelSet(tuple("abcdefg"))
    torch.manual_seed(0)
    network = build_model(recipe.model, encoder.width, len(labels))
    plain = Standardisation(torch.zeros(encoder.width), torch.ones(encoder.width))
    return TrainedModel(
        network, recipe.model, labels, encoder.width, recipe.features, encoder.identity, plain, about={}
    )


def one_run(recognizer: EmotionRecognizer, file: Path) -> dict[str, float]:
    """Seconds of each part of reading, recognising and writing one file."""
    spent.clear()
    started = time.process_time()
    conversations = list(read_conversations(file))
    spent["read"] = time.process_time() - started  # type: ignore[assignment]
    results = recognizer.predict_many(conversations)
    _write(zip(conversations, results, strict=True), "jsonl", list(recognizer.labels), io.StringIO())
    total = time.process_time() - started
    parts = {
        "encoder": spent["encode"] - spent["tokenise"],
        "reading": spent["read"],
        "tokenising": spent["tokenise"],
        "recogniser": spent["recognise"],
    }
    return {"total": total, **parts, "naming and writing": total - sum(parts.values())}


def main(number: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    given, source = texts(number)
    turns = [Utterance(f"speaker {i % 3}", text) for i, text in enumerate(given)]
    distinct = [Conversation(str(i), turns[i : i + TURNS]) for i in range(0, number, TURNS)]
    twice = [Conversation(f"{c.id}{sign}", c.utterances) for c in distinct for sign in ("", " again")]
    recognizer = EmotionRecognizer(model(Encoder.load()))
    assert recognizer.encoder is not None
    timed(Encoder, "encode", "encode")
    timed(Encoder, "_tokens", "tokenise")
    timed(TrainedModel, "items", "recognise")
    timed(TrainedModel, "log_probabilities", "recognise")
    runs: dict[str, list[dict[str, float]]] = {"distinct": [], "twice": []}
    with tempfile.TemporaryDirectory() as folder:
        files = {"distinct": Path(folder) / "distinct.jsonl", "twice": Path(folder) / "twice.jsonl"}
        write_conversations(distinct, files["distinct"])
        write_conversations(twice, files["twice"])
        one_run(recognizer, files["twice"])  # warms up
        for _ in range(TIMES):
            for kind, file in files.items():
                runs[kind].append(one_run(recognizer, file))
    return {"source": source, "utterances": number, "conversations": len(distinct), **runs}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else TEXTS)))
