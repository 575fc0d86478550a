"""A report as one HTML file: styles and figures inside, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from sacl.report.document import Drawing, Example, Headline, Part, Section
from sacl.report.drawing import COLUMN, need, svg
from sacl.report.table import Table


@dataclass(frozen=True, slots=True)
class Chapter:
    """The sections of one run, or of the comparison, under a title."""

    title: str
    sections: Sequence[Section]


def page(title: str, chapters: Sequence[Chapter]) -> str:
    """The whole page.

    Args:
        title: its heading.
        chapters: with one of them no chapter headings are shown.

    Raises:
        SaclError: matplotlib or jinja2 is not installed.
    """
    need("matplotlib", "jinja2")
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    # Autoescape is on for every template, whatever its name: what people typed is data.
    environment = Environment(
        loader=FunctionLoader(_template), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    macros: Any = environment.get_template("parts.html").module

    def show(part: Part) -> Any:
        if isinstance(part, Drawing):
            drawn = Markup(svg(part.figure, part.name, part.description))
            wide = part.figure.get_figwidth() > 1.5 * COLUMN
            return macros.drawing({"svg": drawn, "caption": part.caption, "wide": wide})
        if isinstance(part, str):
            return macros.words(part)
        if isinstance(part, Table):
            return macros.table(part, _is_wide(part))
        return macros.headline(part) if isinstance(part, Headline) else macros.example(part)

    parts = [part for chapter in chapters for section in chapter.sections for part in section.parts]
    return environment.get_template("report.html").render(
        title=title,
        chapters=chapters,
        level="h3" if len(chapters) > 1 else "h2",
        show=show,
        style=Markup(_template("report.css")),
        version=version("sacl"),
        has_texts=any(isinstance(part, Example) for part in parts),
    )


def _is_wide(table: Table) -> bool:
    """Whether it needs the page's whole width; one of facts has two columns, whose texts are broken."""
    columns = list(zip(table.columns, *table.rows, strict=True))
    letters = sum(max(len(word) for word in (*head.split(), *cells)) + 2 for head, *cells in columns)
    return len(columns) > 5 or (len(columns) > 2 and letters > 56)


def _template(name: str) -> str:
    return (files("sacl.report") / "templates" / name).read_text(encoding="utf-8")
