"""A server of its own with the page, a browser, and visitors that watch what their page does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 30_000
"""Milliseconds, on a machine that has much else to do."""


class Server(NamedTuple):
    address: str
    folder: Path
    scratch: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A process of its own: what Gradio leaves open is no affair of the tests."""
    folder, scratch = tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("scratch")
    pytest.importorskip("gradio", reason="gradio is not installed (extra serve)")
    script = Path(__file__).with_name("run_server.py")
    places = {"GRADIO_TEMP_DIR": str(scratch / "gradio"), "TMPDIR": str(scratch)}
    path = os.pathsep.join([str(Path(__file__).parents[3] / "src"), os.environ.get("PYTHONPATH", "")])
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | places | {"PYTHONPATH": path},
            text=True,
        )
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            assert port, (folder / "log").read_text()
            yield Server(f"http://127.0.0.1:{port}", folder, scratch)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to drive: install Debian's package chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as started:
        # Debian's Chromium has no sandbox for root, who runs tests in containers.
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Visit:
    """A page, and what must not happen on any."""

    def __init__(self, browser: Any, address: str, **settings: Any) -> None:
        self.context = browser.new_context(**settings)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.foreign, self.faults = list[str](), list[str]()
        self.page.on("request", lambda r: self.foreign.append(r.url) if _is_foreign(r.url, address) else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda m: self.faults.append(m.text) if m.type in ("error", "warning") else None)
        self.page.goto(address)
        self.page.get_by_role("heading", name="How did they feel?").wait_for()

    def expect(self, locator: Any) -> Any:
        """Playwright's assertions, which wait."""
        from playwright.sync_api import expect

        return expect(locator)

    def paste(self, text: str) -> None:
        self.page.get_by_placeholder("Ann: You came!").fill(text)
        self.page.get_by_role("button", name="Read the emotions").click()

    def open(self, name: str, content: bytes) -> None:
        self.page.get_by_label("Open a file").set_input_files({"name": name, "mimeType": "", "buffer": content})

    def say(self, speaker: str, text: str) -> None:
        self.page.get_by_label("Speaker").fill(speaker)
        self.page.get_by_label("What was said").fill(text)
        self.page.get_by_label("What was said").press("Enter")

    def turn(self, position: int) -> Any:
        return self.page.locator(f'[data-key="turn-{position}"]:visible')

    def turns(self, number: int) -> list[str]:
        """The texts of the turns that are shown, once there are so many."""
        said = self.page.locator(".turn .said:visible")
        self.expect(said).to_have_count(number)
        return said.all_inner_texts()

    def alert(self) -> str:
        alert = self.page.get_by_role("alert").filter(visible=True)
        alert.wait_for()
        return alert.inner_text()


def _is_foreign(url: str, address: str) -> bool:
    return urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != urlsplit(address).netloc


@pytest.fixture
def visit(browser: Any, server: Server) -> Iterator[Any]:
    """visit(viewport=...): another visitor. Nothing may be asked of another machine, and nothing may fail."""
    visits = list[Visit]()

    def begun(**settings: Any) -> Visit:
        visits.append(Visit(browser, server.address, **settings))
        return visits[-1]

    yield begun
    for one in visits:
        title = one.page.title()
        one.context.close()
        assert (one.foreign, one.faults) == ([], [])
        assert title == "sacl: emotions in conversations"
