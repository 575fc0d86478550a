"""A run directory, read back and checked: what every table and figure is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from sacl.errors import DataError, RunError, SaclError
from sacl.experiment.digests import check_files
from sacl.experiment.recipe import Recipe
from sacl.experiment.run import METRICS_FILE, PREDICTIONS_FILE, RESULT_FILE, read_result
from sacl.experiment.study import open_study, seed_folder
from sacl.metrics import Scores, score
from sacl.report.predictions import Key, Placed, read_predictions

UNLABELLED = -1


@dataclass(frozen=True, slots=True)
class SeedRun:
    """One completed seed.

    Args:
        seed: its number.
        result: what `result.json` holds.
        history: the figures of every epoch.
        predicted: shape (utterances,), index of the emotion.
        probabilities: shape (utterances, emotions).
    """

    seed: int
    result: dict[str, Any]
    history: Sequence[dict[str, Any]]
    predicted: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True, slots=True)
class Run:
    """A completed study.

    Args:
        folder: where it lies.
        recipe, record: what was asked for; data, versions and commit (`run.json`).
        labels: the emotions, in index order.
        keys: conversation and utterance of every test utterance, in order.
        gold: shape (utterances,), index of the label, `UNLABELLED` where there is none.
        seeds: the seeds, in the recipe's order.
    """

    folder: Path
    recipe: Recipe
    record: dict[str, Any]
    labels: tuple[str, ...]
    keys: Sequence[Key]
    gold: np.ndarray
    seeds: Sequence[SeedRun]

    @property
    def results(self) -> list[dict[str, Any]]:
        """The seeds' results, as tables take them."""
        return [s.result for s in self.seeds]

    @property
    def labelled(self) -> np.ndarray:
        """Shape (utterances,): which of them count."""
        return np.asarray(self.gold != UNLABELLED)

    @property
    def conversations(self) -> np.ndarray:
        """Shape (utterances,): number of the conversation, counted from 0 in order of appearance."""
        return conversation_numbers(self.keys)


class _Said(BaseModel):
    """Taken from a file as it is: what is shown is the file's, not what could be made of it."""

    model_config = ConfigDict(allow_inf_nan=False, strict=True)


class _Scores(_Said):
    accuracy: float
    weighted_f1: float
    macro_f1: float


class _Test(_Scores):
    f1: list[float]
    support: list[int]


class _Data(_Said):
    corpus: str
    fingerprint: str
    features: str
    source: dict[str, Any]


class _Result(_Said):
    """What is read of `result.json`."""

    seed: int
    epoch: int
    epochs: int
    seconds: float
    labels: list[str]
    valid: _Scores
    test: _Test
    data: _Data


class _Epoch(_Said, extra="allow"):
    """What is read of a line of `metrics.jsonl`."""

    epoch: int
    train_loss: float
    valid_loss: float
    train_weighted_f1: float
    valid_weighted_f1: float


def read_run(folder: Path) -> Run:
    """A run directory whose seeds are all complete.

    Raises:
        RunError: no run directory, a seed that is not complete, or a file that is damaged or of another run.
    """
    recipe, record = open_study(folder)
    try:
        _Data.model_validate(record.get("data"))
    except ValidationError as error:
        raise _damaged(folder / "run.json", error) from None
    seeds, first = [], None
    for seed in recipe.seeds:
        read = _read_seed(seed_folder(folder, seed), seed)
        if first is None:
            first = read
        elif (read.keys, read.labels) != (first.keys, first.labels) or not np.array_equal(read.gold, first.gold):
            raise RunError(
                f"its test utterances are not those of seed {recipe.seeds[0]}",
                where=str(seed_folder(folder, seed)),
                remedy="Report runs that were made in one piece; else train this seed again",
            )
        seeds.append(read.run)
    assert first is not None  # a recipe has a seed at least
    return Run(folder, recipe, record, first.labels, first.keys, first.gold, seeds)


