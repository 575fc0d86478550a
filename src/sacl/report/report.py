"""A report on one or several runs: their tables as text, or everything as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar

from sacl.errors import SaclError
from sacl.experiment.data import Progress
from sacl.report import render
from sacl.report.compare import Comparison, compare, comparison_table
from sacl.report.document import Drawing, Section
from sacl.report.drawing import need, save
from sacl.report.html import Chapter, page
from sacl.report.robustness import Measured, robustness_tables
from sacl.report.runs import Run
from sacl.report.sections import tables

Format = Literal["html", "md", "latex", "text"]
T = TypeVar("T")


def text_report(runs: Sequence[Run], format: Literal["md", "latex", "text"], robustness: Measured | None = None) -> str:
    """The tables of every run, those of the comparison first, those of the robustness last.

    Raises:
        RunError: several runs that cannot be compared.
    """
    if len(runs) > 1:
        compared = compare(runs)
        # One table follows another without a heading: each says whose it is.
        named = [replace(table, title=f"{c.name}: {table.title}") for c in compared for table in tables(c.run)]
        shown = [comparison_table(compared), *named]
    else:
        shown = list(tables(runs[0]))
    if robustness is not None:
        shown += robustness_tables(robustness, spread=True)
    write = {"md": render.markdown, "latex": render.latex, "text": render.text}[format]
    return "\n".join(write(table) for table in shown)


def chapters(
    runs: Sequence[Run],
    *,
    data: Path | None = None,
    cache: Path | None = None,
    representations: bool = True,
    robustness: Measured | None = None,
    progress: Progress | None = None,
) -> list[Chapter]:
    """All there is to say of the runs. What cannot be read again is left out, and the report says why.

    Args:
        runs: the first is the reference of the comparison.
        data: the data set's folder; by default the one that a run was trained on.
        cache: where encoded texts are kept.
        robustness: gets a section too, see `sacl.report.robustness.read_robustness`.
        representations: False leaves the t-SNE picture out, which needs the vectors and some seconds.
        progress: told of the encoding, and of the runs.

    Raises:
        RunError: several runs that cannot be compared.
        SaclError: matplotlib or jinja2 is not installed.
    """
    from sacl.report.robustness_section import robustness_section
    from sacl.report.sections import comparison_section

    need("matplotlib", "jinja2")
    compared = compare(runs) if len(runs) > 1 else [Comparison(runs[0], runs[0].recipe.name)]
    attacked = [] if robustness is None else [robustness_section(robustness)]
    made = [Chapter("Comparison", [comparison_section(compared), *attacked])] if len(runs) > 1 else []
    for i, c in enumerate(compared):
        if progress is not None:
            progress("report", i, len(compared))
        *found, provenance = _sections(c.run, f"run-{i + 1}", data, cache, representations, progress)
        own = attacked if len(runs) == 1 else []
        made.append(Chapter(c.name, [*found, *own, provenance]))
    if progress is not None:
        progress("report", len(compared), len(compared))
    return made


def html_report(runs: Sequence[Run], made: Sequence[Chapter]) -> str:
    """The page of `chapters`."""
    recipe, corpus = runs[0].recipe, runs[0].record["data"]["corpus"]
    title = f"{len(runs)} runs on {corpus}" if len(runs) > 1 else recipe.description or recipe.name
    return page(title, made)


def save_figures(made: Sequence[Chapter], folder: Path) -> list[Path]:
    """Writes every figure as PDF and as SVG, for a paper.

    Raises:
        SaclError: the folder cannot be written to.
    """
    drawings = [p for chapter in made for section in chapter.sections for p in section.parts if isinstance(p, Drawing)]
    paths = [folder / f"{d.name}{suffix}" for d in drawings for suffix in (".pdf", ".svg")]
    for d in drawings:
        for suffix in (".pdf", ".svg"):
            save(d.figure, folder / f"{d.name}{suffix}")
    return paths


def _sections(
    run: Run, name: str, data: Path | None, cache: Path | None, representations: bool, progress: Progress | None
) -> list[Section]:
    from sacl.report import error_sections as errors
    from sacl.report import sections
    from sacl.report.calibration import calibration_section
    from sacl.report.sources import conversations_of, representations_of

    conversations, no_texts = _if_there(lambda: conversations_of(run, data))
    hidden, no_vectors = None, "it was not asked for"
    if representations:
        hidden, no_vectors = _if_there(lambda: representations_of(run, data, cache, progress))
    return [
        sections.result_section(run, name),
        sections.class_section(run, name),
        sections.learning_section(run, name),
        errors.confusion_section(run, name, conversations, no_texts),
        errors.group_section(run, name, conversations, no_texts),
        calibration_section(run, name),
        errors.cluster_section(run, name, hidden, no_vectors),
        sections.provenance_section(run, name),
    ]


def _if_there(read: Callable[[], T]) -> tuple[T | None, str]:
    """What was read, or None and the reason."""
    try:
        return read(), ""
    except SaclError as error:
        return None, " ".join(f"{error.where}: {error.found}".removeprefix(": ").split())
