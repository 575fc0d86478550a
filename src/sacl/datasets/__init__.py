"""The field's data sets, and your own: one call gives a corpus.

>>> load_corpus("sample").labels.names[0]
'neutral'
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacl.conversation import Conversation, Corpus, LabelSet
from sacl.datasets import emorynlp, iemocap, meld, sample
from sacl.datasets.download import KNOWN, NOT_FETCHED, cached
from sacl.datasets.reading import Counts
from sacl.errors import DataError
from sacl.formats import DEFAULT_COLUMNS, Columns, read_conversations
from sacl.textfile import kind_of, numbered_lines, require_file

SPLITS = ("train", "valid", "test")
_SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz")


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A data set known by name.

    Args:
        name: what it is asked for by.
        title: what people call it.
        labels: the emotions, in index order.
        expected: conversations and labelled utterances by split, checked when it is read; None where nothing is.
        files: what its folder holds; none where it comes with the package.
        card: counts, citation, licence and known defects, as Markdown.
        read: folder, and the reader's own options -> Corpus.
    """

    name: str
    title: str
    labels: LabelSet
    expected: Counts | None
    files: tuple[str, ...]
    card: str
    read: Callable[..., Corpus]


DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        DatasetInfo("sample", "Sample", sample.LABELS, sample.EXPECTED, (), sample.__doc__ or "", sample.read),
        DatasetInfo("meld", "MELD", meld.LABELS, meld.EXPECTED, (*meld.FILES.values(),), meld.__doc__ or "", meld.read),
        DatasetInfo(
            "emorynlp",
            "EmoryNLP",
            emorynlp.LABELS,
            emorynlp.EXPECTED,
            (*emorynlp.FILES.values(),),
            emorynlp.__doc__ or "",
            emorynlp.read,
        ),
        DatasetInfo(
            "iemocap",
            "IEMOCAP",
            iemocap.LABELS,
            iemocap.EXPECTED,
            iemocap.SESSIONS,
            iemocap.__doc__ or "",
            iemocap.read,
        ),
    )
}


def load_corpus(name_or_path: str | Path, data: Path | None = None, **options: Any) -> Corpus:
    """A corpus by the name of a known data set, or from a folder or file of your own.

    A known data set is looked for in `data`, then in the folder that the environment variable SACL_DATA names, then
    among what was downloaded; in the first two, in a folder of its name as well.

    A folder of your own holds `train`, `valid` and `test`, or some of them, each a .jsonl or .csv, gzipped or not; its
    labels are the lines of `labels.txt`, in index order, or else the labels that occur in train, sorted. A single file
    is a corpus with one split, `all`.

    Args:
        name_or_path: `sample`, `meld`, `emorynlp`, `iemocap`, or a path; `./meld` is a folder of your own.
        data: where to look for a known data set first.
        options: of the data set's reader; for a path, `columns` (see formats.Columns).

    Raises:
        DataError: nothing there, or something in it that is at fault.
    """
    info = DATASETS.get(str(name_or_path)) if isinstance(name_or_path, str) else None
    if info is None:
        return _own(Path(name_or_path), **options)
    return info.read(_find(info, data), **options) if info.files else info.read(**options)


def _find(info: DatasetInfo, data: Path | None) -> Path:
    """The first of the places that holds any of the data set's files; its reader then names those that lack."""
    roots = [Path(root) for root in (data, os.environ.get("SACL_DATA")) if root]
    places = [*(place for root in roots for place in (root, root / info.name)), cached(info.name)]
    for folder in places:
        if any((folder / file).exists() for file in info.files):
            return folder
    raise DataError(
        f"{info.title} is not there: none of {', '.join(map(str, places))} holds {', '.join(info.files)}",
        where=info.name,
        remedy=f"Get it with `sacl data fetch {info.name}`, or name its folder in SACL_DATA"
        if info.name in KNOWN
        else NOT_FETCHED[info.name][1],
    )


def _own(path: Path, columns: Columns = DEFAULT_COLUMNS) -> Corpus:
    if (kind := kind_of(path)) != "folder":
        if kind == "nothing":
            raise DataError(
                "there is no such data set, folder or file",
                where=str(path),
                remedy=f"Use one of: {', '.join(DATASETS)}, or a path",
            )
        return _corpus(path.name.split(".")[0], {"all": list(read_conversations(path, columns=columns))}, "all", None)
    splits = {}
    for split in SPLITS:
        found = [file for file in (path / f"{split}{suffix}" for suffix in _SUFFIXES) if file.exists()]
        if len(found) > 1:
            raise DataError(
                f"both {found[0].name} and {found[1].name} are there", where=str(path), remedy="Keep one of them"
            )
        if found:
            splits[split] = list(read_conversations(found[0], columns=columns))
    if not splits:
        raise DataError(
            f"it holds none of {', '.join(SPLITS)} as {', '.join(_SUFFIXES)}",
            where=str(path),
            remedy="Name the files so, or give a single file",
        )
    labels = path / "labels.txt"
    name = path.resolve().name
    return _corpus(
        name, splits, "train" if "train" in splits else next(iter(splits)), labels if labels.exists() else None
    )


def _corpus(name: str, splits: dict[str, list[Conversation]], labelled: str, listed: Path | None) -> Corpus:
    """The corpus; its labels are those of the file, or what occurs in the split `labelled`."""
    if listed:
        return Corpus(name, _listed(listed), splits)
    used = sorted({u.emotion for c in splits[labelled] for u in c.utterances if u.emotion is not None})
    if not used:
        raise DataError(
            "no utterance is labelled",
            where=f"{name}, split {labelled}",
            remedy="Give some an emotion, or list the labels in labels.txt",
        )
    return Corpus(name, LabelSet(tuple(used)), splits)


def _listed(path: Path) -> LabelSet:
    require_file(path)
    names: Sequence[str] = [line.strip() for _, line in numbered_lines(path, str(path))]
    return LabelSet(tuple(name for name in names if name))
