"""A whole conversation: pasted, from a file, or an example."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from sacl.conversation import Conversation
from sacl.errors import DataError, SaclError
from sacl.recognizer import Influence
from sacl.serve.page.panel import QUIET, panel, script, unexpected
from sacl.serve.page.results import fault, note, results, working
from sacl.serve.page.view import Talk, View, given, sentence
from sacl.serve.page.words import EXAMPLES, sources
from sacl.serve.service import Service

PORTION = 250
"""Turns between two signs of progress."""

HINT = "A line a turn, `Ann: Hello`; a blank line begins another conversation. Exports of WhatsApp, Slack, captions \
(VTT, SRT), CSV and JSONL are read too."

Outcome = tuple[Any, str, Any, Any]


def paste_or_open(service: Service) -> None:
    """Builds this part of the page."""
    with gr.Column(elem_classes="reading"):
        box = gr.Textbox(
            label="Conversation",
            info=HINT.replace("`", ""),
            placeholder="Ann: You came!\nBo: I said I would.",
            lines=7,
            max_lines=16,
        )
        offered = gr.HTML(
            sources(most_bytes(service)), apply_default_css=False, js_on_load=script("sources.js"), padding=False
        )
        with gr.Row():
            read = gr.Button("Read the emotions", variant="primary")
            cancel = gr.Button("Cancel", elem_classes="cancel")

        async def influences(view: View, position: int) -> list[Influence]:
            return await service.influence(view.talk.conversation, position)

        results = panel(influences, "emotions")

    async def typed(text: str, threshold: float) -> AsyncIterator[Outcome]:
        async for outcome in reading(service, text or "", None, threshold):
            yield *outcome, gr.skip()

    async def opened(event: gr.EventData, threshold: float) -> AsyncIterator[Outcome]:
        try:
            text, name = _offered(event._data, most_bytes(service))
        except DataError as error:
            yield gr.skip(), fault(sentence(error)), gr.skip(), gr.skip()
            return
        async for outcome in reading(service, text, name, threshold):
            # An example stands in the box at once; a draft of one's own stays there until a file is read.
            yield *outcome, text if name is None else "" if isinstance(outcome[0], View) else gr.skip()

    outputs = [*results.outputs, box]
    first = gr.on([read.click, box.submit], typed, [box, results.threshold], outputs, trigger_mode="once", **QUIET)
    # What is started last counts.
    second = offered.upload(opened, results.threshold, outputs, cancels=[first], trigger_mode="once", **QUIET)
    gr.on([read.click, box.submit], None, cancels=[second], **QUIET)
    cancel.click(lambda: note("Cancelled."), None, results.status, cancels=[first, second], **QUIET)


def most_bytes(service: Service) -> int:
    """Of a file: as text in JSON it may become a third longer."""
    return service.limits.body_bytes * 3 // 4


async def reading(service: Service, text: str, name: str | None, threshold: float) -> AsyncIterator[tuple[Any, ...]]:
    """View, status and results, again and again until it is done; an error is a sentence in the status."""
    try:
        yield gr.skip(), working("Reading the conversation", 0, 1), gr.skip()
        conversations = await asyncio.to_thread(given, text, name, service.limits)
        for conversation in conversations:
            service.check(conversation)
        done, total = 0, sum(map(len, conversations))
        talks = list[Talk]()
        for conversation in conversations:
            portions = list[Conversation]()
            for start in range(0, len(conversation), PORTION):
                turns = conversation.utterances[start : start + PORTION]
                portions.append(await service.encode(Conversation(conversation.id, turns)))
                done += len(turns)
                yield gr.skip(), working(f"{done} of {total} turns read", done, total), gr.skip()
            whole = Conversation(conversation.id, [u for portion in portions for u in portion.utterances])
            talks.append(Talk(whole, await service.predict(whole)))
        view = View(talks, file=name)
        yield view, "", results(view, threshold, focus="top")
    except SaclError as error:
        yield gr.skip(), fault(sentence(error)), gr.skip()
    except Exception as error:
        yield gr.skip(), unexpected(error), gr.skip()


def _offered(data: Any, most: int) -> tuple[str, str | None]:
    """The text of an example, or text and name of a file that the browser has read.

    Raises:
        DataError: it is too large, not text, or nothing that the page sends.
    """
    example, name, text = data.get("example"), data.get("name"), data.get("text")
    if example in range(len(EXAMPLES)):
        return list(EXAMPLES.values())[example], None
    if not isinstance(name, str):
        raise DataError("that was no file", remedy="Open one")
    name = name[-80:]
    if isinstance(data.get("bytes"), int) and data["bytes"] > most:
        found = f"it is larger than {most / 1e6:.0f} MB"
        raise DataError(found, where=name, remedy="Open a part of it, or read it at the shell with `sacl predict`")
    if not isinstance(text, str):
        raise DataError("it is not text in UTF-8", where=name, remedy="Save it as text, in UTF-8")
    if not text.strip():
        raise DataError("it is empty", where=name, remedy="Open one with at least one turn")
    return text, name