def short_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of different folders' paths that tell them apart, to call their runs by.

    >>> short_names([Path("/runs/meld/sacl"), Path("/runs/emorynlp/sacl")])
    ['meld/sacl', 'emorynlp/sacl']
    """
    paths = [folder.resolve().parts for folder in folders]
    length = 1
    while len({path[-length:] for path in paths}) < len(set(paths)):
        length += 1
    return ["/".join(path[-length:]) for path in paths]


def conversation_numbers(keys: Sequence[Key]) -> np.ndarray:
    """Shape (utterances,): number of each utterance's conversation, counted from 0 in order of appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(conversation, len(numbers)) for conversation, _ in keys])


@dataclass(frozen=True, slots=True)
class _Read:
    run: SeedRun
    labels: tuple[str, ...]
    keys: list[Key]
    gold: np.ndarray


def _read_seed(folder: Path, seed: int) -> _Read:
    result = read_result(folder)
    if result.get("test", "") is None:
        raise RunError(
            "its test split was never scored, since it only served to choose settings",
            where=str(folder),
            remedy="Train the chosen settings with `sacl train`",
        )
    check_files(folder, result.get("files"))
    try:
        checked = _Result.model_validate(result)
    except ValidationError as error:
        raise _damaged(folder / RESULT_FILE, error) from None
    labels = tuple(checked.labels)
    if checked.seed != seed or len(checked.test.f1) != len(labels):
        raise RunError(
            f"it is not of seed {seed}", where=str(folder / RESULT_FILE), remedy="Delete the seed's folder and --resume"
        )
    path = folder / PREDICTIONS_FILE
    try:
        placed = read_predictions(path)
        gold, predicted, probabilities = _arrays(path, placed, labels)
    except DataError as error:
        raise RunError(error.found, where=error.where, remedy="Delete the seed's folder and --resume") from None
    scores = score(gold[gold >= 0], predicted[gold >= 0], len(labels)) if (gold >= 0).any() else None
    if scores is None or not _agree(scores, checked.test):
        raise RunError(
            f"its predictions do not give the figures of {RESULT_FILE}",
            where=str(path),
            remedy="Delete the seed's folder and --resume",
        )
    history = _history(folder / METRICS_FILE, checked)
    return _Read(SeedRun(seed, result, history, predicted, probabilities), labels, list(placed), gold)


def _agree(scores: Scores, told: _Test) -> bool:
    """Whether a result tells what its predictions give."""
    found = (scores.accuracy, scores.weighted_f1, scores.macro_f1, *scores.f1)
    others = (told.accuracy, told.weighted_f1, told.macro_f1, *told.f1)
    return list(scores.support) == told.support and all(abs(a - b) <= 1e-6 for a, b in zip(found, others, strict=True))


def _arrays(
    path: Path, placed: dict[Key, Placed], labels: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions and probabilities in the file's order."""
    index = {name: i for i, name in enumerate(labels)}
    gold, predicted, probabilities = [], [], []
    for entry in placed.values():
        p = entry.prediction
        if p.predicted not in index or p.emotion not in {None, *index} or set(p.probabilities or ()) != set(index):
            raise DataError("it is no prediction of this run's emotions", where=f"{path}, line {entry.line}")
        gold.append(UNLABELLED if p.emotion is None else index[p.emotion])
        predicted.append(index[p.predicted])
        probabilities.append([(p.probabilities or {})[name] for name in labels])
    return np.array(gold), np.array(predicted), np.array(probabilities)


def _history(path: Path, result: _Result) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        history = [_Epoch.model_validate_json(line).model_dump() for line in lines]
    except ValidationError as error:
        raise _damaged(path, error) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(
            f"it cannot be read ({error})", where=str(path), remedy="Delete the seed's folder and --resume"
        ) from None
    if (
        len(history) != result.epochs
        or [h["epoch"] for h in history] != list(range(1, len(history) + 1))
        or not 1 <= result.epoch <= result.epochs
    ):
        raise RunError(
            f"its epochs are not 1 to {result.epochs}", where=str(path), remedy="Delete the seed's folder and --resume"
        )
    return history


def _damaged(path: Path, error: ValidationError) -> SaclError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    return RunError(
        f"it is damaged ({f'{name}: ' * bool(name)}{first['msg']})",
        where=str(path),
        remedy="Delete the seed's folder and --resume",
    )
