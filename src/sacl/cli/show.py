"""How tables, documents and progress reach a person or a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

    from sacl.recognizer import Recognition
    from sacl.report.table import Table

STYLES = {
    "joy": "green", "joyful": "green", "happy": "green", "excited": "green", "peaceful": "cyan", "powerful": "cyan",
    "anger": "red", "angry": "red", "mad": "red", "frustrated": "red", "sadness": "bright_blue", "sad": "bright_blue",
    "fear": "magenta", "scared": "magenta", "disgust": "yellow", "surprise": "bright_cyan",
}  # fmt: skip
"""Colours of emotions at the shell; the name always stands in them."""

UNSURE = 0.5
"""A probability below this is marked: the emotion is then more likely wrong than right."""

_PAGE = 200
"""Turns that are laid out at once: a long conversation appears as it goes, and is not held as text."""


def console(stderr: bool = False, file: TextIO | None = None) -> Console:
    """A console that takes no square brackets in people's texts for markup."""
    from rich.console import Console

    return Console(stderr=stderr, file=file, highlight=False, markup=False, emoji=False)


def document(content: Any) -> None:
    """One JSON document on stdout."""
    print(json.dumps(content, indent=1, ensure_ascii=False))


def documents(contents: Iterable[Any], out: TextIO) -> None:
    """One JSON document, a list, of which no more than one element is held."""
    begun = False
    for content in contents:
        out.write(
            (",\n " if begun else "[\n ") + json.dumps(content, indent=1, ensure_ascii=False).replace("\n", "\n ")
        )
        begun = True
    out.write("\n]\n" if begun else "[]\n")


def markdown(text: str) -> None:
    """Markdown, its lines as wide as the screen."""
    from rich.markdown import Markdown

    screen = console()
    screen.print(Markdown(text))
    screen.print()


def table(content: Table) -> None:
    """A table for a person, notes under it. Names in it may come from a stranger's file."""
    from rich.table import Table as Grid

    screen = console()
    grid = Grid(title=printable(content.title), title_justify="left", title_style="bold")
    for i, column in enumerate(content.columns):
        grid.add_column(printable(column), justify="right" if i else "left", no_wrap=not i)
    for row in content.rows:
        grid.add_row(*map(printable, row))
    screen.print(grid)
    for note in content.notes:
        screen.print(printable(note), style="dim")
    screen.print()


def conversation(id: str, turns: Sequence[Recognition], out: TextIO | None = None) -> bool:
    """A conversation with its emotions: speaker, text, emotion, probability. Whether an emotion was marked unsure."""
    from rich.cells import cell_len
    from rich.table import Table as Grid

    screen = console(file=out)
    speakers = [printable(turn.speaker) for turn in turns]
    chips = [_chip(turn) for turn in turns]
    widths = {
        "speaker": min(max(map(cell_len, ["speaker", *speakers])), screen.width // 5),
        "emotion": min(max(8, *(chip.cell_len for chip in chips)), screen.width // 4),
    }
    for start in range(0, len(turns), _PAGE):
        first = not start
        grid = Grid(
            title=f"conversation {printable(id)}" if first else None,
            title_justify="left",
            title_style="bold",
            show_edge=False,
            show_header=first,
            width=screen.width,
        )
        grid.add_column("speaker", width=widths["speaker"], overflow="fold")
        grid.add_column("text", ratio=1, overflow="fold")
        grid.add_column(" emotion", width=widths["emotion"], overflow="fold")
        grid.add_column("probability", justify="right", width=len("probability"))
        for i in range(start, min(start + _PAGE, len(turns))):
            # What people typed is data: control characters could drive the terminal.
            said = printable(turns[i].text or "")
            grid.add_row(speakers[i], said, chips[i], f"{turns[i].probability:.2f}")
        screen.print(grid)
    screen.print()
    return any(_unsure(turn) for turn in turns)


def _unsure(turn: Recognition) -> bool:
    return turn.probability < UNSURE and turn.emotion in turn.probabilities


def _chip(turn: Recognition) -> Text:
    """The emotion on its colour; with a question mark and no colour behind it where it is not sure."""
    from rich.text import Text

    name = printable(turn.emotion)
    if turn.emotion not in turn.probabilities:  # the threshold left it open
        return Text(f" {name} ", style="italic dim")
    colour = STYLES.get(turn.emotion)
    if _unsure(turn):
        return Text(f" {name}? ", style=colour or "")
    return Text(f" {name} ", style=f"black on {colour}" if colour else "bold")


def printable(text: str) -> str:
    """The text with every control character shown as a blank."""
    return "".join(c if c.isprintable() else " " for c in text)


def shortened(text: str, most: int = 2000) -> str:
    """A text of a line or some; of a longer one, begin and end."""
    return text if len(text) <= most else f"{text[: most // 2]} [...] {text[-most // 2 :]}"


class Bars:
    """Bars on stderr, one a piece of work; nothing where stderr is no terminal.

    Called as bars(what, done, total): bytes where `what` is "read", and of an unknown number where the total is 0.
    """

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}
        self._shown = False

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bars is None:
            return
        if not self._shown:
            self._bars.start()
            self._shown = True
        name, _, detail = what.partition("\t")
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total or None)
        description = f"{name} {detail}".strip()
        self._bars.update(self._tasks[name], completed=done, total=total or None, description=description)

    def hide(self) -> None:
        """Takes them off the screen until there is more to tell, so that others may write to it."""
        if self._bars is not None and self._shown:
            self._bars.stop()
            self._shown = False


@contextmanager
def progress() -> Iterator[Bars]:
    """Bars that are gone when the work is done."""
    if not sys.stderr.isatty():
        yield Bars(None)
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )

    class Count(ProgressColumn):
        def render(self, task: Task) -> Text:
            return (DownloadColumn() if task.description == "read" else MofNCompleteColumn()).render(task)

    columns = (TextColumn("{task.description}"), BarColumn(), Count(), TimeRemainingColumn())
    # Not redirected: what is printed to stdout meanwhile would come out at stderr.
    bars = Bars(
        Progress(*columns, console=console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
    )
    try:
        yield bars
    finally:
        bars.hide()
