"""Readers of what tables and figures are made from: runs, predictions, robustness."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from common import Reader, as_json, scratch, written

FIGURES = {"accuracy": 100.0, "weighted_f1": 100.0, "macro_f1": 100.0}
EPOCH = {"epoch": 1, "train_loss": 1.0, "valid_loss": 1.0, "train_weighted_f1": 1.0, "valid_weighted_f1": 2.0}
PREDICTION = {"conversation": "c", "utterance": "0", "emotion": "joy", "predicted": "joy"}
PREDICTION |= {"probabilities": {"joy": 0.75, "sad": 0.25}}
MEASURED = [("none", 0, 55.5), ("weights", 0.5, 44.0), ("weights-noise", 0.5, 54.25), ("turns-missing", 3, 50)]
ROBUSTNESS = {
    **{"split": "test", "steps": 3, "draws": 2, "axes": {"weights": "length", "turns-missing": "turns"}},
    "runs": [{"run": "/runs/a", "name": "a", "corpus": "tiny", "seeds": [0], "weight_lengths": [{"w": 3.5}]}],
    "records": [
        {"run": "/runs/a", "seed": 0, "attack": attack, "strength": strength, "weighted_f1": f1}
        for attack, strength, f1 in MEASURED
    ],
}
RECORD = {"format_version": 1, "data": {"corpus": "x", "fingerprint": "", "features": "", "source": {}}}


def result() -> dict[str, Any]:
    """Of one seed that got its only utterance right."""
    test = {**FIGURES, "loss": 0.1, "f1": [100.0, 0.0], "support": [1, 0]}
    about = {"format_version": 1, "seed": 0, "epoch": 1, "epochs": 1, "seconds": 1.0, "labels": ["joy", "sad"]}
    return {**about, "valid": FIGURES, "test": test, "data": RECORD["data"]}


@cache
def _run_recipe() -> Any:
    from sacl.experiment.recipe import load_recipe

    return load_recipe("sample", ["seeds=[0]"])


@cache
def run_files() -> dict[str, bytes]:
    """A run directory of one seed."""
    from sacl.experiment.recipe import dump_recipe

    return {
        "recipe.yaml": dump_recipe(_run_recipe()).encode(),
        "run.json": as_json(RECORD),
        "seed-0/result.json": as_json(result()),
        "seed-0/metrics.jsonl": as_json(EPOCH),
        "seed-0/predictions.jsonl": as_json(PREDICTION),
    }


def _run(file: str, data: bytes) -> object:
    """A run directory with one of its files changed. The recipe is read once, which takes most of the time."""
    from sacl.experiment import study
    from sacl.recognizer.sources import find_model
    from sacl.report import runs
    from sacl.report.sources import data_folder
    from sacl.report.table import class_table, seed_table

    for name, whole in run_files().items():
        written(f"run/{name}", data if name == file else whole)
    opened, study.load_recipe = study.load_recipe, lambda *_, **__: _run_recipe()
    try:
        run = runs.read_run(scratch() / "run")
    finally:
        study.load_recipe = opened
    data_folder(run, None)
    find_model(scratch() / "run")
    return [table(run.recipe, run.results, *last) for table, last in ((seed_table, ["x"]), (class_table, []))]


def _score(data: bytes) -> object:
    from sacl.report.predictions import read_predictions

    return read_predictions(written("predictions.jsonl", data))


def _map(data: bytes) -> object:
    from sacl.report.scoring import read_map

    return read_map(written("map.yaml", data))


def _robustness(data: bytes) -> object:
    from sacl.report.robustness import read_robustness, robustness_tables

    found = read_robustness(written("robustness.json", data))
    return robustness_tables(found), robustness_tables(found, spread=True)


def _watched(data: bytes) -> object:
    """The epochs of a run that is going on."""
    from sacl.experiment.tasks import Task, report_epochs

    told: list[Any] = []
    path = written("going-on/metrics.jsonl", data)
    report_epochs([Task(_run_recipe(), 0, path.parent, None)], {0: 0}, lambda *figures: told.append(figures))
    return told


def _predicted(data: bytes) -> object:
    """Somebody's predictions, scored."""
    from sacl.conversation import Conversation, Corpus, LabelSet, Utterance
    from sacl.report.scoring import score_predictions, score_record, score_tables

    turns = [Utterance("A", "x", emotion="joy"), Utterance("B", "y", emotion="sad")]
    corpus = Corpus("tiny", LabelSet(("joy", "sad")), {"test": [Conversation("c", turns)]})
    found = score_predictions(written("scored.jsonl", data), corpus)
    return score_record(found), score_tables(found)


def _token(data: bytes) -> object:
    """`--token-file`."""
    from sacl.cli.serve import _token as token

    return token(written("token", data))


def report_readers() -> dict[str, Reader]:
    """What tables are made from."""
    turn = {"speaker": "A", "text": "x", "id": 7, "emotion": "joy", "probabilities": {"joy": 1}}
    both = [{k: v for k, v in PREDICTION.items() if k != "emotion"} | {"utterance": u} for u in ("0", "1")]
    predictions = as_json(PREDICTION, {"id": "d", "utterances": [turn]})
    files = {name: Reader(partial(_run, name), [data]) for name, data in run_files().items() if name != "recipe.yaml"}
    return files | {
        "predictions": Reader(_score, [predictions]),
        "scored": Reader(_predicted, [as_json(*both)]),
        "robustness": Reader(_robustness, [as_json(ROBUSTNESS)]),
        "epochs going on": Reader(_watched, [as_json(EPOCH, EPOCH | {"epoch": 2})]),
        "token": Reader(_token, [b"abc-DEF_123\n"]),
        "map": Reader(_map, [b"happy: joy\n'no': sad\n", b'{"a": "b"}']),
    }
