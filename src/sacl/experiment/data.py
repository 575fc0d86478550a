"""From a recipe to the vectors and labels that a run reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sacl.conversation import Conversation, Corpus
from sacl.datasets import DATASETS, load_corpus
from sacl.errors import DataError, RecipeError
from sacl.experiment.recipe import Recipe
from sacl.features.corpus import features_of
from sacl.features.encoder import Encoder
from sacl.features.store import FeatureStore

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class RunData:
    """A corpus, as one seed divides it, and its vectors."""

    corpus: Corpus
    store: FeatureStore
    modalities: Sequence[str] | None

    def split(self, name: str) -> tuple[Sequence[Conversation], list[np.ndarray]]:
        """Conversations of a split and their vectors, one (utterances, features) array each.

        Raises:
            DataError: the corpus has no such split.
        """
        conversations = self.corpus[name]
        if [c.id for c in conversations] == [id for id, _ in self.store.splits[name]]:
            return conversations, self.store.rows(name, self.modalities)
        # The seed drew train and valid otherwise than they stood when the vectors were made.
        rows = {
            id: vectors
            for home in ("train", "valid")
            for (id, _), vectors in zip(self.store.splits[home], self.store.rows(home, self.modalities), strict=True)
        }
        return conversations, [rows[c.id] for c in conversations]

    def identity(self) -> dict[str, Any]:
        """What a run's record says of its data."""
        return {
            "corpus": self.corpus.name,
            "fingerprint": self.corpus.fingerprint(),
            "features": self.store.sha256,
            "source": dict(self.store.source),
            "modalities": list(self.modalities or self.store.modalities),
        }


def corpus_of(recipe: Recipe, data: Path | None = None, seed: int | None = None) -> Corpus:
    """The corpus that a recipe names.

    Args:
        recipe: names it.
        data: its folder.
        seed: draws the validation split where the recipe says `by-seed`; without one the fixed split is read, so that
            every seed's conversations are encoded once.

    Raises:
        RecipeError: a way to choose the validation split that the data set does not have. DataError: see `load_corpus`.
    """
    policy, name = recipe.data.validation, recipe.data.name
    options: dict[str, Any] = {}
    if policy != "given":
        if not (name.startswith("iemocap") and name in DATASETS):
            raise RecipeError(
                f"data.validation is {policy!r}, and {name} has a validation split of its own",
                where=f"recipe {recipe.name}",
                remedy="Set data.validation=given",
            )
        options |= {"validation": "fixed"} if seed is None else {"validation": policy, "seed": seed}
    if recipe.data.labels != "emotion":
        options["labels"] = recipe.data.labels
    if recipe.data.test_session is not None:
        options["test_session"] = recipe.data.test_session
    return load_corpus(name, data, **options)


def load_run_data(
    recipe: Recipe,
    seed: int,
    *,
    data: Path | None = None,
    features: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> RunData:
    """Corpus and vectors of one run; encodes what is not in the cache.

    Args:
        recipe: names the data set and the encoder.
        seed: divides train from validation where the recipe says so.
        data: the data set's folder.
        features: a folder of vectors (`FeatureStore`) in place of the encoder.
        cache: where encoded texts are kept.
        progress: told of the encoding.

    Raises:
        DataError, FeatureError: see `load_corpus`, `features_of` and `FeatureStore`.
    """
    base = corpus_of(recipe, data)
    for split in ("train", "valid", "test"):
        if split not in base.splits:
            raise DataError(
                f"there is no split {split!r}, and training needs train, valid and test",
                where=base.name,
                remedy="Give a folder with train, valid and test; a single file is for EmotionRecognizer.fit",
            )
        if all(u.emotion is None for u in base.utterances(split)):
            raise DataError(
                "no utterance is labelled", where=f"{base.name}, split {split}", remedy="Give some of them an emotion"
            )
    if features is not None:
        store = FeatureStore.open(features)
        store.check(base)
    else:
        s = recipe.features
        has_texts = any(u.vector is None for u in base.utterances())
        encoder = Encoder.load(s.encoder, pooling=s.pooling, layer=s.layer) if has_texts else None
        store = features_of(base, encoder, cache, progress)
    corpus = corpus_of(recipe, data, seed) if recipe.data.validation == "by-seed" else base
    return RunData(corpus, store, recipe.features.modalities)
