"""Vectors on disk: named modalities of any width, and a manifest that says whose they are."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sacl.aside import beside, put_back, reason, remedy
from sacl.conversation import Conversation, Corpus, Utterance
from sacl.errors import FeatureError, place
from sacl.features.files import first_line

FORMAT_VERSION = 1
FEATURES, MANIFEST = "features.safetensors", "manifest.json"
AGAIN = "Encode again"


class _Manifest(BaseModel):
    """What a manifest must hold. Whoever writes one can write its check too: nothing in it is believed."""

    model_config = ConfigDict(strict=True)
    corpus: str
    fingerprint: str
    splits: dict[str, list[Annotated[tuple[str, Annotated[int, Field(ge=1, le=2**31)]], Field(strict=False)]]]
    modalities: dict[str, int]
    source: dict[str, Any]
    sha256: str


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """The vectors of a corpus, by modality.

    Args:
        corpus: the corpus's name.
        fingerprint: of what the vectors were made from, see `fingerprint`.
        splits: split -> id and length of each conversation, in the corpus's order.
        vectors: modality -> (utterances, width), float32, one split after another.
        source: what made them, an encoder's identity say.
        sha256: of the vectors as a safetensors file.

    >>> from sacl import FeatureStore
    >>> FeatureStore.open("nowhere")
    Traceback (most recent call last):
        ...
    sacl.errors.FeatureError: nowhere/manifest.json: it is missing. Encode again
    """

    corpus: str
    fingerprint: str
    splits: Mapping[str, Sequence[tuple[str, int]]]
    vectors: Mapping[str, np.ndarray]
    source: Mapping[str, Any]
    sha256: str

    @classmethod
    def open(cls, folder: str | Path) -> FeatureStore:
        """Read a store whole and check every byte of it.

        Raises:
            FeatureError: a file is missing, damaged or of another version, or a number is not finite.
        """
        folder = Path(folder)
        manifest, file = _read_manifest(folder / MANIFEST), folder / FEATURES
        data = _read(file)
        if hashlib.sha256(data).hexdigest() != manifest["sha256"]:
            raise FeatureError("it is damaged: its SHA-256 is not the manifest's", where=str(file), remedy=AGAIN)
        vectors = _tensors(file, data)
        splits = {split: [(name, n) for name, n in rows] for split, rows in manifest["splits"].items()}
        total = sum(n for rows in splits.values() for _, n in rows)
        found = {name: (array.dtype.name, *array.shape) for name, array in vectors.items()}
        if found != {name: ("float32", total, width) for name, width in manifest["modalities"].items()}:
            raise FeatureError("its shapes are not the manifest's", where=str(file), remedy=AGAIN)
        for name, array in vectors.items():
            for row in np.flatnonzero(~np.isfinite(array).all(axis=1)):
                where = f"{file}, {_where(splits, int(row))}, modality {name}"
                raise FeatureError("its vector is not finite", where=where, remedy=AGAIN)
        ordered = {name: vectors[name] for name in manifest["modalities"]}
        return cls(manifest["corpus"], manifest["fingerprint"], splits, ordered, manifest["source"], manifest["sha256"])

    @property
    def modalities(self) -> dict[str, int]:
        """Modality -> width."""
        return {name: array.shape[1] for name, array in self.vectors.items()}

    def rows(self, split: str, modalities: Sequence[str] | None = None) -> list[np.ndarray]:
        """One (utterances, width) array a conversation of the split, modalities side by side in the order asked.

        Raises:
            FeatureError: there is no such split or modality.
        """
        names = list(self.vectors) if modalities is None else list(modalities)
        if split not in self.splits:
            raise FeatureError(f"there is no split {split!r}", where=self.corpus, remedy=_one_of(self.splits))
        unknown = [repr(name) for name in names if name not in self.vectors]
        if unknown or not names:
            found = f"there is no modality {unknown[0]}" if unknown else "no modality is asked for"
            raise FeatureError(found, where=self.corpus, remedy=_one_of(self.vectors))
        before = list(self.splits)[: list(self.splits).index(split)]
        start = sum(n for name in before for _, n in self.splits[name])
        bounds = np.cumsum([start, *(n for _, n in self.splits[split])])
        block = np.concatenate([self.vectors[name][bounds[0] : bounds[-1]] for name in names], axis=1)
        return [block[i - start : j - start] for i, j in pairwise(bounds)]

    def check(self, corpus: Corpus) -> None:
        """Refuse a corpus that the vectors were not made from; its labels may have changed since.

        Raises:
            FeatureError: it has other texts, ids or order.
        """
        if fingerprint(corpus) != self.fingerprint:
            raise FeatureError(
                f"they were made from {self.corpus} with other texts, ids or order than this {corpus.name}",
                where="features",
                remedy=f"{AGAIN}, or give the data that they were made from",
            )


def fingerprint(corpus: Corpus) -> str:
    """SHA-256 over what vectors depend on: ids, texts, given vectors and their order; not labels, speakers, times."""
    digest = hashlib.sha256()
    for split, conversations in corpus.splits.items():
        digest.update(json.dumps([split, len(conversations)]).encode())
        for c in conversations:
            turns = [(u.id, u.text, _vector_digest(u, place_of(corpus, split, c, u))) for u in c.utterances]
            digest.update(json.dumps([c.id, turns]).encode())
    return digest.hexdigest()


def write_store(
    folder: str | Path, corpus: Corpus, vectors: Mapping[str, np.ndarray], source: Mapping[str, Any]
) -> FeatureStore:
    """Keep vectors that come from elsewhere. A store that is there already is replaced, whole or not at all.

    Args:
        folder: where to; it may hold a store, but nothing else.
        corpus: whose vectors they are.
        vectors: modality -> (utterances, width), rows by split, conversation, utterance as in the corpus.
        source: where they come from, for the manifest: plain JSON values.

    Raises:
        FeatureError: a shape that does not fit the corpus, a number that is not finite, or a folder that cannot be
            written or holds other files.

    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from sacl import load_corpus, write_store
    >>> corpus = load_corpus("sample")
    >>> made = {"audio": np.zeros((len(list(corpus.utterances())), 3), "float32")}
    >>> with TemporaryDirectory() as home:
    ...     write_store(f"{home}/audio", corpus, made, {"made by": "me"}).modalities
    {'audio': 3}
    """
    folder = Path(folder).resolve()
    if folder.exists() and not (folder.is_dir() and {file.name for file in folder.iterdir()} <= {FEATURES, MANIFEST}):
        raise FeatureError("it is not a folder of features", where=str(folder), remedy="Name a new folder")
    store = assembled(corpus, vectors, source)
    publish(store, folder, replace=True)
    return store


def place_of(corpus: Corpus, split: str, conversation: Conversation, utterance: Utterance) -> str:
    """Where an utterance stands, for an error."""
    return place(file=corpus.name, split=split, conversation=conversation.id, utterance=utterance.id)


def located(corpus: Corpus) -> Iterator[tuple[str, Utterance]]:
    """Every utterance in the order of the rows, after its place."""
    for split, conversations in corpus.splits.items():
        for conversation in conversations:
            for utterance in conversation.utterances:
                yield place_of(corpus, split, conversation, utterance), utterance


def vector_of(utterance: Utterance, where: str) -> np.ndarray:
    """The vector that an utterance carries, (width,), float32.

    Raises:
        FeatureError: it is no flat list of finite numbers.
    """
    try:
        vector = _float32(utterance.vector)
    except (TypeError, ValueError) as error:
        raise FeatureError("its vector is not made of numbers", where=where, remedy="Give numbers") from error
    if vector.ndim != 1 or not vector.size:
        found = f"its vector has the shape {vector.shape}"
        raise FeatureError(found, where=where, remedy="Give a flat list of numbers")
    if not np.isfinite(vector).all():
        raise FeatureError("its vector is not finite", where=where, remedy="Repair it, or leave it out")
    return vector


def _vector_digest(utterance: Utterance, where: str) -> str | None:
    if utterance.vector is None:
        return None
    return hashlib.sha256(vector_of(utterance, where).astype("<f4").tobytes()).hexdigest()


def _where(splits: Mapping[str, Sequence[tuple[str, int]]], row: int) -> str:
    for split, conversations in splits.items():
        for conversation, n in conversations:
            if row < n:
                return place(split=split, conversation=conversation, utterance=row)
            row -= n
    raise AssertionError


def _float32(values: Any) -> np.ndarray:
    # A number too large for single precision becomes infinite and is refused as such.
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32, order="C")


def assembled(corpus: Corpus, vectors: Mapping[str, np.ndarray], source: Mapping[str, Any]) -> FeatureStore:
    """A store in memory; arguments and errors as for `write_store`."""
    splits = {split: [(c.id, len(c)) for c in conversations] for split, conversations in corpus.splits.items()}
    total = sum(n for rows in splits.values() for _, n in rows)
    if not vectors:
        raise FeatureError("no modality is given", where=corpus.name, remedy="Give at least one")
    arrays = {}
    for name, values in vectors.items():
        where = place(file=corpus.name, modality=name)
        if not name.strip() or name == "__metadata__":
            raise FeatureError(f"{name!r} cannot be a modality's name", where=corpus.name, remedy="Name it otherwise")
        try:
            arrays[name] = array = _float32(values)
        except (TypeError, ValueError) as error:
            raise FeatureError("it is not an array of numbers", where=where, remedy="Give numbers") from error
        if array.ndim != 2 or len(array) != total or not array.shape[1]:
            found = f"its shape is {array.shape}, and the corpus has {total} utterances"
            raise FeatureError(found, where=where, remedy=f"Give an array of the shape ({total}, width)")
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(bad):
            where = f"{next(islice(located(corpus), int(bad[0]), None))[0]}, modality {name}"
            raise FeatureError("its vector is not finite", where=where, remedy="Repair it, or leave it out")
    sha256 = hashlib.sha256(_bytes(arrays)).hexdigest()
    return FeatureStore(corpus.name, fingerprint(corpus), splits, arrays, source, sha256)


def publish(store: FeatureStore, folder: Path, replace: bool) -> None:
    """Write a store beside and move it into place: a folder of this name holds a whole store or is not there.

    A process that is killed between the two moves of a replacement leaves the name without a folder; the next to write
    there gives the former store its place again before it begins.

    Raises:
        FeatureError: the place cannot be written, or, unless it may be replaced, something stands there.
    """
    rest = {
        "corpus": store.corpus,
        "fingerprint": store.fingerprint,
        "splits": store.splits,
        "modalities": store.modalities,
        "source": dict(store.source),
        "sha256": store.sha256,
    }
    text = json.dumps({"format_version": FORMAT_VERSION, "check": _check(rest), **rest}, indent=1)
    if replace:
        put_back(folder, MANIFEST)
    new, old = beside(folder), beside(folder)
    try:
        new.mkdir(parents=True)
        (new / FEATURES).write_bytes(_bytes(store.vectors))
        # Last, so that features without a manifest are never taken for whole.
        (new / MANIFEST).write_text(text, encoding="utf-8")
        if replace and folder.exists():
            folder.rename(old)
        new.rename(folder)
    except OSError as error:
        found = f"features cannot be written ({reason(error)})"
        raise FeatureError(found, where=str(folder), remedy=remedy(error)) from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        for rest_of_it in (new, old):
            shutil.rmtree(rest_of_it, ignore_errors=True)


def _bytes(vectors: Mapping[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save(dict(vectors))


def _check(rest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's other entries."""
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        found = "it is missing" if isinstance(error, FileNotFoundError) else f"it cannot be read ({first_line(error)})"
        raise FeatureError(found, where=str(file), remedy=AGAIN) from error


def _read_manifest(file: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(_read(file))
        version = manifest.pop("format_version")
        if version == FORMAT_VERSION and manifest.pop("check") == _check(manifest):
            return _Manifest.model_validate(manifest).model_dump()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FeatureError("it is damaged", where=str(file), remedy=AGAIN) from error
    found = "it is damaged" if version == FORMAT_VERSION else f"it has the format {version}, not {FORMAT_VERSION}"
    raise FeatureError(found, where=str(file), remedy=AGAIN)


def _tensors(file: Path, data: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise FeatureError(f"it is damaged ({first_line(error)})", where=str(file), remedy=AGAIN) from error


def _one_of(names: Iterable[str]) -> str:
    return f"Use one of: {', '.join(names)}"
