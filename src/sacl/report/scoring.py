"""Somebody else's predictions against a data set's labels, in the table that our own runs have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sacl.conversation import Corpus
from sacl.errors import DataError, place
from sacl.evaluation.significance import Interval, bootstrap_interval
from sacl.experiment.recipe import LARGEST, Recipe, load_recipe, recipe_names
from sacl.metrics import Scores, expected_calibration_error, micro_f1
from sacl.metrics import score as scores_of
from sacl.report.compare import DRAWS, RESAMPLES
from sacl.report.predictions import Key, Placed, position, read_predictions
from sacl.report.runs import conversation_numbers
from sacl.report.sections import NO_EMOTION
from sacl.report.table import MEASURES, Table, published_rows
from sacl.textfile import require_file


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions with their figures.

    Args:
        name: the file's.
        corpus, split: what they speak of.
        conversations: how many hold a labelled utterance.
        labels: the data set's emotions.
        scores: over the labelled utterances.
        intervals: of accuracy, W-F1 and macro-F1, over conversations.
        ece: expected calibration error in percent, or None where not every line has probabilities.
        micro_f1: without `no_emotion`, where the data set has that label (DailyDialog); the field's headline there.
        unreached: labels of the data set that the map leads to nowhere.
        recipe: the one with the published row of this data set, if there is one.
    """

    name: str
    corpus: str
    split: str
    conversations: int
    labels: tuple[str, ...]
    scores: Scores
    intervals: Mapping[str, Interval]
    ece: float | None
    micro_f1: float | None
    unreached: tuple[str, ...]
    recipe: Recipe | None


def read_map(path: Path) -> dict[str, str]:
    """What each of their emotions is called here: JSON or YAML, `{theirs: ours}`.

    Raises:
        DataError: no such file, or anything but names for names.
    """
    require_file(path)
    if path.stat().st_size > LARGEST:
        raise DataError(f"it is larger than {LARGEST >> 10} KiB", where=str(path), remedy="Give names for names")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (OSError, ValueError, ArithmeticError, yaml.YAMLError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise DataError(
            f"it is no JSON or YAML ({why})", where=str(path), remedy="Write theirs: ours, a line each"
        ) from None
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(x, str) for kv in content.items() for x in kv)
    ):
        raise DataError("it maps no names to names", where=str(path), remedy="Write theirs: ours, a line each")
    return content


def score_predictions(
    path: Path, corpus: Corpus, split: str = "test", mapping: Mapping[str, str] | None = None
) -> Scored:
    """Scores a file of predictions.

    Args:
        path: one JSON line an utterance, see `Prediction`; every labelled utterance of the split, each once.
        corpus: whose labels count.
        split: of the corpus.
        mapping: their emotion -> the corpus's. All of theirs must be in it; labels that nothing is mapped to stay, and
            an utterance that has one counts as wrong.

    Raises:
        DataError: an utterance that is missing, unknown or there twice, an emotion that is not the corpus's, or a map
            that does not fit.
    """
    placed = read_predictions(path)
    turns = [((c.id, u.id), u.emotion) for c in corpus[split] for u in c.utterances]
    _check_utterances(path, placed, turns, f"{corpus.name}, {split}")
    _check_map(mapping, corpus)
    labelled = [(key, corpus.labels.index(emotion)) for key, emotion in turns if emotion is not None]
    if not labelled:
        raise DataError("no utterance is labelled", where=f"{corpus.name}, {split}", remedy="Choose another split")
    keys = [key for key, _ in labelled]
    gold = np.array([label for _, label in labelled])
    named = {key: _index(e.prediction.predicted, path, e, corpus, mapping) for key, e in placed.items()}
    predicted = np.array([named[key] for key in keys])
    known = {key: _probabilities(path, placed[key], corpus, mapping) for key in keys}
    rows = [row for row in known.values() if row is not None]
    numbers, classes = conversation_numbers(keys), len(corpus.labels)
    generator = np.random.default_rng(DRAWS)
    return Scored(
        path.name,
        corpus.name,
        split,
        len(set(numbers)),
        corpus.labels.names,
        scores_of(gold, predicted, classes),
        dict(bootstrap_interval(gold, predicted, numbers, classes, generator=generator, resamples=RESAMPLES)),
        expected_calibration_error(gold, np.stack(rows)) if len(rows) == len(keys) else None,
        micro_f1(gold, predicted, [corpus.labels.index(NO_EMOTION)]) if NO_EMOTION in corpus.labels.names else None,
        () if mapping is None else tuple(name for name in corpus.labels if name not in mapping.values()),
        _recipe(corpus) if split == "test" else None,
    )


