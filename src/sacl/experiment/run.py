"""One seed of a recipe: train, select and calibrate on validation, then score the test split once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sacl.aside import reason, remedy
from sacl.conversation import Corpus
from sacl.errors import DataError, ModelError, RunError
from sacl.experiment.data import RunData
from sacl.experiment.digests import file_digest, with_digest, without_digest
from sacl.experiment.recipe import Recipe
from sacl.model.batch import ConversationItem
from sacl.model.build import build_model
from sacl.textfile import written_aside
from sacl.training.calibration import calibration_errors, fit_temperature
from sacl.training.fit import Fit, class_weights
from sacl.training.loop import Evaluation, evaluate, make_batches
from sacl.training.processes import Processes
from sacl.training.side_by_side import micro_batches_at_once
from sacl.training.trained import MODEL_FILE, Standardisation, TrainedModel, make_items

RESULT_FILE, METRICS_FILE, PREDICTIONS_FILE = "result.json", "metrics.jsonl", "predictions.jsonl"
CHECKPOINT_FILE = "checkpoint.safetensors"
_WRITTEN = (METRICS_FILE, PREDICTIONS_FILE)


def run_seed(
    recipe: Recipe,
    seed: int,
    folder: Path,
    data: RunData,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    score_test: bool = True,
    processes: Processes | None = None,
) -> dict[str, Any]:
    """Trains one seed in a folder of its own; a folder that was left in the middle is continued.

    Args:
        recipe: the settings.
        seed: of everything random.
        folder: gets `metrics.jsonl` as it goes, `model.safetensors`, `predictions.jsonl`, and last `result.json`.
        data: the corpus and its vectors.
        on_epoch: given each epoch's figures.
        score_test: False leaves the test split alone.
        processes: those that train it together, if this is not the only one; the first alone writes, and scores.

    Returns:
        What `result.json` holds; nothing for any process but the first.

    Raises:
        SaclError: data, features, numbers or a disk at fault.
    """
    first = processes is None or processes.first
    complete = first and is_complete(folder)
    if processes is not None:
        complete = processes.told(complete)
    if complete:
        return read_result(folder) if first else {}
    if not first:
        with reproducible(torch_threads(recipe, processes)):
            _train(recipe, seed, folder, data, None, processes)
        return {}
    with _told_to_resume():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
        except OSError as error:
            raise RunError(f"it cannot be made ({reason(error)})", where=str(folder), remedy=remedy(error)) from error
        return _run_seed(recipe, seed, folder, data, on_epoch, score_test, processes)


def _run_seed(
    recipe: Recipe,
    seed: int,
    folder: Path,
    data: RunData,
    on_epoch: Callable[[dict[str, Any]], None] | None,
    score_test: bool,
    processes: Processes | None,
) -> dict[str, Any]:
    started = time.monotonic()
    with reproducible(torch_threads(recipe, processes)):
        trained, history = _train(recipe, seed, folder, data, on_epoch, processes)
        valid = score_split(trained, recipe, data, "valid")
        trained = replace(trained, temperature=fit_temperature(valid.log_probabilities, valid.labels))
        trained.save(folder / MODEL_FILE)
        test = score_split(trained, recipe, data, "test") if score_test else None
    if test is not None:
        write_aside(folder / PREDICTIONS_FILE, "".join(_prediction_lines(data.corpus, "test", test)))
    result = {
        "format_version": 1,
        "recipe": recipe.name,
        "seed": seed,
        "epoch": trained.about["epoch"],
        "epochs": len(history),
        "seconds": round(time.monotonic() - started, 1),
        "labels": list(data.corpus.labels),
        "valid": trained.about["valid"],
        "test": None if test is None else {"loss": test.loss, **test.scores.to_dict()},
        "calibration": {
            "temperature": trained.temperature,
            "valid": _calibration(trained, valid),
            "test": None if test is None else _calibration(trained, test),
        },
        "data": data.identity(),
        "files": {name: file_digest(folder / name) for name in _WRITTEN[: 1 if test is None else 2]},
    }
    # Last, so that a result's existence means that the seed is complete.
    write_aside(folder / RESULT_FILE, json.dumps(with_digest(result), indent=1))
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)
    return result


def is_complete(folder: Path) -> bool:
    """Whether a seed needs no more work; takes away the checkpoint that it may have left when it was killed last."""
    if not (folder / RESULT_FILE).exists():
        return False
    with suppress(OSError):
        (folder / CHECKPOINT_FILE).unlink()
    return True


@contextmanager
def _told_to_resume() -> Iterator[None]:
    """What cannot be written is told with how to go on once it can be."""
    try:
        yield
    except (ModelError, RunError) as error:
        if not isinstance(error.__cause__, OSError):
            raise
        then = f"{error.remedy}; then go on with --resume"
        raise RunError(error.found, where=error.where, remedy=then) from error.__cause__


def torch_threads(recipe: Recipe, processes: Processes | None = None) -> int:
    """Threads for PyTorch's own operations, within each of the micro-batches that a run works on at once."""
    return recipe.training.threads // micro_batches_at_once(recipe.model, recipe.training, processes)


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Inside, PyTorch uses so many threads and only algorithms that give the same bits; then as before."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    # Read by cuBLAS when it starts; without it deterministic algorithms are refused on a GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


