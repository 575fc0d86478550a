"""`sacl report`, `sacl compare` and `sacl score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sacl.cli import show
from sacl.cli.data import Cache, DataFolder, Json

Runs = Annotated[list[Path], typer.Argument(metavar="RUN ...", help="Run directories.")]
Reference = Annotated[
    str | None,
    typer.Option(metavar="RUN", help="The one that the others are compared with, or its name; else the first."),
]


def report(
    runs: Runs,
    reference: Reference = None,
    format: Annotated[str, typer.Option(help="html, md, latex or text.")] = "html",
    out: Annotated[
        Path | None, typer.Option(help="File to write; by default RUN/report.html, and stdout for the other formats.")
    ] = None,
    robustness: Annotated[
        Path | None, typer.Option(help="What `sacl robustness RUN ... --out` wrote: its figure and its tables too.")
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder for every figure as PDF and SVG.")] = None,
    tsne: Annotated[
        bool, typer.Option("--tsne/--no-tsne", help="The picture of the representations, which needs the vectors.")
    ] = True,
    data: DataFolder = None,
    cache: Cache = None,
) -> None:
    """Report on runs: tables as text, or one HTML file with figures that opens without a network.

    The HTML file quotes utterances of the test split; it is for this machine unless the data may be passed on.
    """
    from sacl.errors import RunError
    from sacl.experiment.run import write_aside
    from sacl.report import report as reports
    from sacl.report.drawing import need
    from sacl.report.robustness import read_robustness, require_measured
    from sacl.report.runs import read_run

    if format not in ("html", "md", "latex", "text"):
        raise RunError(f"unknown format {format!r}", where="--format", remedy="Use html, md, latex or text")
    if format == "html" or figures is not None:
        need("matplotlib", "jinja2")
    if format == "html" and out is None:
        if len(runs) > 1:
            raise RunError(
                "several runs have no folder in common", where="sacl report", remedy="Name a file with --out"
            )
        out = runs[0] / "report.html"
    read = [read_run(run) for run in referred(runs, reference)]
    measured = None
    if robustness is not None:
        measured = read_robustness(robustness)
        require_measured(measured, read, robustness)
    made = []
    if format == "html" or figures is not None:
        with show.progress() as progress:
            made = reports.chapters(
                read, data=data, cache=cache, representations=tsne, robustness=measured, progress=progress
            )
    if figures is not None:
        reports.save_figures(made, figures)
    if format == "html":
        text = reports.html_report(read, made)
    else:
        text = reports.text_report(read, format, measured)  # type: ignore[arg-type]
    if out is None:
        print(text, end="")
    else:
        write_aside(out, text)
        print(out)


def compare(runs: Runs, json: Json = False, reference: Reference = None) -> None:
    """Compare runs on the test split: differences to the reference, over seeds and over test conversations."""
    from sacl.report import compare as comparing
    from sacl.report.runs import read_run
    from sacl.report.table import Table

    compared = comparing.compare([read_run(run) for run in referred(runs, reference)])
    if json:
        show.document(comparing.comparison_record(compared))
        return
    whole = comparing.comparison_table(compared)
    # In two parts, since one table of ten columns is cut in a terminal of eighty.
    figures, differences = (
        [[row[0], *row[part]] for row in (whole.columns, *whole.rows)] for part in (slice(1, 6), slice(6, None))
    )
    show.table(Table(whole.title, figures[0], figures[1:]))
    show.table(Table("differences of W-F1", differences[0], [r for r in differences[1:] if r[1]], whole.notes))


def referred(runs: list[Path], reference: str | None) -> list[Path]:
    """The runs with the reference first.

    Raises:
        RunError: it is none of them, or is a name that several have.
    """
    from sacl.errors import RunError

    if reference is None:
        return runs
    found = [run for run in runs if run.resolve() == Path(reference).resolve()]
    found = found or [run for run in runs if run.resolve().name == reference]
    if len(found) != 1:
        raise RunError(
            f"{reference!r} is {'several' if found else 'none'} of the runs",
            where="--reference",
            remedy=f"Name one of {', '.join(map(str, runs))}",
        )
    return [*found, *(run for run in runs if run is not found[0])]


def score(
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS.jsonl", help="One JSON line an utterance.")],
    corpus: Annotated[str, typer.Option("--data", metavar="NAME|PATH", help="The data set that they speak of.")],
    split: Annotated[
        str | None, typer.Option(help="train, valid or test; by default test, or all of a single file.")
    ] = None,
    map: Annotated[
        Path | None, typer.Option(help="JSON or YAML, {theirs: ours}: what each of their emotions is called here.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Folder of a known data set; else SACL_DATA, else what was fetched.")
    ] = None,
    json: Json = False,
) -> None:
    """Score somebody else's predictions: lines {"conversation": ..., "utterance": ..., "predicted": ...}."""
    from sacl.datasets import load_corpus
    from sacl.report import scoring

    mapping = None if map is None else scoring.read_map(map)
    truth = load_corpus(corpus, folder)
    if split is None:
        split = "all" if "all" in truth.splits else "test"
    scored: Any = scoring.score_predictions(predictions, truth, split, mapping)
    if json:
        show.document(scoring.score_record(scored))
    else:
        for table in scoring.score_tables(scored):
            show.table(table)
