"""What a request may cost: it is refused before it is parsed, or counts in the rate of its client."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

from sacl.errors import DataError
from sacl.recognizer import EmotionRecognizer
from sacl.serve import wire
from sacl.serve.limits import Limits
from sacl.serve.service import Service


@pytest.fixture
def service(recognizer: EmotionRecognizer, causal: EmotionRecognizer) -> Service:
    return Service(recognizer, causal, Limits(requests_per_minute=20))


def test_lists_and_objects_beyond_those_of_turns_are_refused_before_they_are_parsed() -> None:
    many = b'{"utterances": [{"speaker": "A", "text": "hi"}], "labels": [' + b"[]," * 30_000 + b"[]]}"
    with pytest.raises(DataError, match="more lists and objects"):
        wire.read_object(many, ("utterances", "labels"))
    turns = b",".join([b'{"speaker":"","vector":[1]}'] * 100_000)
    assert len(wire.read_object(b'{"utterances":[' + turns + b"]}", ("utterances",))["utterances"]) == 100_000


def test_a_request_that_opens_a_session_says_next_to_nothing(ask: Any, service: Any) -> None:
    async def work(client: Any) -> list[int]:
        said = (b"", b"{}", b" " * 1_100 + b"{}")
        return [(await client.post("/v1/sessions", content=one)).status_code for one in said]

    assert ask(service, work) == [201, 201, 400]


def test_an_influence_counts_in_the_rate_by_the_turns_that_are_read_for_it(ask: Any, service: Any) -> None:
    said = [{"speaker": "A", "text": f"we had cake {i}"} for i in range(200)]
    asked = {"conversation": {"utterances": said}, "utterance": 0, "nearest": 199}

    async def work(client: Any) -> int:
        assert (await client.post("/v1/influence", json=asked)).status_code == 200
        return [(await client.get("/health")).status_code for _ in range(15)].count(429)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sacl.serve.guard._HELD", 0.0)
        assert ask(service, work) > 0