def _train(
    recipe: Recipe,
    seed: int,
    folder: Path,
    data: RunData,
    on_epoch: Callable[[dict[str, Any]], None] | None,
    processes: Processes | None,
) -> tuple[TrainedModel, list[dict[str, Any]]]:
    conversations, vectors = data.split("train")
    standardisation = Standardisation.of(vectors) if recipe.features.standardise else None
    width, labels = vectors[0].shape[1], data.corpus.labels
    train = make_items(conversations, vectors, labels, width, standardisation)
    valid = make_items(*data.split("valid"), labels, width, standardisation)
    monitor = None
    if recipe.training.monitor_test:
        test = make_items(*data.split("test"), labels, width, standardisation)

        def monitor(_: torch.nn.Module) -> dict[str, float]:
            return {"test_weighted_f1 (not used to select)": fit.evaluate(test).scores.weighted_f1}

    fit = Fit(
        lambda: build_model(recipe.model, width, len(labels)),
        train,
        valid,
        labels,
        recipe.model,
        recipe.objective,
        recipe.training,
        seed,
        checkpoint=folder / CHECKPOINT_FILE,
        monitor=monitor,
        processes=processes,
    )
    writes = processes is None or processes.first
    if writes:
        _put(folder / METRICS_FILE, "", "w")

    def note(figures: dict[str, Any]) -> None:
        if writes:
            _put(folder / METRICS_FILE, json.dumps(figures) + "\n", "a")
        if on_epoch is not None:
            on_epoch(figures)

    fitted = fit.run(note)
    chosen = fitted.history[fitted.epoch - 1]
    about = {
        "recipe": recipe.name,
        "corpus": data.corpus.name,
        "seed": seed,
        "epoch": fitted.epoch,
        "valid": {k.removeprefix("valid_"): v for k, v in chosen.items() if k.startswith("valid_")},
    }
    encoder = dict(data.store.source) if "sha256" in data.store.source else None
    model = TrainedModel(
        fitted.model.cpu(), recipe.model, labels, width, recipe.features, encoder, standardisation, about
    )
    return model, fitted.history


def score_split(trained: TrainedModel, recipe: Recipe, data: RunData, split: str) -> Evaluation:
    """A trained model on one split, on batches of training size."""
    items = trained.items(*data.split(split))
    dtype = torch.float64 if recipe.training.double else torch.float32
    weights = None
    if recipe.objective.class_weights != "none":
        weights = class_weights(recipe.objective, trained.labels, trained.items(*data.split("train")), dtype)
    batches = make_batches(_as(items, dtype), range(len(items)), recipe.training.batch_size, recipe.model)
    return evaluate(trained.model, batches, recipe.objective, weights)


def _calibration(trained: TrainedModel, scored: Evaluation) -> dict[str, float]:
    return calibration_errors(scored.log_probabilities, scored.labels, trained.temperature)


def _as(items: list[ConversationItem], dtype: torch.dtype) -> list[ConversationItem]:
    return [ConversationItem(i.id, i.features.to(dtype), i.speakers, i.labels) for i in items]


def _prediction_lines(corpus: Corpus, split: str, evaluation: Evaluation) -> list[str]:
    """One JSON line an utterance: ids, label, prediction, probabilities; no text."""
    turns = [(c.id, u) for c in corpus[split] for u in c.utterances]
    lines = []
    for (conversation, utterance), scores in zip(turns, evaluation.log_probabilities, strict=True):
        probabilities = np.exp(scores)
        record = {
            "conversation": conversation,
            "utterance": utterance.id,
            "emotion": utterance.emotion,
            "predicted": corpus.labels.names[int(scores.argmax())],
            "probabilities": {n: round(float(p), 6) for n, p in zip(corpus.labels, probabilities, strict=True)},
        }
        lines.append(json.dumps(record) + "\n")
    return lines


def read_result(folder: Path) -> dict[str, Any]:
    """What a completed seed left.

    Raises:
        RunError: it is missing or damaged.
    """
    path = folder / RESULT_FILE
    try:
        result = without_digest(json.loads(path.read_text(encoding="utf-8")))
        if result["format_version"] != 1:
            raise RunError(f"its format_version is {result['format_version']}", where=str(path), remedy="Upgrade sacl")
        if not {"seed", "epoch", "labels", "valid", "test", "data"} <= result.keys():
            raise ValueError("an entry is missing")
        valid = result["valid"]["weighted_f1"]  # what a run's best seed is told by
        if not isinstance(valid, int | float):
            raise ValueError("no figure")
        float(valid)  # nor one of too many digits
        return dict(result)
    except FileNotFoundError:
        raise RunError("this seed is not complete", where=str(folder), remedy="Continue with --resume") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise RunError("it is damaged", where=str(path), remedy="Delete the seed's folder and --resume") from error


def write_aside(path: Path, text: str) -> None:
    """Writes a text file to the side, then moves it into place.

    Raises:
        RunError: it cannot be written; what was there stays.
    """
    try:
        with written_aside(path) as out:
            out.write(text)
    except DataError as error:
        raise RunError(error.found, where=error.where, remedy=error.remedy) from error.__cause__


def _put(path: Path, text: str, mode: Literal["w", "a"]) -> None:
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise RunError(f"it cannot be written ({reason(error)})", where=str(path), remedy=remedy(error)) from error


def remove_unfinished(folder: Path) -> None:
    """Removes what a process that was killed while it wrote has left beside its files, whichever machine's it was.

    At once, where `sacl.aside` would wait a day: a seed has one writer, and whoever calls this is it, or has ended it.
    """
    for file in (METRICS_FILE, RESULT_FILE, PREDICTIONS_FILE, CHECKPOINT_FILE, MODEL_FILE):
        for left in folder.glob(f".{file}.*"):
            left.unlink(missing_ok=True)
