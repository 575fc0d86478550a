"""`sacl data` and `sacl encode`: conversations and their vectors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sacl.cli import show
from sacl.cli.ray import Ray

if TYPE_CHECKING:
    from sacl.conversation import Corpus
    from sacl.features.encoder import Encoder
    from sacl.features.store import FeatureStore
    from sacl.training.finetune import FinetuneSettings

app = typer.Typer(help="List, describe, download and convert data sets.", no_args_is_help=True, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="One JSON document in place of tables.")]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set; else SACL_DATA, else what was fetched.")
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="Run the Python code that a model file, or a recipe's file, names as its network."
    ),
]
DRAWN = dict.fromkeys(
    ("iemocap", "iemocap-4"),
    "only the 12 conversations of the fixed validation split were kept from the encoder. Validation drawn by the seed "
    "(data.validation: by-seed, the recipe's way), or another test_session, scores conversations that it was trained "
    "on: use data.validation=fixed.",
)
"""Data sets without a validation split of their own, and what is wrong with an encoder that is fine-tuned on them."""
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
def show_(
    name: Annotated[str, typer.Argument(help="A data set's name, or a folder or file of your own.")],
    data: DataFolder = None,
    json: Json = False,
) -> None:
    """A data set's card, and its counts as they are on this machine."""
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


@app.command(short_help="Download a public data set, and check its files.")
def fetch(
    name: Annotated[str, typer.Argument(help="One that `sacl data list` names.")],
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
    ray: Ray = None,
    json: Json = False,
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Adapt the encoder on single training utterances first; needs --out.")
    ] = False,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of --finetune; 30, for a small encoder 3 to 5.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of --finetune; 1e-5, for a small encoder 5e-5.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Of --finetune; 0.1.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of --finetune; 0.")] = None,
    device: Annotated[str | None, typer.Option(help="Of --finetune: a PyTorch device; cpu.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of --finetune: CPU threads; 1.")] = None,
) -> None:
    """Turn every utterance of a data set into a vector."""
    from sacl.datasets import load_corpus
    from sacl.errors import FeatureError
    from sacl.features.corpus import encode_corpus
    from sacl.features.encoder import Encoder
    from sacl.features.store import write_store

    if pooling not in (None, "mean", "first"):
        raise FeatureError(f"unknown pooling {pooling!r}", where="--pooling", remedy="Use mean or first")
    named = {"epochs": epochs, "learning_rate": learning_rate, "dropout": dropout, "seed": seed, "device": device}
    given = {name: value for name, value in named.items() if value is not None}
    if (given or threads) and not finetune:
        name = next(iter(given), "threads").replace("_", "-")
        raise FeatureError("it is a setting of --finetune", where=f"--{name}", remedy="Add --finetune, or leave it out")
    if finetune and ray is not None:
        raise FeatureError("one machine fine-tunes", where="--ray", remedy="Leave it out, and encode with OUT/encoder")
    if ray is not None:
        from sacl.scale.cluster import require_ray

        require_ray(ray)
    # The split that `train --features` reads, whichever validation a recipe draws from it.
    loaded = load_corpus(corpus, data, **({"validation": "fixed"} if corpus in DRAWN else {}))
    reader = Encoder.load(encoder, pooling=pooling, layer=layer)  # type: ignore[arg-type]
    if ray is not None:
        from sacl.scale.encoding import RayEncoder

        reader = RayEncoder.on(reader, ray)
    card: dict[str, Any] | None = None
    with show.progress() as progress:
        if finetune:
            store, card = _finetuned(loaded, reader, out, given, threads or 1, cache, progress)
        else:
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
        show.document({**summary, **({} if card is None else {"finetuned": card})})
        return
    if card is not None and out is not None:
        _show_finetuned(card, out)
    widths = ", ".join(f"{name} {width}" for name, width in store.modalities.items())
    kept = f"in {out}" if out is not None else "in the cache"
    print(f"{summary['utterances']} utterances of {loaded.name} encoded ({widths} numbers each), {kept}")


def _finetuned(
    corpus: Corpus,
    base: Encoder,
    out: Path | None,
    given: dict[str, Any],
    threads: int,
    cache: Path | None,
    progress: Callable[[str, int, int], None],
) -> tuple[FeatureStore, dict[str, Any]]:
    """OUT with the adapted encoder in `encoder` and its vectors beside it, whole or not at all; and the card."""
    from dataclasses import replace

    from sacl.aside import folder_beside, reason, remedy
    from sacl.errors import FeatureError
    from sacl.experiment.run import reproducible
    from sacl.features.corpus import encode_corpus
    from sacl.features.store import write_store
    from sacl.training.finetune import finetune, moved, refuse_taken

    settings = _finetune_settings(given)
    if out is None:
        raise FeatureError("an adapted encoder needs a folder", where="--finetune", remedy="Name a new one with --out")
    refuse_taken(out)
    # Only these two splits are handed over: nothing that is learnt or chosen can depend on another.
    train, valid = corpus["train"], corpus["valid"]
    options: dict[str, Any] = {"name": corpus.name, "warnings": [DRAWN[n] for n in [corpus.name] if n in DRAWN]}
    out = out.absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with folder_beside(out) as aside, reproducible(threads):
            tuned = finetune(base, train, valid, corpus.labels, settings, progress=progress, **options)
            saved = tuned.save(aside / "encoder")
            # Known by the place where it will be: a model that is trained on its vectors looks for it there.
            reader = replace(saved, identity={**saved.identity, "name": str(out / "encoder")})
            reader.model.to(settings.device)  # type: ignore[arg-type]
            vectors = encode_corpus(corpus, reader, cache, progress).vectors
            source = {**reader.identity, "finetuned on": f"{corpus.name}, train"}
            store = write_store(aside / "features", corpus, vectors, source)
            saved.folder.rename(aside / "features" / "encoder")
            moved(aside / "features", out)
    except OSError as error:
        raise FeatureError(f"it cannot be written ({reason(error)})", where=str(out), remedy=remedy(error)) from error
    return store, dict(tuned.card)


def _finetune_settings(given: dict[str, Any]) -> FinetuneSettings:
    from pydantic import ValidationError

    from sacl.errors import RecipeError
    from sacl.training.finetune import FinetuneSettings

    try:
        return FinetuneSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}".replace("_", "-")
        raise RecipeError(f"it is {first['input']}", where=option, remedy=first["msg"].replace("Input", "It")) from None


def _show_finetuned(card: dict[str, Any], out: Path) -> None:
    from sacl.report.table import Table

    rows = [
        [
            f"epoch {figures['epoch']}",
            f"{figures['train_loss']:.4f}",
            f"{figures['valid_accuracy']:.2f}",
            f"{figures['valid_weighted_f1']:.2f}",
            "*" if figures["epoch"] == card["epoch"] else "",
        ]
        for figures in card["epochs"]
    ]
    columns = ["", "train loss", "valid accuracy", "valid W-F1", "kept"]
    notes = [
        "Each utterance by itself, in percent. The epoch of best validation accuracy is kept.",
        f"A recipe names it by features.encoder={out / 'encoder'} and features.pooling={card['base']['pooling']}.",
    ]
    title = f"{card['base']['name']}, fine-tuned on {card['corpus']}"
    show.table(Table(title, columns, rows, [*notes, *(f"Beware: {warning}" for warning in card["warnings"])]))


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
