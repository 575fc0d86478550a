"""The API is what its description says: schemathesis asks what the description allows, and what it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")
pytest.importorskip("schemathesis", reason="schemathesis is not installed (extra dev)")

import schemathesis

from sacl.recognizer import EmotionRecognizer
from sacl.serve.limits import Limits
from sacl.serve.service import Service


@pytest.fixture(scope="module")
def described(listening: Any, trained: Any, encoder: Any) -> Iterator[Any]:
    """The description, as a client fetches it from the server that is then asked."""
    whole, live = EmotionRecognizer(trained(), encoder), EmotionRecognizer(trained(causal=True), encoder)
    with listening(Service(whole, live, Limits(requests_per_minute=10**6))) as port:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_every_answer_is_one_that_is_described_and_errors_have_one_shape(described: Any, mode: str) -> None:
    """But for one thing: what the description allows may be refused, since it does not tell all that is wrong."""
    asked = Counter[str]()
    for result in described.get_all_operations():
        operation = result.ok()
        if mode == "negative" and not len(operation.body):
            continue  # any text is an id, and nothing else can be wrong with it
        cases = operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode))

        @settings(max_examples=25, suppress_health_check=list(HealthCheck))
        @given(cases)
        def check(case: Any) -> None:
            answer = case.call()
            asked[f"{case.method} {case.path}"] += 1
            case.validate_response(answer, excluded_checks=[schemathesis.checks.positive_data_acceptance])
            if answer.status_code >= 400:
                error = answer.json()["error"]
                assert set(error) == {"found", "where", "remedy"}
                assert error["found"]

        check()
    assert len(asked) == (9 if mode == "positive" else 3)