def score_tables(scored: Scored) -> list[Table]:
    """Figures with their intervals, then F1 by class; the published figures beside them, with their encoder."""
    intervals = [scored.intervals[key] for key in MEASURES]
    rows = [
        [scored.name, *(f"{i.value:.2f}" for i in intervals)],
        ["95 % interval, low", *(f"{i.low:.2f}" for i in intervals)],
        ["95 % interval, high", *(f"{i.high:.2f}" for i in intervals)],
    ]
    published, sources = ([], []) if scored.recipe is None else published_rows(scored.recipe)
    notes = [
        f"{sum(scored.scores.support)} labelled utterances of {scored.conversations} conversations; intervals by "
        f"bootstrap over conversations, {RESAMPLES} resamples."
    ]
    if scored.ece is not None:
        notes.append(f"Expected calibration error: {scored.ece:.2f} points.")
    if scored.micro_f1 is not None:
        notes.append(f"Micro-F1 without {NO_EMOTION}: {scored.micro_f1:.2f}.")
    if scored.unreached:
        notes.append(f"Never predicted, since the map leads to none of them: {', '.join(scored.unreached)}.")
    title = f"{scored.corpus}: {scored.split} split, percent"
    figures = Table(title, ["predictions", *MEASURES.values()], [*rows, *published], [*notes, *sources])
    return [figures, _class_table(scored)]


def score_record(scored: Scored) -> dict[str, Any]:
    """The same as plain data, for a program."""
    return {
        "predictions": scored.name,
        "corpus": scored.corpus,
        "split": scored.split,
        "conversations": scored.conversations,
        "labels": list(scored.labels),
        **scored.scores.to_dict(),
        "intervals": {name: [i.low, i.high] for name, i in scored.intervals.items()},
        "ece": scored.ece,
        "micro_f1": scored.micro_f1,
        "never_predicted_by_map": list(scored.unreached),
    }


def _class_table(scored: Scored) -> Table:
    published = {} if scored.recipe is None or scored.recipe.published is None else scored.recipe.published.mean.f1
    rows = [
        [label, str(n), f"{f1:.2f}", *([f"{published[label]:.2f}" if label in published else ""] if published else [])]
        for label, n, f1 in zip(scored.labels, scored.scores.support, scored.scores.f1, strict=True)
    ]
    columns = ["F1 by class", "utterances", "F1", *(["published"] if published else [])]
    return Table("F1 by class, percent", columns, rows)


def _check_utterances(
    path: Path, placed: Mapping[Key, Placed], turns: list[tuple[Key, str | None]], corpus: str
) -> None:
    known = {key for key, _ in turns}
    for key, entry in placed.items():
        if key not in known:
            raise DataError(
                "there is no such utterance in the data",
                where=position(path, entry),
                remedy=f"Use the ids of {corpus}, such as conversation {turns[0][0][0]}, utterance {turns[0][0][1]}",
            )
    missing = [key for key, emotion in turns if emotion is not None and key not in placed]
    if missing:
        conversation, utterance = missing[0]
        raise DataError(
            f"{len(missing)} labelled utterance{'s have' if len(missing) > 1 else ' has'} no prediction, first "
            f"{place(conversation=conversation, utterance=utterance)}",
            where=str(path),
            remedy="Predict all of them: figures over a part cannot be compared",
        )


def _recipe(corpus: Corpus) -> Recipe | None:
    """The recipe with the published row of these labels, if there is one."""
    recipe = load_recipe(corpus.name) if corpus.name in recipe_names() else None
    if recipe is None or recipe.published is None or set(recipe.published.mean.f1) - set(corpus.labels):
        return None
    return recipe


def _check_map(mapping: Mapping[str, str] | None, corpus: Corpus) -> None:
    for theirs, ours in (mapping or {}).items():
        corpus.labels.index(ours, where=f"--map, {theirs}")


def _index(name: str, path: Path, entry: Placed, corpus: Corpus, mapping: Mapping[str, str] | None) -> int:
    if mapping is None:
        return corpus.labels.index(name, where=position(path, entry))
    if name not in mapping:
        raise DataError(
            f"the map does not say what {name!r} is called here",
            where=position(path, entry),
            remedy="Add it to the map",
        )
    return corpus.labels.index(mapping[name])


def _probabilities(path: Path, entry: Placed, corpus: Corpus, mapping: Mapping[str, str] | None) -> np.ndarray | None:
    """Shape (emotions,); where several of their emotions are one of ours, the sum of their probabilities."""
    given = entry.prediction.probabilities
    if given is None:
        return None
    row = np.zeros(len(corpus.labels))
    for name, p in given.items():
        row[_index(name, path, entry, corpus, mapping)] += p
    return row
