"""The page at `/`: Gradio's components, and what it shows written by us.

No request leaves the machine, and nothing is written to disk: a file is read in the browser, a download is put together
there, and the routes by which Gradio would store something are closed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# Nobody looks at its figures of events, which it would make anew after each, of the last ten thousand.
os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000000"

import gradio as gr
from fastapi import FastAPI
from starlette.routing import Mount

from sacl.serve.client import CLIENT
from sacl.serve.page.gate import VISITORS, Gate, quiet
from sacl.serve.page.live import live_chat
from sacl.serve.page.panel import script
from sacl.serve.page.reading import paste_or_open
from sacl.serve.page.words import HEAD, foot
from sacl.serve.service import Service


class _Blocks(gr.Blocks):
    """A page whose events, which Gradio does in tasks of its own, are done for the clients that sent them.

    Attributes:
        visitors: client of each session.
    """

    visitors: Mapping[str, str]

    async def process_api(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """One event, or the next outcome of one that has several."""
        CLIENT.set(self.visitors.get(kwargs.get("session_hash") or "", ""))
        return await super().process_api(*args, **kwargs)


def mount(app: FastAPI, service: Service) -> FastAPI:
    """See `add_page`."""
    # Nothing comes into Gradio's cache; should something all the same, it is deleted.
    with _Blocks(title="sacl: emotions in conversations", analytics_enabled=False, delete_cache=(600, 600)) as blocks:
        gr.HTML(HEAD, apply_default_css=False, js_on_load=script("head.js"))
        if service.causal is None:
            paste_or_open(service)
        else:
            with gr.Tabs():
                with gr.Tab("A whole conversation"):
                    paste_or_open(service)
                with gr.Tab("Live chat", elem_classes="live"):
                    live_chat(service)
        gr.HTML(foot(service.recognizer.labels.names), apply_default_css=False, js_on_load=None)
    # Predictions wait in the service, where they are batched; here none should wait for another.
    blocks.queue(api_open=False, max_size=service.limits.waiting, default_concurrency_limit=None)
    blocks.state_session_capacity = VISITORS
    gr.mount_gradio_app(
        app,
        blocks,
        "/",
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        css=(files("sacl.serve.page") / "page.css").read_text("utf-8"),
        theme=_theme(),
        max_file_size=service.limits.body_bytes,
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
    )
    mounted = app.router.routes[-1]
    assert isinstance(mounted, Mount)
    mounted.app = gate = Gate(mounted.app, blocks, service)
    blocks.visitors = gate.visitors
    quiet()
    return app


def _theme() -> gr.themes.Base:
    """Fonts that every machine has, and text that stands out from its ground by 4.5 to 1 or more."""
    fonts = [gr.themes.Font("system-ui"), gr.themes.Font("sans-serif")]
    return gr.themes.Default(primary_hue="indigo", neutral_hue="slate", font=fonts, font_mono=fonts).set(
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        input_border_color="*neutral_500",
        input_border_color_dark="*neutral_500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_600",
    )
