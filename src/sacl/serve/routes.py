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
from sacl.conversation import Conversation
from sacl.errors import DataError
from sacl.interchange import utterance
from sacl.recognizer.writing import conversation_object, turn_object
from sacl.serve import wire
from sacl.serve.errors import Unavailable
from sacl.serve.service import Service

T = TypeVar("T")

_LARGE, _MANY = 2**16, 200
"""Bytes of a body, and turns of an answer, that are read and written beside other requests: they take some 5 ms."""
_MOVED = 4_000
"""An influence counts in the rate as another request for so many turns that are read for it, some 14 ms."""
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
        body = await _body(request)
        conversations, threshold, are_several = await service.aside(partial(_asked, body), len(body), _LARGE)
        del body
        request.scope["sacl.turns"] = turns = sum(map(len, conversations))
        results = await _while_there(request, service.predict_all(conversations, threshold))
        if results is None:
            return wire.Gone()

        def answer() -> Response:
            answers = [conversation_object(c, found) for c, found in zip(conversations, results, strict=True)]
            return _private({"conversations": answers} if are_several else answers[0])

        return await service.aside(answer, turns, _MANY)

    @app.post(
        "/v1/influence",
        summary="Which other turns moved an utterance's emotion",
        response_model=wire.Influences,
        responses=_refusals(400, 422),
        openapi_extra=_INFLUENCE,
    )
    async def influence(request: Request) -> Response:
        body = await _body(request)
        conversation, at, nearest = await service.aside(partial(_question, body), len(body), _LARGE)
        del body
        request.scope["sacl.turns"] = len(conversation)
        if isinstance(nearest, int) and 0 < nearest <= service.limits.neighbours:
            request.scope["sacl.charge"](len(conversation) * min(nearest, len(conversation)) // _MOVED)
        asked = service.influence(conversation, at, nearest)
        results = await _while_there(request, asked)
        if results is None:
            return wire.Gone()
        moved = [
            {"id": r.id, "position": r.position, "speaker": r.speaker, "text": r.text, "moved": round(r.moved, 6)}
            for r in results
        ]
        return _private({"influences": moved})


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
        opened = {"session": service.open_session(), "idle_seconds": limits.session_idle_seconds}
        return _private(opened | {"seconds": limits.session_seconds}, 201)

    @app.post(
        "/v1/sessions/{session_id}/turns",
        summary="The emotion of the next turn of a live session",
        response_model=wire.Turn,
        responses=_refusals(400, 410, 422, 501),
        openapi_extra=_TURN,
    )
    async def add_turn(request: Request, session_id: str) -> Response:
        body = await _body(request)
        keys = ("speaker", "text", "vector", "threshold")
        given = await service.aside(partial(wire.read_object, body, keys), len(body), _LARGE)
        turn = utterance({k: v for k, v in given.items() if k != "threshold"}, 0, "")
        Conversation("live", [turn])  # it has a text or a vector
        request.scope["sacl.turns"] = 1
        asked = service.add_turn(session_id, turn.speaker, turn.text, given.get("threshold"), vector=turn.vector)
        result = await _while_there(request, asked)
        return wire.Gone() if result is None else _private(turn_object(result))

    @app.delete("/v1/sessions/{session_id}", summary="Close a live session", status_code=204, responses=_refusals(410))
    async def close_session(session_id: str) -> Response:
        service.close_session(session_id)
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


def _asked(body: bytes) -> tuple[list[Conversation], float | None, bool]:
    """The conversations in a request, its threshold, and whether it asks for several; of the rest nothing is kept."""
    given = wire.read_object(body, ("id", "utterances", "conversations", "threshold", "labels"))
    threshold = given.get("threshold")
    if given.get("conversations") is None:
        return [wire.conversation(given)], threshold, False
    if not isinstance(given["conversations"], list) or "utterances" in given:
        raise DataError(
            "`conversations` is no list, or stands beside `utterances`",
            where="request",
            remedy="Give one conversation, or a list of them",
        )
    several = [wire.conversation(c, str(i), f"conversation {i}") for i, c in enumerate(given["conversations"])]
    return several, threshold, True


def _question(body: bytes) -> tuple[Conversation, int | str, Any]:
    """The conversation in a request, the utterance it asks about, and how many others are looked at."""
    given = wire.read_object(body, ("conversation", "utterance", "nearest"))
    return wire.conversation(given.get("conversation")), _utterance(given), given.get("nearest", 200)


def _utterance(given: dict[str, Any]) -> int | str:
    asked = given.get("utterance")
    if isinstance(asked, bool) or not isinstance(asked, int | str):
        raise DataError("it does not say which utterance", where="utterance", remedy="Give its position, or its id")
    return asked


def _private(content: Any, status: int = 200) -> Response:
    """An answer that holds what people said: no browser is to keep it."""
    return JSONResponse(content, status, {"cache-control": "no-store"})


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
