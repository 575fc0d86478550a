"""A model fitted on conversations of one's own, from scratch or from one that is there."""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from sacl.conversation import Conversation, Corpus, LabelSet
from sacl.errors import DataError, RecipeError
from sacl.experiment.recipe import Recipe, load_recipe, parse_recipe, with_settings
from sacl.experiment.run import reproducible, torch_threads
from sacl.features.corpus import features_of
from sacl.features.encoder import Encoder
from sacl.model.build import build_model
from sacl.settings import FeatureSettings, ModelSettings, ObjectiveSettings, Settings, TrainingSettings
from sacl.training.calibration import calibration_errors, fit_temperature
from sacl.training.fit import Fit, Fitted
from sacl.training.trained import Standardisation, TrainedModel, make_items

Progress = Callable[[str, int, int], None]
Vectors = dict[str, list[np.ndarray]]

_SECTIONS: dict[str, type[Settings]] = {
    "features": FeatureSettings,
    "model": ModelSettings,
    "objective": ObjectiveSettings,
    "training": TrainingSettings,
}
# No setting stands in two sections. The two left out say nothing here: there is no test split, and one modality.
_HOME = {
    name: section
    for section, kind in _SECTIONS.items()
    for name in kind.model_fields
    if name not in ("monitor_test", "modalities")
}
HELD_OUT = 0.15
"""Share of the conversations that is held out for validation."""

_log = logging.getLogger("sacl")


def settings_of(settings: Mapping[str, Any], init: TrainedModel | None) -> Recipe:
    """The recipe `sample`, which is small and quick, with settings by their bare names: `epochs=10`.

    Raises:
        RecipeError: an unknown setting, one out of range, or one that the model to start from has fixed.
    """
    changes: dict[str, Any] = {}
    for name, value in settings.items():
        section = _HOME.get(name)
        if section is None:
            near = difflib.get_close_matches(name, _HOME, 1)
            remedy = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(_HOME)}"
            raise RecipeError(f"there is no setting {name!r}", where="fit", remedy=remedy)
        if init is not None and section in ("features", "model") and name != "dropout":
            raise RecipeError(
                f"{name} cannot be set: it is the one of the model to start from", where="fit", remedy="Leave it out"
            )
        changes[f"{section}.{name}"] = value
    if settings.get("bidirectional") is False:
        changes.setdefault("model.min_speaker_utterances", 1)
    base = load_recipe("sample").model_dump() | {"name": "fit"}
    if init is not None:
        base |= {"features": init.features.model_dump(), "model": init.settings.model_dump()}
    return parse_recipe(with_settings(base, changes), "fit")


@dataclass(frozen=True, slots=True)
class Division:
    """Labelled conversations, and which of them were held out.

    Args:
        corpus: splits `train` and `valid`.
        held_out: ids of the conversations that were drawn for validation; none where it was given.
    """

    corpus: Corpus
    held_out: tuple[str, ...]


def divide(
    train: Sequence[Conversation],
    valid: Sequence[Conversation] | None,
    labels: Sequence[str] | LabelSet | None,
    init: TrainedModel | None,
    seed: int,
) -> Division:
    """Train and validation conversations; without the latter some are held out whole, drawn by the seed.

    An emotion that only one conversation holds stays in training. Labels are by default those that occur, in the order
    of the model to start from if it has the same, else by name.

    Raises:
        DataError: no labels, a single emotion, an unknown one, or too few conversations to hold one out.
    """
    train = _distinct(train)
    found = sorted({u.emotion for c in (*train, *(valid or ())) for u in c.utterances if u.emotion is not None})
    if labels is None:
        labels = init.labels if init is not None and set(init.labels) == set(found) else found
    names = LabelSet(tuple(labels))
    if not found:
        raise DataError(
            "no utterance is labelled",
            where="fit",
            remedy='Give some of them an emotion, of a table, name its column: columns={"emotion": ...}',
        )
    if len(names) < 2:
        raise DataError(
            f"{names.names[0]!r} is the only emotion", where="fit", remedy="Label with at least two, neutral say"
        )
    held_out: tuple[str, ...] = ()
    if valid is None:
        train, valid = _held_out(train, seed)
        held_out = tuple(c.id for c in valid)
        _log.info("held out %d of %d conversations: %s", len(valid), len(train) + len(valid), ", ".join(held_out))
    return Division(Corpus("own conversations", names, {"train": train, "valid": _distinct(valid)}), held_out)


