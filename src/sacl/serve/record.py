"""The record of every request, in the log and the metrics; and the end of those that last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from starlette.datastructures import MutableHeaders
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sacl.serve.answers import CLIENT_GONE, fault
from sacl.serve.log import described, log
from sacl.serve.metrics import Metrics

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OTHER = "other"


class Record:
    """Logs and counts every request, and answers in its own words where something fails.

    Args:
        app: what is recorded.
        metrics: told of every answer.
        routes: those that are named by their templates; all else is `other`, the page too.
        streams: tasks that answer requests of the page, which may last as long as it is open.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Sequence[BaseRoute], streams: set[asyncio.Task[None]]):
        self._app, self._metrics, self._routes, self._streams = app, metrics, routes, streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status, ended, path = perf_counter(), 0, False, self._template(scope)
        task = asyncio.current_task()
        if path == OTHER and task is not None:
            self._streams.add(task)

        async def noted(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _SAFE.items():
                    headers.setdefault(name, value)
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            if task not in self._streams:
                raise
            if status and not ended:  # the server stops: the page's stream ends in order
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Exception as error:
            log.error("fault", extra={"fields": described(error)})
            if not status:
                await fault()(scope, receive, noted)
        finally:
            if task is not None:
                self._streams.discard(task)
            self._note(scope, path, status or CLIENT_GONE, perf_counter() - begun)

    def _template(self, scope: Scope) -> str:
        # Not what the router found: a request may be refused before it.
        matching = (route for route in self._routes if route.matches(scope)[0] is not Match.NONE)
        return getattr(next(matching, None), "path", OTHER)

    def _note(self, scope: Scope, path: str, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else OTHER
        turns = scope.get("sacl.turns", 0)
        self._metrics.request(method, path, status, seconds, turns)
        fields = {"method": method, "path": path, "status": status, "ms": round(1000 * seconds, 1), "turns": turns}
        log.info("request", extra={"fields": fields})


_SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "x-frame-options": "DENY"}
