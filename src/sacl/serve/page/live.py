"""A conversation that goes on: typed turn by turn, and read without seeing the future."""

from __future__ import annotations

from typing import Any

import gradio as gr

from sacl.errors import SaclError
from sacl.recognizer import Influence
from sacl.serve.page.panel import QUIET, panel, unexpected
from sacl.serve.page.results import fault, note, results
from sacl.serve.page.view import View, added, sentence
from sacl.serve.service import Service


def live_chat(service: Service) -> None:
    """Builds this part of the page."""

    def forget(view: View | None) -> None:
        if view is not None and view.session is not None:
            service.forget_session(view.session)

    with gr.Row(elem_classes="entry"):
        speaker = gr.Textbox(label="Speaker", value="Ann", max_lines=1, scale=1, min_width=120)
        text = gr.Textbox(label="What was said", placeholder="Type, and press Enter", max_lines=1, scale=4)
        send = gr.Button("Add the turn", variant="primary", scale=1, min_width=130)
        again = gr.Button("Begin anew", scale=1, min_width=130)

    async def influences(view: View, position: int) -> list[Influence]:
        return await service.influence(view.talk.conversation, position, live=True)

    made = panel(influences, "live-emotions", forget)

    async def said(speaker: str, text: str, view: View | None, threshold: float) -> tuple[Any, ...]:
        try:
            new = await added(service, view, speaker or "", text or "")
            return new, "", results(new, threshold), ""
        except SaclError as error:
            return gr.skip(), fault(sentence(error)), gr.skip(), gr.skip()
        except Exception as error:
            return gr.skip(), unexpected(error), gr.skip(), gr.skip()

    gr.on(
        [send.click, text.submit],
        said,
        [speaker, text, made.view, made.threshold],
        [*made.outputs, text],
        trigger_mode="once",
        **QUIET,
    )

    # On the event loop, not in a thread: it may speak to another process.
    async def anew(view: View | None) -> tuple[Any, ...]:
        forget(view)
        return None, note("Forgotten. The next turn begins another conversation."), ""

    again.click(anew, made.view, made.outputs, **QUIET)
