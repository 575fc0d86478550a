"""Errors as a client gets them: one shape, a status each, never a traceback."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

from sacl.errors import DataError, FeatureError, RecipeError, SaclError
from sacl.serve.errors import LimitError, NoLiveModel, SessionGone, TooManySessions, Unavailable

_STATUS: dict[type[Exception], int] = {
    DataError: 400,
    FeatureError: 400,
    RecipeError: 400,
    SessionGone: 410,
    LimitError: 422,
    TooManySessions: 429,
    NoLiveModel: 501,
    Unavailable: 503,
}

CLIENT_GONE = 499
"""What is logged where nobody waits for the answer any more."""


def refusal(
    status: int, found: str, *, where: str = "", remedy: str = "", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """`{"error": {"found": ..., "where": ..., "remedy": ...}}`."""
    content = {"error": {"found": found, "where": where, "remedy": remedy}}
    return JSONResponse(content, status, {"cache-control": "no-store", **(headers or {})})


def refusal_of(error: Exception) -> JSONResponse:
    """What an exception means to a client; nothing is told of one that is not meant for people."""
    status = _STATUS.get(type(error))
    if status is None or not isinstance(error, SaclError):
        return fault()
    headers = {"retry-after": str(error.retry_seconds)} if isinstance(error, Unavailable) else None
    return refusal(status, error.found, where=error.where, remedy=error.remedy, headers=headers)


def fault() -> JSONResponse:
    """A fault of the server's own."""
    return refusal(
        500, "the server failed", remedy="Try again; if it goes on, its log says which part failed, and where"
    )
