"""How tables, documents and progress reach a person or a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from sacl.recognizer import Recognition
    from sacl.report.table import Table

STYLES = {
    "joy": "green", "joyful": "green", "happy": "green", "excited": "green", "peaceful": "cyan", "powerful": "cyan",
    "anger": "red", "angry": "red", "mad": "red", "frustrated": "red", "sadness": "blue", "sad": "blue",
    "fear": "magenta", "scared": "magenta", "disgust": "yellow", "surprise": "bright_cyan",
}  # fmt: skip
"""Colours of emotions at the shell; the name always stands beside them."""


def console(stderr: bool = False) -> Console:
    """A console that takes no square brackets in people's texts for markup."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def document(content: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(content, indent=1, ensure_ascii=False))


def markdown(text: str) -> None:
    """Markdown, its lines as wide as the screen."""
    from rich.markdown import Markdown

    screen = console()
    screen.print(Markdown(text))
    screen.print()


def table(content: Table) -> None:
    """A table for a person, notes under it."""
    from rich.table import Table as Grid

    screen = console()
    grid = Grid(title=content.title, title_justify="left", title_style="bold")
    for i, column in enumerate(content.columns):
        grid.add_column(column, justify="right" if i else "left", no_wrap=not i)
    for row in content.rows:
        grid.add_row(*row)
    screen.print(grid)
    for note in content.notes:
        screen.print(note, style="dim")
    screen.print()


def conversation(id: str, turns: Sequence[Recognition]) -> None:
    """A conversation with its emotions: speaker, text, emotion, probability."""
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(title=f"conversation {printable(id)}", title_justify="left", title_style="bold", show_edge=False)
    for name, options in (
        ("speaker", {}),
        ("text", {"ratio": 1, "overflow": "fold"}),
        ("emotion", {}),
        ("probability", {"justify": "right"}),
    ):
        grid.add_column(name, **options)
    for turn in turns:
        emotion = Text(turn.emotion, style=STYLES.get(turn.emotion, ""))
        # What people typed is data: control characters could drive the terminal.
        grid.add_row(printable(turn.speaker), printable(turn.text or ""), emotion, f"{turn.probability:.2f}")
    screen = console()
    screen.print(grid)
    screen.print()


def printable(text: str) -> str:
    """The text with every control character shown as a blank."""
    return "".join(c if c.isprintable() else " " for c in text)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Bars on stderr, one a piece of work, gone when the work is done; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            name, _, detail = what.partition("\t")
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total, description=f"{name} {detail}".strip())

        yield report
