"""The field's data sets, and your own: one call gives a corpus.

>>> load_corpus("sample").labels.names[0]
'neutral'
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacl.conversation import Conversation, Corpus, LabelSet
from sacl.datasets import dailydialog, emorynlp, iemocap, meld, mosei, sample
from sacl.datasets.download import KNOWN, NOT_FETCHED, cached
from sacl.datasets.imported import IMPORTED, imported_name, read_imported
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
        folder: of its files in the places that are looked into, where that is not its name.
    """

    name: str
    title: str
    labels: LabelSet
    expected: Counts | None
    files: tuple[str, ...]
    card: str
    read: Callable[..., Corpus]
    folder: str = ""


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
        DatasetInfo(
            "iemocap-4",
            "IEMOCAP-4",
            iemocap.FOUR,
            iemocap.FOUR_EXPECTED,
            iemocap.SESSIONS,
            "IEMOCAP without the utterances labelled excited or frustrated, which are then no context either.\n\n"
            f"Labels in index order: {' '.join(iemocap.FOUR)}.\n\n"
            "Counts are those of the raw release; the pickles of the published row have 3,600 and 943 utterances, of "
            "these in test happy 144, sad 245, neutral 384, angry 170. The rest as for `iemocap`.",
            iemocap.read_four,
            "iemocap",
        ),
        DatasetInfo("mosei", "CMU-MOSEI", mosei.LABELS, mosei.EXPECTED, mosei.FILES, mosei.__doc__ or "", mosei.read),
        DatasetInfo(
            "dailydialog",
            "DailyDialog",
            dailydialog.LABELS,
            dailydialog.EXPECTED,
            dailydialog.FILES,
            dailydialog.__doc__ or "",
            dailydialog.read,
        ),
    )
}


def load_corpus(name_or_path: str | Path, data: Path | None = None, **options: Any) -> Corpus:
    """A corpus by the name of a known data set, or from a folder or file of your own.

    A known data set is looked for in `data` and nowhere else; without it, in the folder that the environment variable
    SACL_DATA names, then among what was downloaded. In a folder that is named, a folder of its name serves as well.
    Where such a place holds what `sacl data import` made of a pickle of this data set, that is read.

    A folder of your own holds `train`, `valid` and `test`, or some of them, each a .jsonl or .csv, gzipped or not; its
    labels are the lines of `labels.txt`, in index order, or else the labels that occur in train, sorted. A single file
    is a corpus with one split, `all`.

    Args:
        name_or_path: `sample`, `meld`, `emorynlp`, `iemocap`, or a path; `./meld` is a folder of your own.
        data: where to look for a known data set.
        options: of the data set's reader, such as `labels="sentiment"` of meld and emorynlp; for a converted pickle,
            those of `imported.read_imported`; for a path, `columns` (see formats.Columns).

    Raises:
        DataError: nothing there, or something in it that is at fault.

    >>> from sacl import load_corpus
    >>> corpus = load_corpus("sample")
    >>> {split: len(conversations) for split, conversations in corpus.splits.items()}
    {'train': 150, 'valid': 30, 'test': 60}
    """
    info = DATASETS.get(str(name_or_path)) if isinstance(name_or_path, str) else None
    if data is not None and (info is None or not info.files):
        is_at = "a path already" if info is None else "part of the package"
        raise DataError(
            f"{name_or_path} is {is_at}, and a folder is given too",
            where=str(data),
            remedy="Name the folder itself as the data set (of a recipe: --set data.name=FOLDER)",
        )
    if info is None:
        return _own(Path(name_or_path), **_known(_own, str(name_or_path), options))
    if not info.files:
        return info.read(**_known(info.read, info.name, options))
    folder = _find(info, data)
    if imported_name(folder) == info.name:
        _known(read_imported, info.name, options)
        return read_imported(folder, info.name, **options)
    return info.read(folder, **_known(info.read, info.name, options))


def _known(read: Callable[..., Corpus], name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options, none of which the reader does not have."""
    parameters = inspect.signature(read if name != "iemocap-4" else iemocap.read).parameters
    for option in options:
        if option not in parameters:
            raise DataError(f"{name} has no option {option!r}", where=name, remedy="Leave it out")
    return options


def _find(info: DatasetInfo, data: Path | None) -> Path:
    """The first of the places that holds any of the data set's files; its reader then names those that lack."""
    roots = [Path(root) for root in (data or os.environ.get("SACL_DATA"),) if root]
    places = [
        place for root in roots for place in dict.fromkeys((root, root / info.name, root / (info.folder or info.name)))
    ]
    if data is None:
        # A folder that is named is the only one: other data than those asked for must not be read in silence.
        places.append(cached(info.name))
    for folder in places:
        # A converted folder of another data set holds the same files.
        if (converted := imported_name(folder)) == info.name:
            return folder
        if any((folder / file).exists() for file in info.files if file != IMPORTED):
            return folder
        if converted is not None and folder == data:
            raise DataError(f"it holds {converted}, not {info.name}", where=str(data), remedy="Name another folder")
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
    used = _used(splits[labelled]) or _used([c for split in splits.values() for c in split])
    try:
        return Corpus(name, LabelSet(tuple(used)), splits)
    except DataError as error:
        if "unknown emotion" not in error.found:
            raise
        remedy = f"{error.remedy}; or list every label, a line each, in labels.txt beside the splits"
        raise DataError(error.found, where=error.where, remedy=remedy) from None


def _used(conversations: Sequence[Conversation]) -> list[str]:
    return sorted({u.emotion for c in conversations for u in c.utterances if u.emotion is not None})


def _listed(path: Path) -> LabelSet:
    require_file(path)
    names: Sequence[str] = [line.strip() for _, line in numbered_lines(path, str(path))]
    return LabelSet(tuple(name for name in names if name))