def _held_out(
    conversations: Sequence[Conversation], seed: int
) -> tuple[Sequence[Conversation], Sequence[Conversation]]:
    wanted = max(1, round(HELD_OUT * len(conversations)))
    counts = {c.id: Counter(u.emotion for u in c.utterances if u.emotion is not None) for c in conversations}
    left = sum(counts.values(), Counter())
    drawn: set[str] = set()
    for i in np.random.default_rng(seed).permutation(len(conversations)):
        own = counts[conversations[i].id]
        if len(drawn) < wanted and own and all(left[emotion] > n for emotion, n in own.items()):
            left -= own
            drawn.add(conversations[i].id)
    if not drawn:
        raise DataError(
            f"of {len(conversations)} conversations none can be held out for validation: the others would lack an "
            "emotion",
            where="fit",
            remedy="Give more labelled conversations, or name those to validate on: valid=...",
        )
    return [c for c in conversations if c.id not in drawn], [c for c in conversations if c.id in drawn]


def _distinct(conversations: Sequence[Conversation]) -> Sequence[Conversation]:
    """Ids need not be distinct in what several files hold."""
    if len({c.id for c in conversations}) == len(conversations):
        return conversations
    return [Conversation(f"{i} ({c.id})", c.utterances) for i, c in enumerate(conversations)]


def encoded(
    corpus: Corpus, encoder: Callable[[], Encoder], progress: Progress | None
) -> tuple[Vectors, Encoder | None]:
    """The vectors that conversations carry, or the encoder's; nothing of it is written to disk."""
    if any(u.vector is not None for u in corpus.utterances()):
        store = features_of(corpus)
        return {split: store.rows(split) for split in corpus.splits}, None
    reader = encoder()
    flat = reader.encode([u.text or "" for u in corpus.utterances()], progress=progress)
    lengths = [len(c) for split in corpus.splits for c in corpus[split]]
    rows = np.split(flat, np.cumsum(lengths)[:-1])
    return {"train": rows[: len(corpus["train"])], "valid": rows[len(corpus["train"]) :]}, reader


def fitted(
    corpus: Corpus,
    vectors: Vectors,
    encoder: Encoder | None,
    recipe: Recipe,
    init: TrainedModel | None,
    seed: int,
    progress: Progress | None,
) -> TrainedModel:
    """Trained on `train`; selected and calibrated on `valid`.

    A model to start from gives its standardisation and its weights, those of the classifier too if the labels are the
    same.
    """
    width, labels = vectors["train"][0].shape[1], corpus.labels
    if init is not None:
        width, standardisation = init.input_size, init.standardisation
    else:
        standardisation = Standardisation.of(vectors["train"]) if recipe.features.standardise else None
    items = {split: make_items(corpus[split], vectors[split], labels, width, standardisation) for split in vectors}

    def build() -> nn.Module:
        network = build_model(recipe.model, width, len(labels))
        if init is not None:
            network.load_state_dict(_weights(init, labels), strict=False)
        return network

    def note(figures: dict[str, Any]) -> None:
        if progress is not None:
            progress("train", figures["epoch"], recipe.training.epochs)

    with reproducible(torch_threads(recipe)):
        fit = Fit(build, items["train"], items["valid"], labels, recipe.model, recipe.objective, recipe.training, seed)
        done = fit.run(note)
        scored = fit.evaluate(items["valid"])
    temperature = fit_temperature(scored.log_probabilities, scored.labels)
    return TrainedModel(
        done.model.cpu(),
        recipe.model,
        labels,
        width,
        recipe.features,
        None if encoder is None else encoder.identity,
        standardisation,
        {
            **_about(corpus, done, seed, init),
            "calibration": calibration_errors(scored.log_probabilities, scored.labels, temperature),
        },
        temperature,
    )


def _weights(init: TrainedModel, labels: LabelSet) -> dict[str, Any]:
    state = init.model.state_dict()
    return {k: v for k, v in state.items() if init.labels == labels or not k.startswith("classifier.")}


def _about(corpus: Corpus, done: Fitted, seed: int, init: TrainedModel | None) -> dict[str, Any]:
    chosen = done.history[done.epoch - 1]
    return {
        "recipe": "fit",
        "corpus": corpus.name,
        "seed": seed,
        "epoch": done.epoch,
        "conversations": {split: len(corpus[split]) for split in corpus.splits},
        "started_from": None if init is None else dict(init.about),
        "valid": {k.removeprefix("valid_"): v for k, v in chosen.items() if k.startswith("valid_")},
    }
