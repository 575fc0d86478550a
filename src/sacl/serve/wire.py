"""Requests and answers as JSON: what is read from a body, what is sent, and examples of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import Response

from sacl.conversation import Conversation
from sacl.errors import DataError
from sacl.interchange import from_object, parsed

_NESTED = 20_000
"""Lists and objects of a body, beside those of turns, which take 24 bytes or more and have two: each costs the parser
time, in which it lets nobody else go on."""


class Turn(BaseModel):
    """A turn and what was recognised in it."""

    id: str = Field(description="As sent, or the turn's position.")
    speaker: str
    text: str | None = None
    time: float | None = Field(None, description="As sent, in seconds.")
    emotion: str = Field(description='The most probable one, or "uncertain" where it is below the threshold.')
    probability: float = Field(description="Of the most probable emotion, calibrated.")
    probabilities: dict[str, float]


class Recognised(BaseModel):
    """A conversation and what was recognised in it."""

    id: str
    utterances: list[Turn]


class RecognisedAll(BaseModel):
    """What was recognised in several conversations, in their order."""

    conversations: list[Recognised]


class Opened(BaseModel):
    """A live session."""

    session: str = Field(description="Its id. Whoever knows it can send turns: keep it secret.")
    idle_seconds: float = Field(description="After so long without a turn it is forgotten.")
    seconds: float = Field(description="After so long it is forgotten in any case.")


class Moved(BaseModel):
    """How one turn moved the probability of another's emotion."""

    id: str
    position: int = Field(description="Of the turn, from 0.")
    speaker: str
    text: str | None = None
    moved: float = Field(description="Probability with the turn, less that without it.")


class Influences(BaseModel):
    """What moved the emotion of an utterance, in the order of the conversation."""

    influences: list[Moved]


class State(BaseModel):
    """Whether the server lives, or takes requests."""

    status: str


class Version(BaseModel):
    """What answers."""

    version: str
    labels: list[str]
    live_labels: list[str] | None = Field(description="Of the model that reads live sessions; null without one.")
    reads: str = Field(description='"texts", or "vectors" where the model has no encoder.')


class Error(BaseModel):
    """What was found, where, and what to do about it."""

    found: str
    where: str
    remedy: str


class Refusal(BaseModel):
    """Every answer from 400 on."""

    error: Error


def read_object(body: bytes, keys: Sequence[str]) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        DataError: it is none, or has a key that is not one of `keys`.
    """
    if body.count(b"[") + body.count(b"{") > _NESTED + len(body) // 12:
        found = "it is nested too deep, or has more lists and objects than its turns could have"
        raise DataError(found, where="request", remedy="See /openapi.json for examples")
    try:
        text = body.decode()
        found = parsed(text, "request")
    except UnicodeDecodeError:
        raise DataError("it is not UTF-8", where="request", remedy="Send JSON in UTF-8") from None
    except DataError as error:
        raise DataError(error.found, where=error.where, remedy="Send one JSON object, see /openapi.json") from None
    if not isinstance(found, dict):
        raise DataError("it is not a JSON object", where="request", remedy="See /openapi.json for examples")
    for key in found:
        if key not in keys:
            remedy = f"Leave it out, or use one of: {', '.join(keys)}"
            raise DataError(f"unknown key {key!r:.40}", where="request", remedy=remedy)
    return found


def conversation(found: object, position: str = "0", where: str = "") -> Conversation:
    """The conversation that a part of a request stands for; see `from_object`, whose remedy here is for files."""
    if not isinstance(found, dict) or not isinstance(found.get("utterances"), list):
        remedy = 'Send {"utterances": [{"speaker": "Ann", "text": "Hello"}]}, see /openapi.json'
        raise DataError("it is not a conversation", where=where or "request", remedy=remedy)
    return from_object(found, position, where)


CHAT = {
    "id": "ticket-7",
    "utterances": [
        {"speaker": "Ann", "text": "My order is lost again. That is the third time!"},
        {"speaker": "Support", "text": "I am sorry to hear that. Let me look into it."},
        {"speaker": "Ann", "text": "Oh, it has just arrived. Thank you so much!"},
    ],
}
"""The conversation of the examples."""


def body(
    kind: str, examples: dict[str, Any], properties: dict[str, Any], required: Sequence[str] = ()
) -> dict[str, Any]:
    """OpenAPI's description of a JSON request."""
    schema = {"title": kind, "type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    named = {name: {"value": value} for name, value in examples.items()}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "examples": named}}}}


class Gone(Response):
    """Sent to nobody: the client went away."""

    async def __call__(self, *_: Any) -> None:
        """Nothing."""
