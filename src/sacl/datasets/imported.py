"""A corpus converted from a pickle: a folder of JSONL that is read by the data set's name, or as a folder of one's own.

`train.jsonl`, `valid.jsonl`, `test.jsonl`, `labels.txt`, and `imported.json`, which says what it was made from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sacl.conversation import Corpus, LabelSet
from sacl.errors import DataError
from sacl.formats import read_conversations, write_conversations
from sacl.textfile import numbered_lines, require_file, written_aside

IMPORTED, FORMAT_VERSION = "imported.json", 1
SPLITS = ("train", "valid", "test")
VALIDATION_SIZE = 12
"""Conversations that `validation="by-seed"` draws: IEMOCAP's protocol."""


def write_imported(folder: Path, corpus: Corpus, labels: str, source: Mapping[str, Any]) -> None:
    """Writes a corpus into a folder that is there.

    Args:
        folder: where to.
        corpus: with train, valid and test.
        labels: `emotion` or `sentiment`: what the labels are.
        source: what it was made from; plain JSON values.

    Raises:
        DataError: a text that cannot be written as JSONL, or a folder that cannot be written to.
    """
    for split in SPLITS:
        write_conversations(corpus[split], folder / f"{split}.jsonl")
    with written_aside(folder / "labels.txt") as out:
        out.write("".join(f"{label}\n" for label in corpus.labels))
    # Last, so that its existence means that the folder is whole.
    manifest = {"format_version": FORMAT_VERSION, "corpus": corpus.name, "labels": labels, "source": dict(source)}
    with written_aside(folder / IMPORTED) as out:
        out.write(json.dumps(manifest, indent=1) + "\n")


def imported_name(folder: Path) -> str | None:
    """The data set that a folder was converted from; None where it is no such folder.

    Raises:
        DataError: its manifest is damaged.
    """
    try:
        if not (folder / IMPORTED).is_file():
            return None
    except OSError:
        return None
    return _manifest(folder)["corpus"]


def read_imported(folder: Path, name: str, labels: str = "emotion", validation: str = "fixed", seed: int = 0) -> Corpus:
    """A converted corpus.

    Args:
        folder: what `sacl data import` wrote.
        name: the data set that it has to be.
        labels: `emotion` or `sentiment`: what it has to be labelled with.
        validation: `fixed`: the file's own validation split. `by-seed`, IEMOCAP only: train and valid in the file's
            order are shuffled by NumPy's `RandomState(seed)`, and the first 12 are valid.
        seed: of that shuffle.

    Raises:
        DataError: another data set or other labels than asked for, or a file that is missing or damaged.
    """
    manifest = _manifest(folder)
    if (manifest["corpus"], manifest["labels"]) != (name, labels):
        raise DataError(
            f"it holds {manifest['corpus']} with {manifest['labels']} labels, not {name} with {labels} labels",
            where=str(folder),
            remedy="Name another folder, or import the pickle again with --as and --labels",
        )
    listed = folder / "labels.txt"
    require_file(listed)
    names = [line.strip() for _, line in numbered_lines(listed, str(listed)) if line.strip()]
    splits = {split: list(read_conversations(folder / f"{split}.jsonl")) for split in SPLITS}
    if validation == "by-seed" and name.startswith("iemocap"):
        both = splits["train"] + splits["valid"]
        drawn = list(range(len(both)))
        np.random.RandomState(seed).shuffle(drawn)
        held = set(drawn[:VALIDATION_SIZE])
        splits["train"] = [c for i, c in enumerate(both) if i not in held]
        splits["valid"] = [c for i, c in enumerate(both) if i in held]
    elif validation != "fixed":
        raise DataError(
            f"validation {validation!r} is not known for {name}", where=str(folder), remedy="Use the given split"
        )
    return Corpus(name, LabelSet(tuple(names)), splits)


def _manifest(folder: Path) -> dict[str, str]:
    path = folder / IMPORTED
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format_version"] != FORMAT_VERSION:
            found = f"it has the format {manifest['format_version']!r:.20}, not {FORMAT_VERSION}"
        else:
            return {key: str(manifest[key]) for key in ("corpus", "labels")}
    except OSError as error:
        found = "it is missing" if isinstance(error, FileNotFoundError) else f"it cannot be read ({error.strerror})"
    except (ValueError, KeyError, TypeError, RecursionError):
        found = "it is damaged"
    raise DataError(found, where=str(path), remedy="Import the pickle again")
