"""How every figure of this project looks, and how it becomes an SVG or a PDF.

Matplotlib's `Figure` is used without `pyplot`: there is no window, no global state, and nothing to close.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sacl.aside import reason, remedy, whole_file
from sacl.errors import SaclError

COLUMN, PAGE = 3.35, 6.9
"""Width of a figure in a two-column paper, inches: one column, both."""
INK, RULE, PAPER, BLUE, ORANGE = "#1b1b1b", "#c9c9c9", "#fdfdfd", "#2f6cb3", "#c8541b"
HEAT = "#3b73b9"
"""Of a matrix; the others follow the page's colours in an inline SVG, in dark mode too, and this one does not."""
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#dd9a00", "#56b4e9", "#cc79a7", "#858585")
"""Okabe and Ito's, yellow and black left out for a grey: told apart with every common colour blindness."""
_VARIABLES = {
    INK: "currentColor",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    BLUE: "var(--blue)",
    ORANGE: "var(--orange)",
}
_VARIABLES |= {color: f"var(--hue-{i})" for i, color in enumerate(PALETTE)}
MARKERS = "os^DvP*XpdH"
DASHES = (0, (3, 1.5))
SUFFIXES = (".pdf", ".svg", ".png")
"""Of the files that a figure is written to."""
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that text is measured alike everywhere
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "text.parse_math": False,  # a label may hold dollar signs
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "svg.fonttype": "none",  # text stays text: it can be read, selected, and set in the page's font
    "svg.hashsalt": "sacl",
    "pdf.fonttype": 42,
}


@contextmanager
def style() -> Iterator[None]:
    """Inside, matplotlib draws in the house style.

    Raises:
        SaclError: matplotlib is not installed.
    """
    need("matplotlib")
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # A page's own font has the letters of a label that matplotlib's lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def need(*modules: str, where: str = "sacl report") -> None:
    """Raises the SaclError that tells how to install the extra `report` where one of these is missing."""
    from importlib.util import find_spec

    if missing := [m for m in modules if find_spec(m) is None]:
        raise SaclError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed, and this needs it",
            where=where,
            remedy="Install it with: pip install 'sacl[report]'",
        )


def axes(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    """A transparent figure, inches, and its axes (an array of them where there are several)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_facecolor("none")
    made = figure.subplots(rows, columns)
    for one in figure.axes:
        one.patch.set_facecolor("none")
    return figure, made


def svg(figure: Any, name: str, description: str) -> str:
    """The figure as one `<svg>` element for a page.

    Args:
        figure: a matplotlib figure.
        name: its id; every id inside begins with it, so that many figures share a page.
        description: what a reader who cannot see it is told.
    """
    stream = io.StringIO()
    with style():
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    label = html.escape(description, quote=True)
    return text.replace("<svg ", f'<svg id="{name}" role="img" aria-label="{label}" ', 1)


def save(figure: Any, path: Path) -> None:
    """Writes the figure by its suffix, one of `SUFFIXES`, to the side and then moved; the same bytes every time.

    Raises:
        SaclError: it cannot be written.
    """
    import matplotlib

    stream = io.BytesIO()
    undated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {"Software": None}}[path.suffix]
    # Pixels need a ground; what is drawn in lines has the page's.
    ground = {"facecolor": "white", "dpi": 300} if path.suffix == ".png" else {}
    with style(), matplotlib.rc_context({"svg.fonttype": "path"}):  # no page lends its fonts to a file
        figure.savefig(stream, format=path.suffix[1:], metadata=undated, **ground)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(stream.getvalue())
    except OSError as error:
        raise SaclError(f"it cannot be written ({reason(error)})", where=str(path), remedy=remedy(error)) from error
