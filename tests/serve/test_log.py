"""Logs, metrics and faults: what happened is told, and nothing that people said."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

from sacl.recognizer import EmotionRecognizer
from sacl.serve.limits import Limits
from sacl.serve.log import JsonLines, log
from sacl.serve.service import Service

TURN = {"speaker": "Ann", "text": "we had cake"}
CHAT = {"id": "c1", "utterances": [TURN, {"speaker": "Bo", "text": "it was late", "time": 4, "emotion": "bored"}]}


@pytest.fixture
def service(recognizer: EmotionRecognizer, causal: EmotionRecognizer) -> Service:
    return Service(recognizer, causal, Limits(requests_per_minute=10**4))


def posted(path: str, **content: Any) -> Callable[[Any], Any]:
    async def work(client: Any) -> Any:
        return await client.post(path, **content)

    return work


def test_a_fault_of_the_servers_own_is_told_without_a_word_of_it(
    ask: Any, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.recognizer.encoder.refused = "cake"  # type: ignore[union-attr]
    caplog.set_level(logging.INFO)
    answer = ask(service, posted("/v1/predict", json={"utterances": [TURN | {"text": "cake"}]}))
    assert answer.status_code == 500
    assert answer.json()["error"]["found"] == "the server failed"
    [fault] = [record for record in caplog.records if record.getMessage() == "fault"]
    assert fault.fields["error"] == "ValueError"  # type: ignore[attr-defined]
    assert "conftest.py:" in fault.fields["at"]  # type: ignore[attr-defined]
    assert "cake" not in "".join(JsonLines().format(record) for record in caplog.records)


def test_logs_and_metrics_hold_neither_texts_nor_speakers_nor_ids(ask: Any, service: Service) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    secrets = ["Ann", "we had cake", "c1", "sesame"]

    async def work(client: Any) -> str:
        client.headers["authorization"] = "Bearer sesame"
        await client.post("/v1/predict", json=CHAT)
        await client.post("/v1/predict", json={"utterances": [TURN | {"vector": [1]}]})
        await client.get("/we had cake?token=sesame")
        id = (await client.post("/v1/sessions")).json()["session"]
        secrets.append(id)
        await client.post(f"/v1/sessions/{id}/turns", json=TURN)
        await client.request("Ann", "/health")
        return (await client.get("/metrics")).text  # type: ignore[no-any-return]

    try:
        metrics = ask(service, work, token="sesame")
    finally:
        log.removeHandler(handler)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [(line["method"], line["path"], line["status"], line["turns"]) for line in lines] == [
        ("POST", "/v1/predict", 200, 2),
        ("POST", "/v1/predict", 400, 0),
        ("GET", "other", 404, 0),
        ("POST", "/v1/sessions", 201, 0),
        ("POST", "/v1/sessions/{session_id}/turns", 200, 1),
        ("other", "/health", 405, 0),
        ("GET", "/metrics", 200, 0),
    ]
    assert all(line["ms"] >= 0 for line in lines)
    for secret in secrets:
        assert secret not in written.getvalue()
        assert secret not in metrics
    assert 'sacl_requests_total{method="POST",path="/v1/predict",status="200"} 1.0' in metrics
    assert 'sacl_turns_total{path="/v1/predict"} 2.0' in metrics
    assert "sacl_sessions 1.0" in metrics
    assert "sacl_encoded_texts_total 3.0" in metrics


SECRET = "xylophone"
BODIES = [
    {"utterances": [{"speaker": SECRET, "text": SECRET, "id": SECRET, "emotion": SECRET}], "id": SECRET},
    {"conversation": {"utterances": [{"speaker": SECRET, "text": SECRET}]}, "utterance": 0},
    {"conversation": {"utterances": [{"speaker": SECRET, "text": SECRET}]}, "utterance": SECRET},
    {"speaker": SECRET, "text": SECRET},
    {"speaker": SECRET, "text": "fails"},
    {"utterances": [{"speaker": SECRET, "text": f"{SECRET} fails"}]},
    {"utterances": [{"speaker": SECRET, "vector": [SECRET]}], "threshold": SECRET},
    {"utterances": [{"speaker": SECRET * 100, "text": SECRET * 10_000}]},
    {"conversations": SECRET, "labels": [SECRET]},
    {SECRET: SECRET},
    [SECRET],
]


def test_a_word_that_is_sent_anywhere_is_in_no_log_and_in_no_metric(
    ask: Any, service: Service, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """In every place of every request to every route, also where that fails; logs of other libraries included."""
    caplog.set_level(logging.DEBUG)
    service.recognizer.encoder.refused = f"{SECRET} fails"  # type: ignore[union-attr]
    headers = dict.fromkeys(("user-agent", "referer", "cookie", "x-forwarded-for", SECRET), SECRET)

    async def work(client: Any) -> tuple[str, set[int]]:
        statuses = set[int]()
        paths = [*(await client.get("/openapi.json")).json()["paths"], "/v1/nothing", "/nothing", f"/{SECRET}"]
        session = (await client.post("/v1/sessions")).json()["session"]
        for path in (path.replace("{session_id}", id) for path in paths for id in (session, SECRET)):
            for other in ({}, {"host": SECRET}, {"origin": f"http://{SECRET}"}, {"authorization": f"Bearer {SECRET}"}):
                answer = await client.get(f"{path}?{SECRET}={SECRET}", headers=headers | other)
                statuses.add(answer.status_code)
            contents = [json.dumps(body).encode() for body in BODIES]
            for content in [
                *contents,
                SECRET.encode(),
                f'{{"{SECRET}": {SECRET}'.encode(),
                f"\xff{SECRET}".encode("latin-1"),
            ]:
                statuses.add((await client.post(path, content=content, headers=headers)).status_code)
        statuses.add((await client.request(SECRET, "/health")).status_code)
        return (await client.get("/metrics")).text, statuses

    metrics, statuses = ask(service, work)
    assert statuses == {200, 400, 403, 404, 405, 410, 422, 500}
    logged = "".join(
        JsonLines().format(record) for record in caplog.records if record.name.partition(".")[0] != "httpx"
    )
    assert len(caplog.records) > 300
    for written in (logged, metrics, *capfd.readouterr()):
        assert SECRET not in written.lower()


def test_two_servers_in_one_process_count_apart(ask: Any, recognizer: EmotionRecognizer) -> None:
    first, second = (Service(recognizer, None, Limits()) for _ in range(2))
    ask(first, posted("/v1/predict", json=CHAT))
    assert b"sacl_batch_requests_count 1.0" in first.figures()
    assert b"sacl_batch_requests_count 0.0" in second.figures()
