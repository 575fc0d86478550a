"""`sacl import` and `sacl data import`: what others released, made into files of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sacl.cli import show

if TYPE_CHECKING:
    from sacl.conversation import LabelSet

Json = Annotated[bool, typer.Option("--json", help="One JSON document in place of tables.")]


def import_checkpoint(
    file: Annotated[
        Path, typer.Argument(help="A released SACL-LSTM checkpoint: a PyTorch state dict, or safetensors.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for model.safetensors.")],
    labels: Annotated[str, typer.Option(help="meld, emorynlp, iemocap or iemocap-4; or the labels: a,b,c.")],
    padding: Annotated[str, typer.Option(help="released (as the authors scored it) or packed.")] = "released",
    json: Json = False,
) -> None:
    """Turn a released checkpoint into a model that `sacl predict` and the rest read. Nothing in it is run."""
    from sacl.errors import ModelError
    from sacl.textfile import kind_of
    from sacl.training.released import import_released
    from sacl.training.trained import MODEL_FILE

    if padding not in ("released", "packed"):
        raise ModelError(f"unknown padding {padding!r}", where="--padding", remedy="Use released or packed")
    if kind_of(out / MODEL_FILE) != "nothing":
        raise ModelError("there is a model already", where=str(out), remedy="Name another folder")
    model = import_released(file, _labels(labels), padding=padding)  # type: ignore[arg-type]
    _make(out)
    model.save(out / MODEL_FILE)
    about = {
        "folder": str(out),
        "labels": list(model.labels),
        "input_size": model.input_size,
        **{key: getattr(model.settings, key) for key in ("hidden_size", "layers", "bidirectional", "padding")},
    }
    if json:
        show.document(about)
        return
    print(
        f"{out / MODEL_FILE}: {model.settings.layers} x {model.settings.hidden_size} hidden, reads {model.input_size} "
        f"numbers an utterance, {len(model.labels)} emotions ({', '.join(model.labels)}), padding {padding}"
    )


def import_pickle(
    pickle: Annotated[
        Path, typer.Argument(metavar="PICKLE", help="Texts, features or modalities of a whole data set.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    dataset: Annotated[
        str | None,
        typer.Option("--as", help="The data set, where the file does not tell; iemocap-4 drops two classes."),
    ] = None,
    layer: Annotated[int, typer.Option(min=1, max=4, help="Of a file of features; 1 is the last.")] = 1,
    labels: Annotated[str, typer.Option(help="emotion, or sentiment (MELD and EmoryNLP).")] = "emotion",
    json: Json = False,
) -> None:
    """Convert a pickle in circulation into JSONL and safetensors, once. Nothing in it is run.

    Train on it with: sacl train RECIPE --data DIR --features DIR/features
    """
    from sacl.cli.data import _counts, _show_counts
    from sacl.datasets.released import read_released

    released = read_released(pickle, dataset, labels=labels, layer=layer)  # type: ignore[arg-type]
    source = {**released.source, "file": pickle.name, "sha256 of the file": _sha256(pickle)}
    widths = {name: array.shape[1] for name, array in released.vectors.items()}
    _write_folder(out, released.corpus, released.vectors, labels, source)
    counts = _counts(released.corpus)
    if json:
        about = {"folder": str(out), "corpus": released.corpus.name, "modalities": widths, "source": source}
        show.document({**about, "counts": counts})
        return
    _show_counts(released.corpus.name, counts)
    print(f"{out}: {released.source['layout']}, validation split {released.source['validation']}")
    if widths:
        print(f"{out / 'features'}: " + ", ".join(f"{name} {width}" for name, width in widths.items()))


def _write_folder(out: Path, corpus: Any, vectors: Any, labels: str, source: dict[str, Any]) -> None:
    """The converted corpus, beside and then moved: the folder is whole or not there."""
    from sacl.aside import folder_beside, reason, remedy
    from sacl.datasets.imported import read_imported, write_imported
    from sacl.errors import DataError
    from sacl.features.store import write_store
    from sacl.textfile import kind_of

    out = out.absolute()
    try:
        if kind_of(out) == "file" or (kind_of(out) == "folder" and any(out.iterdir())):
            raise DataError("it is there and not empty", where=str(out), remedy="Name a new folder")
        with folder_beside(out) as aside:
            write_imported(aside, corpus, labels, source)
            if vectors:
                # What is read back is what the vectors will be checked against.
                write_store(
                    aside / "features",
                    read_imported(aside, corpus.name, labels),
                    vectors,
                    {"name": f"vectors of {source['file']}", "released": source},
                )
            aside.replace(out)
    except OSError as error:
        raise DataError(f"it cannot be written ({reason(error)})", where=str(out), remedy=remedy(error)) from error


def _labels(given: str) -> LabelSet:
    """A data set's labels, or those that are listed."""
    from sacl.conversation import LabelSet
    from sacl.datasets import DATASETS
    from sacl.errors import DataError

    if given in DATASETS:
        return DATASETS[given].labels
    names = tuple(name.strip() for name in given.split(","))
    if len(names) < 2 or not all(names):
        known = ", ".join(name for name in DATASETS if name != "sample")
        raise DataError(
            f"{given!r:.60} names no labels", where="--labels", remedy=f"Use one of {known}, or list them: a,b,c"
        )
    return LabelSet(names)


def _make(folder: Path) -> None:
    from sacl.errors import DataError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"it cannot be made ({error.strerror or error})", where=str(folder), remedy="Name another folder"
        ) from None


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
