"""The results on the page: what one can do with them, whatever way the conversation came in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import gradio as gr

from sacl.errors import SaclError
from sacl.recognizer import Influence
from sacl.serve.page.results import fault, results
from sacl.serve.page.view import Talk, View, as_csv, as_json, sentence

Influences = Callable[[View, int], Awaitable[list[Influence]]]

SAVE = """(text, name) => {
  if (!text) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}"""
"""A download is put together in the browser: a file of Gradio's would be one on the server's disk."""

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""Of every event: no veil over what is shown, and no way to call it as an API."""


def script(name: str) -> str:
    """A script of this package."""
    return (files("sacl.serve.page") / name).read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Panel:
    """Components that an event fills.

    Args:
        view: the `View`, or None.
        status: what goes on, or what is wrong.
        shown: the results.
        threshold: what is less probable is uncertain.
    """

    view: gr.State
    status: gr.HTML
    shown: gr.HTML
    threshold: gr.Slider

    @property
    def outputs(self) -> list[gr.blocks.Block]:
        """What an event gives: view, status, results."""
        return [self.view, self.status, self.shown]


def panel(influences: Influences, name: str, forget: Callable[[View | None], None] | None = None) -> Panel:
    """A panel, and everything that is done within it.

    Args:
        influences: what moved the turn at a position.
        name: of what is downloaded, without its suffix.
        forget: called with the view of a visitor who is gone.
    """
    view = gr.State(None, delete_callback=forget)
    status = gr.HTML("", apply_default_css=False, js_on_load=script("status.js"), elem_classes="status")
    with gr.Row(elem_classes="tools"):
        threshold = gr.Slider(
            0,
            1,
            0.5,
            step=0.05,
            label="Uncertain below",
            info="A turn whose emotion is less probable is marked with a question mark.",
            scale=3,
            min_width=300,
        )
        tables = gr.Button("Download CSV", min_width=130), gr.Button("Download JSON", min_width=130)
    shown = gr.HTML("", apply_default_css=False, js_on_load=script("results.js"))
    made = Panel(view, status, shown, threshold)

    async def pressed(event: gr.EventData, view: View | None, threshold: float) -> tuple[View | None, str, str]:
        try:
            if view is None:
                return None, fault("These results are forgotten. Read the conversation again."), ""
            act, at = str(event._data.get("act")), int(event._data.get("at"))
            new, focus = await _after(view, act, at, influences)
            return new, "", results(new, threshold, focus=focus)
        except SaclError as error:
            return view, fault(sentence(error)), results(view, threshold) if view else ""
        except Exception as error:
            return view, unexpected(error), results(view, threshold) if view else ""

    shown.click(pressed, [view, threshold], made.outputs, trigger_mode="always_last", **QUIET)

    def rated(view: View | None, threshold: float) -> str:
        return results(view, threshold) if view else ""

    threshold.change(rated, [view, threshold], shown, trigger_mode="always_last", **QUIET)
    _download(tables[0], made, f"{name}.csv", as_csv)
    _download(tables[1], made, f"{name}.json", as_json)
    return made


def _download(button: gr.Button, made: Panel, file: str, write: Callable[[Sequence[Talk], float | None], str]) -> None:
    """The button saves what `write` makes of all that was read."""
    content, name = gr.Textbox(visible=False), gr.Textbox(file, visible=False)

    def written(view: View | None, threshold: float) -> str:
        return write(view.talks, threshold or None) if view else ""

    asked = button.click(written, [made.view, made.threshold], content, **QUIET)
    asked.then(None, [content, name], None, js=SAVE, **QUIET)


async def _after(view: View, act: str, at: int, influences: Influences) -> tuple[View, str]:
    """The view after something was pressed, and what is focused then."""
    if act == "page":
        return view.to_page(at), "turns"
    if act == "talk":
        return view.to_talk(at), ""
    at = min(max(at, 0), len(view.talk.turns) - 1)
    if act == "go":
        return view.to_page(view.page_of(at)), f"turn-{at}"
    if at == view.chosen:
        return view.closed(), ""
    return view.opened(at, await influences(view, at)), ""


def unexpected(error: Exception) -> str:
    """What is told of an error that is no fault of the visitor's; the log names its kind, not what was typed."""
    logging.getLogger("sacl").error("the page failed: %s", type(error).__name__)
    return fault("Something went wrong here, which is no fault of yours. Try again.")
