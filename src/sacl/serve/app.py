"""The application: routes, what guards them, and the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Security
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

import sacl
from sacl.errors import SaclError
from sacl.serve.answers import refusal, refusal_of
from sacl.serve.bodies import Bodies
from sacl.serve.guard import Guard
from sacl.serve.record import Record
from sacl.serve.routes import EVERYTHING_ELSE, add_routes
from sacl.serve.service import Service

LOCAL = ("127.0.0.1", "localhost", "::1")
"""Names of this machine, to itself."""

_ABOUT = """Emotions of the turns of conversations.

Errors are `{"error": {"found": ..., "where": ..., "remedy": ...}}`. Beside those named with each route: 401 without the
token, 403 for another host or site, 408 for a request that does not arrive in time, 413 for one that is too large, 429
for too many in a minute, 503 while the server stops or too many requests wait or arrive (429 and 503 say in
`Retry-After` when to come back). Nothing that is sent is written to disk.
"""


def create_app(
    service: Service, *, token: str | None = None, hosts: Iterable[str] = LOCAL, page: bool = True
) -> FastAPI:
    """The server's application; `service` starts and stops with it.

    Args:
        service: what answers.
        token: what every request has to carry (`Authorization: Bearer`), the page's included.
        hosts: names that requests may ask for; see `Guard`.
        page: whether there is a page at `/`.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    app = FastAPI(
        title="sacl",
        version=sacl.__version__,
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,  # their scripts come from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[] if token is None else [Security(HTTPBearer(auto_error=False))],  # for OpenAPI: Guard checks it
    )
    add_routes(app, service)
    named = [route for route in app.routes if getattr(route, "path", None) != EVERYTHING_ELSE]
    app.add_exception_handler(SaclError, _told)
    app.add_exception_handler(HTTPException, _no_route)
    if page:
        from sacl.serve.page import add_page

        app = add_page(app, service)
    app.state.streams = set[asyncio.Task[None]]()
    app.state.bodies = Bodies(service.limits)
    app.add_middleware(
        Guard,
        token=token,
        hosts=tuple(hosts),
        bodies=app.state.bodies,
    )
    app.add_middleware(Record, metrics=service.metrics, routes=named, streams=app.state.streams)
    return app


async def _told(_: Request, error: Exception) -> JSONResponse:
    return refusal_of(error)


async def _no_route(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    found = {404: "there is no such address", 405: "the address does not take this method"}
    return refusal(
        error.status_code,
        found.get(error.status_code, error.detail),
        remedy="See /openapi.json for those there are",
        headers=error.headers,
    )
