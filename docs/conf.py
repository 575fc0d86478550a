"""The site: what is read, how it looks, and what Sphinx does not do by itself.

Generated parts (`generated.py`), equations as MathML, docstrings in which an equation is an indented block, and figures
that are not broken in two.
Build it with `make docs`; nothing is fetched, neither to build it nor to read it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

sys.path.insert(0, str(Path(__file__).parent))

import generated

import sacl

project = "sacl"
author = "The sacl contributors"
copyright = f"2026, {author}"
version = release = sacl.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
html_math_renderer = "mathml"

default_role = "py:obj"  # a name in single backticks, in docstrings: a link where it is documented, else code
autodoc_default_options = {"members": True, "member-order": "bysource", "exclude-members": "model_config"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 90
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"sacl {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#1f5fa8", "color-brand-content": "#1f5fa8"},
    "dark_css_variables": {"color-brand-primary": "#8ab8f0", "color-brand-content": "#8ab8f0"},
}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="equation" tabindex="0">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def _house_style(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """What house style leaves to the reader's eye: an equation is an indented block, errors may share a line."""
    text = "\n".join(lines)
    lines[:] = re.sub(r"(?<=\.) (?=[A-Z]\w+Error: )", "\n    ", text).splitlines()  # one error after another
    marked: list[str] = []
    for i, line in enumerate(lines):
        before = next((earlier for earlier in reversed(lines[:i]) if earlier.strip()), "")
        starts = line.startswith("    ") and i > 0 and not lines[i - 1].strip() and before[:1].strip()
        if starts and not before.startswith((":", "-", ">>>")) and not re.match(r"\w[\w ]*:$", before):
            marked += ["::", ""]
        marked.append(line)
    lines[:] = marked


def _figures_whole(app: Any, doctree: nodes.document) -> None:
    """In a table `58.24 ± 0.48` and `67.51 / 66.45` stay on one line."""
    for cell in doctree.findall(nodes.entry):
        for text in list(cell.findall(nodes.Text)):
            whole = re.sub(r"(?<=\d) ([±/]) (?=[\d–])", "\N{NO-BREAK SPACE}\\1\N{NO-BREAK SPACE}", str(text))
            text.parent.replace(text, nodes.Text(whole))


def setup(app: Any) -> None:
    """Tells Sphinx of them."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.connect("autodoc-process-docstring", _house_style, priority=400)  # before napoleon
    app.connect("doctree-read", _figures_whole)
    app.connect("source-read", lambda app, page, source: source.__setitem__(0, generated.filled(source[0])))
