"""The routes: JSON in, the service, JSON out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

import sacl
from sacl.errors import DataError
from sacl.serve import wire
from sacl.serve.asked import Question, as_json, cost
from sacl.serve.errors import Unavailable
from sacl.serve.service import Service

T = TypeVar("T")

_OPENING = 1_024
"""Bytes of a request that opens a session, which says nothing."""
EVERYTHING_ELSE = "/v1/{rest:path}"
"""What is answered here, so that it does not go to the page."""

_NUMBER = {"type": "number", "minimum": 0, "maximum": 1, "description": "Below it an emotion is uncertain."}
_UTTERANCE = {
    "type": "object",
    "properties": {
        "speaker": {"type": "string"},
        "text": {"type": "string"},
        "vector": {"type": "array", "items": {"type": "number"}, "description": "In place of the text's encoding."},
        "id": {"type": "string"},
        "time": {"type": "number", "description": "Seconds."},
        "emotion": {"type": "string", "description": "A label of yours; not read."},
    },
    "required": ["speaker"],
}
_CONVERSATION = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "utterances": {"type": "array", "items": _UTTERANCE, "minItems": 1}},
    "required": ["utterances"],
}
_PREDICT = wire.body(
    "Conversations",
    {
        "one": wire.CHAT | {"threshold": 0.5},
        "several": {"conversations": [wire.CHAT, {"utterances": [{"speaker": "Bo", "text": "All done, thank you."}]}]},
    },
    {
        "id": {"type": "string"},
        "utterances": _CONVERSATION["properties"]["utterances"],  # type: ignore[index]
        "conversations": {"type": "array", "items": _CONVERSATION, "description": "In place of `utterances`."},
        "labels": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Of the corpus that a conversation was taken from; not read.",
        },
        "threshold": _NUMBER,
    },
)
_TURN = wire.body(
    "Turn",
    {"turn": {"speaker": "Ann", "text": "You came!"}},
    {key: _UTTERANCE["properties"][key] for key in ("speaker", "text", "vector")} | {"threshold": _NUMBER},  # type: ignore[index]
    ["speaker"],
)
_INFLUENCE = wire.body(
    "Question",
    {"why the last turn": {"conversation": wire.CHAT, "utterance": 2}},
    {
        "conversation": _CONVERSATION,
        "utterance": {"oneOf": [{"type": "integer"}, {"type": "string"}], "description": "Its position, or its id."},
        "nearest": {"type": "integer", "default": 200, "description": "How many other turns are looked at."},
    },
    ["conversation", "utterance"],
)


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": wire.Refusal} for status in statuses}


def add_routes(app: FastAPI, service: Service) -> None:
    """Adds what `sacl serve` answers, the page apart."""
    _add_conversations(app, service)
    _add_sessions(app, service)
    _add_state(app, service)

    @app.api_route(EVERYTHING_ELSE, methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def unknown(request: Request) -> Response:
        partial = [route for route in app.routes if route.matches(request.scope)[0] is Match.PARTIAL]
        methods = sorted({method for route in partial for method in getattr(route, "methods", None) or ()})
        raise HTTPException(405, headers={"Allow": ", ".join(methods)}) if methods else HTTPException(404)


def _add_conversations(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/predict",
        summary="Emotions of whole conversations",
        response_model=wire.Recognised | wire.RecognisedAll,
        responses=_refusals(400, 422),
        openapi_extra=_PREDICT,
    )
    async def predict(request: Request) -> Response:
        return await _answered(request, service, "predict", await _body(request))

    @app.post(
        "/v1/influence",
        summary="Which other turns moved an utterance's emotion",
        response_model=wire.Influences,
        responses=_refusals(400, 422),
        openapi_extra=_INFLUENCE,
    )
    async def influence(request: Request) -> Response:
        body = await _body(request)
        counts_as = await _while_there(request, service.parsed(partial(cost, service.limits.neighbours), body))
        if counts_as is None:
            return wire.Gone()
        request.scope["sacl.charge"](counts_as)
        return await _answered(request, service, "influence", body)


def _add_sessions(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/sessions",
        summary="Open a live session",
        status_code=201,
        response_model=wire.Opened,
        responses=_refusals(400, 429, 501),
    )
    async def open_session(request: Request) -> Response:
        body = await _body(request)
        if len(body) > _OPENING:
            raise DataError(f"it has more than {_OPENING} bytes", where="request", remedy="Send {}, or nothing")
        if body:
            wire.read_object(body, ())
        limits = service.limits
        opened = {"session": await service.open_session(), "idle_seconds": limits.session_idle_seconds}
        content = as_json(opened | {"seconds": limits.session_seconds})
        return _private(content, 201)

    @app.post(
        "/v1/sessions/{session_id}/turns",
        summary="The emotion of the next turn of a live session",
        response_model=wire.Turn,
        responses=_refusals(400, 410, 422, 501),
        openapi_extra=_TURN,
    )
    async def add_turn(request: Request, session_id: str) -> Response:
        return await _answered(request, service, "turn", await _body(request), session_id)

    @app.delete("/v1/sessions/{session_id}", summary="Close a live session", status_code=204, responses=_refusals(410))
    async def close_session(session_id: str) -> Response:
        await service.close_session(session_id)
        return Response(status_code=204)


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health", summary="Whether the server lives", response_model=wire.State, responses=_refusals(503))
    async def health() -> Response:
        if not service.is_well:
            raise Unavailable("a part of the server has ended, or does not go on", "Start the server anew", 60)
        return JSONResponse({"status": "alive"})

    @app.get("/ready", summary="Whether it takes requests", response_model=wire.State, responses=_refusals(503))
    async def ready() -> Response:
        if not service.is_ready:
            raise Unavailable("the server is starting or stopping", "Try again in a moment", 5)
        return JSONResponse({"status": "ready"})

    @app.get("/version", summary="What answers", response_model=wire.Version)
    async def version() -> Response:
        causal = service.causal
        return JSONResponse(
            {
                "version": sacl.__version__,
                "labels": list(service.recognizer.labels),
                "live_labels": None if causal is None else list(causal.labels),
                "reads": "vectors" if service.recognizer.encoder is None else "texts",
            }
        )

    @app.get(
        "/metrics",
        summary="Figures for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics() -> Response:
        return Response(service.figures(), media_type=CONTENT_TYPE_LATEST)


async def _body(request: Request) -> bytes:
    """The body, which is not kept beside what is read from it, as `request.body` keeps it."""
    return b"".join([piece async for piece in request.stream()])


async def _answered(request: Request, service: Service, what: Question, body: bytes, session: str = "") -> Response:
    """What the service answers to a body, where somebody still waits for it."""
    answer = await _while_there(request, service.answer(what, body, session))
    if answer is None:
        return wire.Gone()
    request.scope["sacl.turns"] = answer.turns
    return _private(answer.content)


def _private(content: bytes, status: int = 200) -> Response:
    """An answer that holds what people said: no browser is to keep it."""
    return Response(content, status, {"cache-control": "no-store"}, "application/json")


async def _while_there(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result, or None where the client went away; then the work is cancelled."""
    doing, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        doing.cancel()
        leaving.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
