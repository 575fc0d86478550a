"""The code on a page of the documentation runs, from its top to its end, and shows what the page shows.

- `python` blocks of a page share one namespace; an `output` block under one is what it prints.
- `console` blocks: what stands behind `$` runs in bash, the lines under it are what it shows. `sacl serve` runs
  until the page ends.
- A block with a caption is a file of that name.
- `<!-- typed: COMMAND -->` makes what a reader has already.
- `<!-- not run: REASON -->` above a block: it is only parsed, the options of `sacl` against the command itself.

In what is shown, `...` stands for anything, runs of blanks and of rules are alike whatever their length, and a decimal
may differ as much as another processor, or another version of a library, makes it differ.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = {str(path.relative_to(ROOT)): path for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]}
TYPED = re.compile(r"^<!-- typed: (.+) -->$", re.MULTILINE)
NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->\s*$")
SHOWN_ONLY = {
    "text",
    "yaml",
    "json",
    "nginx",
    "bibtex",
    "{toctree}",
    "{eval-rst}",
    "{image}",
    "{include}",
    "{literalinclude}",
    "{note}",
    "{warning}",
}
DECIMAL = re.compile(r"(?<![\w.])([+-]?\d+\.\d+)(?![\w.])")
TOLERANCE = {"probability": 0.02, "percent": 4.0}
"""How far a decimal of at most 1, and a larger one, may be off."""


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text, the file it is, and why it is not run."""

    line: int
    language: str
    text: str
    file: str
    not_run: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []
    for token in MarkdownIt().parse(text):
        if token.type == "html_block":
            found += [
                Block(token.map[0] + 1, "console", f"$ {typed}\n", "", "") for typed in TYPED.findall(token.content)
            ]
        if token.type == "code_block":
            found.append(Block(token.map[0] + 1, "(indented)", token.content, "", ""))
        if token.type != "fence":
            continue
        language, _, argument = token.info.strip().partition(" ")
        content, file = token.content, ""
        if language == "{code-block}":
            language = argument
            while content.startswith(":"):
                option, _, content = content.partition("\n")
                file = option.removeprefix(":caption:").strip() if option.startswith(":caption:") else file
        above = NOT_RUN.search("\n".join(lines[: token.map[0]]).rstrip())
        found.append(Block(token.map[0] + 2, language, content, file, above[1] if above else ""))
    return found


def agrees(shown: str, found: str) -> bool:
    """Whether what was found is what the page shows; see the top of this file."""

    def normal(text: str) -> str:
        text = re.sub(r"[━─]+", "━", text)
        return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())

    shown, found = normal(shown), normal(found)
    numbers = [float(n) for n in DECIMAL.findall(shown)]
    pattern = re.escape(DECIMAL.sub("<number>", shown)).replace("<number>", r"([+-]?\d+\.\d+)")
    match = re.fullmatch(pattern.replace(r"\.\.\.", ".*"), found, re.DOTALL)
    return match is not None and all(
        abs(float(theirs) - ours) <= TOLERANCE["probability" if abs(ours) <= 1 else "percent"]
        for ours, theirs in zip(numbers, match.groups(), strict=True)
    )


def commands(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, and what is shown under it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *shown = part.splitlines(keepends=True)
        while command.rstrip("\n").endswith("\\"):
            command += shown.pop(0)
        yield command.strip(), "".join(shown)


def check_options(command: str) -> None:
    """That `sacl` has the verb and the options of a command that is not run."""
    from sacl.cli import app

    words = shlex.split(command.replace("\\\n", " "), comments=True)
    if words[:1] != ["sacl"]:
        return
    verb: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(verb, "commands") and rest and rest[0] in verb.commands:
        verb, rest = verb.commands[rest[0]], rest[1:]
    assert not hasattr(verb, "commands"), f"{command!r} names no verb"
    verb.make_parser(type(verb).context_class(verb)).parse_args(rest)


class Reader:
    """Somebody who types in what a page shows, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        self.folder, self.names, self.printed = folder, {"__name__": "__main__"}, ""
        self.background: list[subprocess.Popen[bytes]] = []
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": path, "COLUMNS": "80", "TERM": "dumb"}

    def type(self, command: str) -> str:
        """What it shows on a terminal of 80 columns."""
        if command.startswith("sacl serve"):
            return self.start(f"{command} --port {self.port}")
        command = command.replace("8000", self.port)
        ours, theirs = os.openpty()
        child = subprocess.Popen(
            ["bash", "-ec", command],
            cwd=self.folder,
            env=self.environment,
            stdout=theirs,
            stderr=theirs,
            stdin=subprocess.DEVNULL,
        )
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal says that nobody is there any more
            while part := os.read(ours, 65536):
                shown += part
        os.close(ours)
        text = shown.decode().replace("\r\n", "\n").replace(self.port, "8000")
        assert child.wait() == 0, f"$ {command}\n{text}"
        return text

    def start(self, command: str) -> str:
        child = subprocess.Popen(["bash", "-ec", f"exec {command}"], cwd=self.folder, env=self.environment)
        self.background.append(child)
        for _ in range(2_000):
            assert child.poll() is None, f"{command} has ended"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready"):
                return ""
            time.sleep(0.1)
        raise AssertionError(f"{command} does not get ready")

    def run(self, page: str, block: Block) -> None:
        source = "\n" * (block.line - 1) + block.text.replace("8000", self.port)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(source, page, "exec"), self.names)
        self.printed = out.getvalue()

    def leave(self) -> None:
        for child in self.background:
            child.send_signal(signal.SIGTERM)
            assert child.wait(60) == 0


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.chdir(tmp_path)
    somebody = Reader(tmp_path)
    yield somebody
    somebody.leave()


@pytest.mark.slow
@pytest.mark.parametrize("page", [name for name, path in PAGES.items() if blocks(path)])
def test_what_a_page_shows_is_what_happens(page: str, reader: Reader) -> None:
    for block in blocks(PAGES[page]):
        here = f"{page}, line {block.line}"
        if block.file:
            (reader.folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python" and block.not_run:
            compile(block.text, here, "exec")
        elif block.language == "python":
            reader.run(page, block)
        elif block.language == "output":
            assert agrees(block.text, reader.printed), f"{here} shows\n{block.text}\nnot\n{reader.printed}"
        elif block.language == "console":
            for command, shown in commands(block.text):
                if block.not_run:
                    check_options(command)
                    continue
                if command.startswith("curl") and shutil.which("curl") is None and "CI" not in os.environ:
                    pytest.skip("curl is not installed")
                found = reader.type(command)
                assert not shown or agrees(shown, found), f"{here}: {command} shows\n{found}\nnot\n{shown}"
        else:
            assert block.language in SHOWN_ONLY, f"{here}: say how a block of {block.language!r} is to be tested"


def test_what_is_shown_has_to_agree() -> None:
    assert agrees("joy 0.58\n...\n│ seed │", "joy  0.57\nand more\nand more\n│   seed │\n")
    assert not agrees("joy 0.58", "joy 0.68")
    assert not agrees("joy 0.58", "fear 0.58")
    assert not agrees("W-F1 52.10", "W-F1 45.00")
    assert not agrees("a\nb", "a\nc\nb")


def test_an_option_that_the_command_lacks_is_found() -> None:
    check_options("sacl train meld --seeds 0-4")
    with pytest.raises(Exception, match="--sedes"):
        check_options("sacl train meld --sedes 0-4")
    with pytest.raises(AssertionError, match="names no verb"):
        check_options("sacl fit meld")
