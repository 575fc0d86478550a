"""The routes of the server, each as a function of a request's body, and one of a whole request.

A small model answers over an encoder that looks at lengths alone. An answer that says that the server is at fault is
a defect, as is one that is no JSON where it should be.
"""

from __future__ import annotations

import asyncio
import json
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np
from common import Reader, as_json

TURN = {"speaker": "Ann", "text": "You came!"}
CHAT = {"id": "c", "utterances": [TURN, {"speaker": "Bo", "text": "I did.", "id": "b", "time": 4, "emotion": "joy"}]}
HEADS = (
    "POST /v1/predict?x=1\ncontent-type: application/json\naccept: */*\norigin: http://localhost",
    "GET /v1/sessions/abc/turns\nauthorization: Bearer x\ncookie: sacl=x; a=b",
    "DELETE /v1/sessions/%2e%2e%2fetc\nx-forwarded-for: 1.2.3.4\ncontent-encoding: gzip",
    "GET /health\nhost: [::1]:80\nsec-fetch-site: cross-site",
    "GET /metrics\nconnection: upgrade\nupgrade: websocket",
)


class Lengths:
    """Stands for an encoder."""

    identity: ClassVar = {"name": "lengths", "sha256": "", "pooling": "mean", "layer": -1, "max_tokens": 9}

    def encode(self, texts: Any, **_: Any) -> np.ndarray:
        return np.array([[len(text) % 7, 1.0] for text in texts], np.float32).reshape(-1, 2)


@cache
def _server() -> tuple[asyncio.AbstractEventLoop, Any]:
    """A loop in which the application runs as long as the process, and the application."""
    import torch

    from sacl.conversation import LabelSet
    from sacl.model.build import build_model
    from sacl.recognizer import EmotionRecognizer
    from sacl.serve.app import create_app
    from sacl.serve.limits import Limits
    from sacl.serve.service import Service
    from sacl.settings import FeatureSettings, ModelSettings
    from sacl.training.trained import TrainedModel

    torch.set_num_threads(1)
    settings = ModelSettings(hidden_size=1, bidirectional=False, min_speaker_utterances=1)
    model = build_model(settings, 2, 2).eval()
    labels, lengths = LabelSet(("joy", "sad")), Lengths()
    trained = TrainedModel(model, settings, labels, 2, FeatureSettings(), lengths.identity, None, {})
    recognizer = EmotionRecognizer(trained, lengths)  # type: ignore[arg-type]
    service = Service(recognizer, recognizer, Limits(requests_per_minute=10**9, session_turns=10**9))
    app = create_app(service, page=False)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(app.router.lifespan_context(app).__aenter__())
    return loop, app


def ask(method: str, path: str, body: bytes, headers: list[tuple[bytes, bytes]], query: bytes = b"") -> tuple[int, Any]:
    """Status and what the answer says."""
    loop, app = _server()
    return loop.run_until_complete(_asked(app, method, path, body, headers, query))


async def _asked(
    app: Any, method: str, path: str, body: bytes, headers: list[tuple[bytes, bytes]], query: bytes
) -> tuple[int, Any]:
    half = len(body) // 2
    waiting = [{"type": "http.request", "body": body[:half], "more_body": True}]
    waiting.append({"type": "http.request", "body": body[half:], "more_body": False})
    sent: list[Any] = []
    ended = asyncio.Event()

    async def receive() -> Any:
        if waiting:
            return waiting.pop(0)
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": method}
    scope |= {"path": path, "raw_path": path.encode("utf-8", "replace"), "query_string": query, "root_path": ""}
    scope |= {"headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000), "state": {}}
    await app(scope, receive, send)
    ended.set()
    status = sent[0]["status"]
    said = b"".join(message.get("body", b"") for message in sent[1:])
    if status >= 500 and status != 503:
        raise AssertionError(f"{status} {said[:300]!r}")
    of_json = any(k == b"content-type" and v.startswith(b"application/json") for k, v in sent[0]["headers"])
    found = json.loads(said) if of_json else None
    if status >= 400 and not (isinstance(found, dict) and found["error"]["found"]):
        raise AssertionError(f"{status} does not say what is wrong: {said[:300]!r}")
    return status, found


JSON = [(b"host", b"localhost"), (b"content-type", b"application/json")]


def _posted(path: str, body: bytes) -> object:
    return ask("POST", path, body, JSON)


@cache
def _session() -> str:
    return str(ask("POST", "/v1/sessions", b"", JSON)[1]["session"])


def _turn(body: bytes) -> object:
    status, found = _posted(f"/v1/sessions/{_session()}/turns", body)  # type: ignore[misc]
    if status in (410, 422):  # it has as many speakers as it may have
        _session.cache_clear()
    return found


def _whole(data: bytes) -> object:
    """A request line, headers a line each, a blank line, the body."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    method, _, target = first.partition(b" ")
    path, _, query = target.partition(b"?")
    headers = [(key.strip().lower(), value.strip()) for key, _, value in (line.partition(b":") for line in lines)]
    if not any(key == b"host" for key, _ in headers):
        headers.append((b"host", b"localhost"))
    said = method.decode("ascii", "replace").upper() or "GET"
    return ask(said, "/" + path.decode("utf-8", "replace").lstrip("/"), body, headers, query)


def served() -> dict[str, Reader]:
    """A reader a route that takes a body, and one of whole requests."""
    several = {"conversations": [CHAT, {"utterances": [{"speaker": "A", "vector": [0.5, 1]}]}], "threshold": 0.5}
    return {
        "http predict": Reader(partial(_posted, "/v1/predict"), [as_json(CHAT), as_json(several)]),
        "http influence": Reader(
            partial(_posted, "/v1/influence"),
            [as_json({"conversation": CHAT, "utterance": u, "nearest": 3}) for u in (1, "b")],
        ),
        "http session": Reader(partial(_posted, "/v1/sessions"), [b"{}"]),
        "http turn": Reader(_turn, [as_json(TURN | {"threshold": 0.5}), as_json({"speaker": "A", "vector": [1, 2]})]),
        "http request": Reader(_whole, [head.encode() + b"\n\n" + as_json(CHAT) for head in HEADS]),
    }
