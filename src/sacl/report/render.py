"""A table as Markdown, as LaTeX, as plain text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sacl.report.table import Table

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "\"": "''", "±": r"$\pm$", "−": r"$-$", "–": "--", "…": r"\ldots{}",
}  # fmt: skip
WIDE = 6
"""Columns above which a LaTeX table spans the page, in small type and with broken heads."""
_MARKDOWN = {sign: f"\\{sign}" for sign in "\\`*_{}[]<>#|~"}


def markdown(table: Table) -> str:
    """A pipe table under a heading, the notes below it.

    >>> print(markdown(Table("F1", ["class", "F1"], [["joy", "64.98"]])))
    ### F1
    <BLANKLINE>
    | class | F1 |
    |---|---:|
    | joy | 64.98 |
    <BLANKLINE>
    """
    lines = [f"### {_escaped(table.title, _MARKDOWN)}", ""]
    lines += [_pipes([_escaped(cell, _MARKDOWN) for cell in table.columns])]
    lines += ["|---" + "|---:" * (len(table.columns) - 1) + "|"]
    lines += [_pipes([_escaped(cell, _MARKDOWN) for cell in row]) for row in table.rows]
    lines += [line for note in table.notes for line in ("", _escaped(note, _MARKDOWN))]
    return "\n".join(lines) + "\n"


def latex(table: Table, label: str = "") -> str:
    """A `table` float with booktabs rules: the notes stand under it, the title is its caption.

    The document needs `\\usepackage{booktabs}`, and a font encoding that has the names' letters.
    """
    wide = len(table.columns) > WIDE
    float_name = "table*" if wide else "table"
    lines = [
        rf"\begin{{{float_name}}}[t]",
        r"\centering",
        rf"\caption{{{_escaped(table.title, _LATEX)}}}",
        *([rf"\label{{{label}}}"] if label else []),
        *([r"\footnotesize\setlength{\tabcolsep}{3pt}"] if wide else []),
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        " & ".join(_heads(table.columns, wide)) + r" \\",
        r"\midrule",
        *_latex_rows(table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if table.notes:
        notes = r" \\ ".join(_escaped(note, _LATEX) for note in table.notes)
        lines += ["", r"\smallskip", rf"\begin{{minipage}}{{\linewidth}}\footnotesize {notes}\end{{minipage}}"]
    return "\n".join([*lines, rf"\end{{{float_name}}}"]) + "\n"


def text(table: Table) -> str:
    """Columns of one width each, names to the left and numbers to the right; no line is cut."""
    widths = [max(len(row[i]) for row in (table.columns, *table.rows)) for i in range(len(table.columns))]
    rule = "  ".join("-" * width for width in widths)
    lines = [table.title, "", _aligned(table.columns, widths), rule, *(_aligned(row, widths) for row in table.rows)]
    if table.notes:
        lines += ["", *table.notes]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _heads(columns: Sequence[str], wide: bool) -> list[str]:
    name, *heads = [_escaped(cell, _LATEX) for cell in columns]
    if not wide:
        return [name, *heads]
    broken = (head.replace(" (", r" \\ (") for head in heads)
    return [name, *(rf"\shortstack[r]{{{head}}}" if r" \\ (" in head else head for head in broken)]


def _latex_rows(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """With a rule above the mean and above what was published, and a minus before a number where a hyphen is."""
    above = ""
    for name, *numbers in rows:
        summary = "published" if name.startswith("published") else "mean" if name == "mean" else ""
        if summary and above and summary != above:
            yield r"\midrule"
        above = summary or "row"
        signed = [re.sub(r"(?<![\w)-])-(?=\d)", "−", number) for number in numbers]
        yield " & ".join(_escaped(cell, _LATEX) for cell in (name, *signed)) + r" \\"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    )


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str, signs: dict[str, str]) -> str:
    """On one line, with every sign that the format would read as its own replaced."""
    return "".join(signs.get(c, c) for c in " ".join(text.split()))
