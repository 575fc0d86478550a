"""The features of a corpus: the vectors that it carries, or an encoder's, kept in a cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from sacl.aside import beside, reason, remedy, removed
from sacl.conversation import Corpus, Utterance
from sacl.errors import FeatureError
from sacl.features.encoder import Encoder, Progress
from sacl.features.store import (
    FORMAT_VERSION,
    FeatureStore,
    assembled,
    fingerprint,
    located,
    publish,
    vector_of,
)

BEGUN = ".begun"
"""How the file ends that holds an encoding under way."""

_log = logging.getLogger("sacl")


def encode_corpus(
    corpus: Corpus, encoder: Encoder, cache: str | Path | None = None, progress: Progress | None = None
) -> FeatureStore:
    """The encoder's vectors of a corpus, from the cache where they are there and whole.

    Several processes may ask for the same at once: each gets a whole store.

    Args:
        corpus: every utterance with a text.
        encoder: its files, pooling, layer and length, with the corpus's fingerprint, name the place in the cache.
        cache: its folder; by default `features` in SACL_CACHE, or in the user's own cache folder.
        progress: called as progress("encode", texts done, texts in all).

    Returns:
        One modality, `text`.

    Raises:
        FeatureError: an utterance without text, an encoder that cannot be read, a cache that cannot be written.
    """
    for where, utterance in located(corpus):
        if utterance.text is None:
            raise FeatureError("it has no text to encode", where=where, remedy="Give it one")
    settings = [encoder.identity[key] for key in ("sha256", "pooling", "layer", "max_tokens")]
    key = hashlib.sha256(json.dumps([FORMAT_VERSION, *settings, fingerprint(corpus)]).encode()).hexdigest()
    folder = Path(_default_cache() if cache is None else cache).resolve() / key[:32]
    store = _cached(folder, corpus)
    if store is not None:
        # The same files may have lain elsewhere when they were encoded.
        store = replace(store, source=encoder.identity)
    else:
        begun = folder.with_name(f".{folder.name}{BEGUN}")
        store = assembled(corpus, {"text": _encoded(corpus, encoder, begun, progress)}, encoder.identity)
        try:
            publish(store, folder, replace=False)
        except FeatureError:
            # Either another process was first, and its store serves as well, or the disk is at fault.
            other = _cached(folder, corpus)
            if other is None:
                raise
            store = other
        removed(begun)
    return store


def _encoded(corpus: Corpus, encoder: Encoder, begun: Path, progress: Progress | None) -> np.ndarray:
    """The encoder's vectors; what is done of them stays in the file `begun`, from which the next call goes on."""
    texts = [utterance.text or "" for utterance in corpus.utterances()]
    try:
        # For its owner alone: vectors tell much of the texts that they were made from.
        begun.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _forget_old(begun)
        with os.fdopen(os.open(begun, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            return encoder.encode(texts, progress=progress, pieces=file)
    except FeatureError:
        removed(begun)
        raise
    except OSError as error:
        found = f"the cache cannot be written ({reason(error)})"
        told = f"{remedy(error)}: --cache or SACL_CACHE name one; what is encoded is kept"
        raise FeatureError(found, where=str(begun.parent), remedy=told) from error


def _forget_old(begun: Path) -> None:
    """Removes what was begun and not gone on with for a week."""
    for file in begun.parent.glob(f".*{BEGUN}"):
        with suppress(OSError):  # another process was quicker
            if time.time() - file.stat().st_mtime > 7 * 24 * 3600:
                removed(file)


def features_of(
    corpus: Corpus, encoder: Encoder | None = None, cache: str | Path | None = None, progress: Progress | None = None
) -> FeatureStore:
    """The vectors that a corpus carries if every utterance has one, or the encoder's if none has.

    Returns:
        One modality: `vector` (in memory only) or `text` (see `encode_corpus`).

    Raises:
        FeatureError: some utterances have a vector and others have none, vectors differ in width or are not
            finite, or texts are all there is and no encoder is given.
    """
    turns = list(located(corpus))
    if not turns:
        raise FeatureError("there is no utterance", where=corpus.name, remedy="Give at least one conversation")
    no_vector = next((i for i, (_, u) in enumerate(turns) if u.vector is None), None)
    if no_vector is None:
        return assembled(corpus, {"vector": _stacked(turns)}, {"name": "vectors given with the corpus"})
    vector = next((i for i, (_, u) in enumerate(turns) if u.vector is not None), None)
    if vector is not None:
        # Texts for all would do, but what some vectors were given for would be dropped in silence.
        has, other = ("a vector", "none") if vector > no_vector else ("no vector", "one")
        where = turns[max(vector, no_vector)][0]
        raise FeatureError(
            f"it has {has}, and an utterance before it has {other}",
            where=where,
            remedy="Give every utterance a vector, or none of them",
        )
    if encoder is None:
        raise FeatureError("it has no vector", where=turns[no_vector][0], remedy="Name an encoder, or give vectors")
    return encode_corpus(corpus, encoder, cache, progress)


def _stacked(turns: Sequence[tuple[str, Utterance]]) -> np.ndarray:
    """The utterances' own vectors, (utterances, width)."""
    rows = [vector_of(utterance, where) for where, utterance in turns]
    for (where, _), row in zip(turns, rows, strict=True):
        if len(row) != len(rows[0]):
            found = f"its vector has {len(row)} numbers, those before it have {len(rows[0])}"
            raise FeatureError(found, where=where, remedy="Give vectors of one width")
    return np.stack(rows)


def _default_cache() -> Path:
    import platformdirs

    return Path(os.environ.get("SACL_CACHE") or platformdirs.user_cache_path("sacl")) / "features"


def _cached(folder: Path, corpus: Corpus) -> FeatureStore | None:
    """The store of this name; a broken one is put out of the way."""
    if not folder.exists():
        return None
    try:
        store = FeatureStore.open(folder)
        store.check(corpus)
        return store
    except FeatureError as error:
        _log.warning("cached features are not whole and are made again: %s", error)
        # Renamed before it is deleted: another process must not see it half gone.
        broken = beside(folder)
        with suppress(OSError):
            folder.rename(broken)
        removed(broken)
        return None
