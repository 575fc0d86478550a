"""`sacl data` and `sacl encode`: conversations and their vectors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sacl.cli import show

app = typer.Typer(help="List, describe, download and convert data sets.", no_args_is_help=True, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="One JSON document in place of tables.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set; else SACL_DATA, else what was fetched.")
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Run the Python code that a model of one's own kind names.")
]
Cache = Annotated[Path | None, typer.Option("--cache", help="Where encoded texts are kept; else SACL_CACHE.")]


@app.command(name="list")
def list_(json: Json = False) -> None:
    """The data sets known by name."""
    from sacl.datasets import DATASETS

    if json:
        show.document([_described(info) for info in DATASETS.values()])
        return
    from sacl.report.table import Table

    rows = [[name, str(len(info.labels)), *(_sizes(info) or ["", ""])] for name, info in DATASETS.items()]
    columns = ["name", "emotions", "conversations", "utterances"]
    notes = ["Train / valid / test, or train with valid / test; labelled utterances.", "More: sacl data show NAME"]
    show.table(Table("data sets", columns, rows, notes))


@app.command(name="show")
def show_(name: str, data: DataFolder = None, json: Json = False) -> None:
    """A data set's card, and its counts as they are on this machine; NAME may be a folder or file of your own."""
    from sacl.datasets import DATASETS, load_corpus
    from sacl.errors import DataError

    info = DATASETS.get(name)
    try:
        counts = _counts(load_corpus(name, data))
    except DataError as error:
        if info is None or data is not None:
            raise
        counts = {"not read": str(error)}
    if json:
        show.document({**({} if info is None else _described(info)), "counts": counts})
        return
    if info is not None:
        show.markdown(info.card.strip())
    if "not read" in counts:
        print(f"sacl: {counts['not read']}", file=sys.stderr)
        return
    _show_counts(name, counts)


@app.command()
def fetch(
    name: str,
    to: Annotated[Path | None, typer.Option(help="Folder to fill; by default the one that is looked into.")] = None,
    mirror: Annotated[str | None, typer.Option(help="Address that holds the files under their own names.")] = None,
) -> None:
    """Download a public data set, each file checked against its SHA-256."""
    from sacl.datasets.download import fetch as download

    with show.progress() as progress:
        folder = download(name, to, mirror, progress)
    print(folder)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(help="A data set's name, or a folder or file of conversations.")],
    out: Annotated[Path, typer.Option(help="File to write: .jsonl, .csv or .txt, .jsonl.gz too.")],
    split: Annotated[str | None, typer.Option(help="One split only; by default all, one after another.")] = None,
    data: DataFolder = None,
) -> None:
    """Write a data set's conversations into one file."""
    from sacl.conversation import Conversation
    from sacl.datasets import load_corpus
    from sacl.formats import write_conversations

    corpus = load_corpus(source, data)
    splits = list(corpus.splits) if split is None else [split]
    conversations = (
        # Ids are distinct within a split only.
        Conversation(f"{name}-{c.id}", c.utterances) if len(splits) > 1 else c
        for name in splits
        for c in corpus[name]
    )
    written = write_conversations(conversations, out)
    print(f"{out}: {written} conversations")


def encode(
    corpus: Annotated[str, typer.Argument(metavar="DATA", help="A data set's name, or a folder or file of your own.")],
    encoder: Annotated[str, typer.Option(help="minilm, a folder, or a name on the hub.")] = "minilm",
    pooling: Annotated[str | None, typer.Option(help="mean or first; by default the encoder's own way.")] = None,
    layer: Annotated[int, typer.Option(help="Which layer; -1 is the last.")] = -1,
    out: Annotated[Path | None, typer.Option(help="Folder for the vectors; by default the cache.")] = None,
    data: DataFolder = None,
    cache: Cache = None,
    json: Json = False,
) -> None:
    """Turn every utterance of a data set into a vector."""
    from sacl.datasets import load_corpus
    from sacl.errors import FeatureError
    from sacl.features.corpus import encode_corpus
    from sacl.features.encoder import Encoder
    from sacl.features.store import write_store

    if pooling not in (None, "mean", "first"):
        raise FeatureError(f"unknown pooling {pooling!r}", where="--pooling", remedy="Use mean or first")
    loaded = load_corpus(corpus, data)
    reader = Encoder.load(encoder, pooling=pooling, layer=layer)  # type: ignore[arg-type]
    with show.progress() as progress:
        store = encode_corpus(loaded, reader, cache, progress)
        if out is not None:
            store = write_store(out, loaded, store.vectors, store.source)
    summary: dict[str, Any] = {
        "corpus": loaded.name,
        "utterances": sum(1 for _ in loaded.utterances()),
        "modalities": store.modalities,
        "sha256": store.sha256,
        "folder": None if out is None else str(out),
    }
    if json:
        show.document(summary)
    else:
        widths = ", ".join(f"{name} {width}" for name, width in store.modalities.items())
        kept = f"in {out}" if out is not None else "in the cache"
        print(f"{summary['utterances']} utterances of {loaded.name} encoded ({widths} numbers each), {kept}")


def _described(info: Any) -> dict[str, Any]:
    return {
        "name": info.name,
        "title": info.title,
        "labels": list(info.labels),
        "expected": info.expected,
        "files": list(info.files),
        "card": info.card.strip(),
    }


def _sizes(info: Any) -> list[str] | None:
    if info.expected is None:
        return None
    return [" / ".join(str(pair[i]) for pair in info.expected.values()) for i in (0, 1)]


def _counts(corpus: Any) -> dict[str, Any]:
    from collections import Counter

    counts = {}
    for split, conversations in corpus.splits.items():
        labels = Counter(u.emotion for c in conversations for u in c.utterances)
        counts[split] = {
            "conversations": len(conversations),
            "utterances": sum(labels.values()),
            "unlabelled": labels[None],
            **{label: labels[label] for label in corpus.labels},
        }
    return counts


def _show_counts(name: str, counts: dict[str, Any]) -> None:
    from sacl.report.table import Table

    keys = list(next(iter(counts.values())))
    rows = [[key, *(str(split[key]) for split in counts.values())] for key in keys]
    show.table(Table(f"{name}, as read", ["", *counts], rows))
