"""The page: paste, open or type a conversation, and look at its emotions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from sacl.serve.service import Service


def add_page(app: FastAPI, service: Service) -> FastAPI:
    """Mounts the page at `/` of the app, below the routes that it has: to be called after they are all there."""
    from sacl.serve.page.mount import mount  # Gradio takes seconds to load

    return mount(app, service)
