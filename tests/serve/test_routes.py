"""Every route and every status, as a client sees them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

from sacl.conversation import Conversation
from sacl.recognizer import EmotionRecognizer
from sacl.serve import wire
from sacl.serve.app import create_app
from sacl.serve.limits import Limits
from sacl.serve.service import Service
from sacl.training.trained import TrainedModel

TURN = {"speaker": "Ann", "text": "we had cake"}
CHAT = {"id": "c1", "utterances": [TURN, {"speaker": "Bo", "text": "it was late", "time": 4, "emotion": "bored"}]}


@pytest.fixture
def service(recognizer: EmotionRecognizer, causal: EmotionRecognizer) -> Service:
    return Service(recognizer, causal, Limits())


def posted(path: str, **content: Any) -> Callable[[Any], Any]:
    async def work(client: Any) -> Any:
        return await client.post(path, **content)

    return work


def test_a_conversation_is_answered_as_predict_gives_it(ask: Any, service: Service) -> None:
    answer = ask(service, posted("/v1/predict", json=CHAT | {"threshold": 0.9}))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    wanted = service.recognizer.predict([(u["speaker"], u["text"]) for u in CHAT["utterances"]], threshold=0.9)  # type: ignore[index,misc]
    found = answer.json()
    assert (found["id"], len(found["utterances"])) == ("c1", 2)
    for turn, right in zip(found["utterances"], wanted, strict=True):
        assert (turn["id"], turn["speaker"], turn["text"]) == (right.id, right.speaker, right.text)
        assert turn["emotion"] == right.emotion
        assert turn["probabilities"] == pytest.approx(right.probabilities, abs=2e-5)
        assert turn["probability"] == max(turn["probabilities"].values())
    assert found["utterances"][1]["time"] == 4
    assert wire.Recognised.model_validate(found)


def test_several_conversations_are_answered_in_order(ask: Any, service: Service) -> None:
    several = {"conversations": [CHAT, {"utterances": [TURN]}]}

    async def work(client: Any) -> list[Any]:
        return [
            (await client.post("/v1/predict", json=given)).json() for given in (several, CHAT, {"conversations": []})
        ]

    both, alone, none = ask(service, work)
    assert [c["id"] for c in both["conversations"]] == ["c1", "1"]
    assert [u["emotion"] for u in both["conversations"][0]["utterances"]] == [u["emotion"] for u in alone["utterances"]]
    assert none == {"conversations": []}


def test_a_session_from_its_opening_to_its_end(ask: Any, service: Service) -> None:
    async def work(client: Any) -> None:
        opened = await client.post("/v1/sessions")
        assert opened.status_code == 201
        address = f"/v1/sessions/{wire.Opened.model_validate(opened.json()).session}"
        for i in range(2):
            turn = await client.post(f"{address}/turns", json=TURN)
            assert (turn.status_code, turn.json()["id"]) == (200, str(i))
        assert (await client.delete(address)).status_code == 204
        for gone in (await client.delete(address), await client.post(f"{address}/turns", json=TURN)):
            assert gone.status_code == 410
            assert "send its turns again" in gone.json()["error"]["remedy"]

    ask(service, work)


def test_influence_is_answered_as_the_recognizer_gives_it(ask: Any, service: Service) -> None:
    answer = ask(service, posted("/v1/influence", json={"conversation": CHAT, "utterance": "0", "nearest": 3}))
    [moved] = wire.Influences.model_validate(answer.json()).influences
    [wanted] = service.recognizer.influence(CHAT, 0, 3)
    assert (moved.id, moved.position, moved.text) == ("1", 1, "it was late")
    assert moved.moved == pytest.approx(wanted.moved, abs=2e-5)


def test_health_readiness_and_version(ask: Any, service: Service) -> None:
    async def work(client: Any) -> list[Any]:
        return [(await client.get(path)).json() for path in ("/health", "/ready", "/version")]

    alive, ready, version = ask(service, work)
    assert (alive, ready) == ({"status": "alive"}, {"status": "ready"})
    assert version["labels"] == version["live_labels"] == ["calm", "glad", "cross"]
    assert version["reads"] == "texts"


@pytest.mark.parametrize(
    ("path", "content", "status", "found"),
    [
        ("/v1/predict", b"{", 400, "not JSON"),
        ("/v1/predict", b"\xff", 400, "not UTF-8"),
        ("/v1/predict", b"[" * 100_000, 400, "nested"),
        ("/v1/predict", b"[]", 400, "not a JSON object"),
        ("/v1/predict", b'{"a": 1, "a": 2}', 400, "twice"),
        ("/v1/predict", b'{"threshold": NaN}', 400, "not JSON"),
        ("/v1/predict", {}, 400, "not a conversation"),
        ("/v1/predict", {"utterances": []}, 400, "no utterances"),
        ("/v1/predict", CHAT | {"treshold": 1}, 400, "unknown key"),
        ("/v1/predict", CHAT | {"threshold": 2}, 400, "threshold"),
        ("/v1/predict", CHAT | {"threshold": "0.5"}, 400, "threshold"),
        ("/v1/predict", CHAT | {"conversations": [CHAT]}, 400, "beside"),
        ("/v1/predict", {"conversations": {"a": CHAT}}, 400, "no list"),
        ("/v1/predict", {"conversations": [CHAT, 7]}, 400, "not a conversation"),
        ("/v1/predict", {"utterances": [{"text": "hi"}]}, 400, "no speaker"),
        ("/v1/predict", {"utterances": [{"speaker": "A"}]}, 400, "neither text nor vector"),
        ("/v1/predict", {"utterances": [{"speaker": "A", "vector": [1, 2]}]}, 400, "2 numbers"),
        ("/v1/influence", {"conversation": CHAT}, 400, "which utterance"),
        ("/v1/influence", {"conversation": CHAT, "utterance": True}, 400, "which utterance"),
        ("/v1/influence", {"conversation": CHAT, "utterance": 9}, 400, "no utterance 9"),
        ("/v1/influence", {"conversation": CHAT, "utterance": 0, "nearest": "x"}, 400, "nearest"),
        ("/v1/influence", {"utterance": 0}, 400, "not a conversation"),
        ("/v1/sessions", {"a": 1}, 400, "unknown key"),
        ("/v1/sessions/none/turns", TURN, 410, "no such session"),
        ("/v1/sessions/none/turns", {"speaker": 3}, 400, "speaker"),
        ("/v1/sessions/none/turns", {"speaker": "A"}, 400, "neither text nor vector"),
        ("/v1/sessions/none/turns", TURN | {"emotion": "joy"}, 400, "unknown key"),
        ("/v1/predict", {"conversations": [CHAT] * 4}, 422, "4 conversations"),
        ("/v1/predict", {"utterances": [TURN] * 6}, 422, "6 turns"),
        ("/v1/predict", {"utterances": [{"speaker": "A", "text": "x" * 101}]}, 422, "101 characters"),
        ("/v1/predict", {"utterances": [{"speaker": "x" * 21, "text": "x"}]}, 422, "21 characters"),
        ("/v1/predict", {"utterances": [TURN | {"id": "x" * 21}]}, 422, "21 characters"),
        ("/v1/influence", {"conversation": CHAT, "utterance": 0, "nearest": 501}, 422, "501 turns"),
        ("/v1/nothing", {}, 404, "no such address"),
        ("/nothing", {}, 404, "no such address"),
        ("/health", {}, 405, "does not take"),
    ],
)
def test_what_is_wrong_is_told_in_one_shape(
    ask: Any, recognizer: EmotionRecognizer, causal: EmotionRecognizer, path: str, content: Any, status: int, found: str
) -> None:
    limits = Limits(conversations=3, turns=5, text_characters=100, speaker_characters=20)
    body = {"content": content} if isinstance(content, bytes) else {"json": content}
    answer = ask(Service(recognizer, causal, limits), posted(path, **body))
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"found", "where", "remedy"}
    assert found in answer.json()["error"]["found"]
    assert answer.json()["error"]["remedy"]


def test_another_method_is_told_which_there_are(ask: Any, service: Service) -> None:
    async def work(client: Any) -> Any:
        return await client.get("/v1/predict")

    answer = ask(service, work)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_without_a_causal_model_sessions_say_so(ask: Any, recognizer: EmotionRecognizer) -> None:
    for path in ("/v1/sessions", "/v1/sessions/any/turns"):
        answer = ask(Service(recognizer, None, Limits()), posted(path, json=TURN if "any" in path else {}))
        assert answer.status_code == 501
        assert "--causal" in answer.json()["error"]["remedy"]


def test_when_too_many_wait_and_when_it_stops_clients_are_told_to_come_back(
    ask: Any, recognizer: EmotionRecognizer
) -> None:
    service = Service(recognizer, None, Limits(waiting=1))

    async def work(client: Any) -> None:
        recognizer.encoder.gate.clear()
        first = asyncio.ensure_future(client.post("/v1/predict", json=CHAT))
        await recognizer.encoder.is_reading()
        full = await client.post("/v1/predict", json=CHAT)
        stopping = asyncio.ensure_future(service.stop())
        await asyncio.sleep(0)
        ready, health = [await client.get(path) for path in ("/ready", "/health")]
        late = await client.post("/v1/predict", json=CHAT)
        recognizer.encoder.gate.set()
        assert (await first).status_code == 200
        await stopping
        assert [full.status_code, late.status_code, ready.status_code, health.status_code] == [503, 503, 503, 200]
        assert all(int(answer.headers["retry-after"]) > 0 for answer in (full, late, ready))

    ask(service, work)


def test_one_session_too_many_is_told_when_to_come_back(
    ask: Any, recognizer: EmotionRecognizer, causal: EmotionRecognizer
) -> None:
    async def work(client: Any) -> list[Any]:
        return [await client.post("/v1/sessions") for _ in range(2)]

    first, second = ask(Service(recognizer, causal, Limits(sessions=1)), work)
    assert [first.status_code, second.status_code] == [201, 429]
    assert int(second.headers["retry-after"]) > 0
    assert "1 sessions are open" in second.json()["error"]["found"]


@pytest.mark.parametrize(
    ("path", "content", "where"),
    [
        ("/v1/predict", {}, "request"),
        ("/v1/predict", {"utterances": "hi"}, "request"),
        ("/v1/predict", {"conversations": [CHAT, {}]}, "conversation 1"),
        ("/v1/influence", {"utterance": 0}, "request"),
    ],
)
def test_what_is_no_conversation_is_told_where_and_how_to_send_one(
    ask: Any, service: Service, path: str, content: Any, where: str
) -> None:
    error = ask(service, posted(path, json=content)).json()["error"]
    assert (error["found"], error["where"]) == ("it is not a conversation", where)
    assert error["remedy"].startswith("Send {")
    assert "line" not in error["remedy"]


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/influence", "/v1/sessions/{session_id}/turns"])
def test_the_keys_that_are_taken_are_those_that_are_described(ask: Any, service: Service, path: str) -> None:
    async def work(client: Any) -> tuple[set[str], set[str]]:
        operation = (await client.get("/openapi.json")).json()["paths"][path]["post"]
        described = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
        remedy = (await client.post(path, json={"no such key": 1})).json()["error"]["remedy"]
        return set(described), set(remedy.partition(": ")[2].split(", "))

    described, taken = ask(service, work)
    assert described == taken


def test_every_route_has_an_example_that_is_a_valid_request(ask: Any, service: Service) -> None:
    async def work(client: Any) -> int:
        described = (await client.get("/openapi.json")).json()
        id, tried = (await client.post("/v1/sessions")).json()["session"], 0
        for path, methods in described["paths"].items():
            for method, operation in methods.items():
                content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
                if "{session_id}/turns" in path or path in ("/v1/predict", "/v1/influence"):
                    assert content["examples"]
                for example in [e["value"] for e in content.get("examples", {}).values()] or [None]:
                    if method == "delete":
                        continue
                    answer = await client.request(method, path.replace("{session_id}", id), json=example)
                    assert answer.status_code in (200, 201), (path, answer.text)
                    assert str(answer.status_code) in operation["responses"]
                    tried += 1
                    if content:
                        assert set(example) <= set(content["schema"]["properties"])
        return tried

    assert ask(service, work) >= 9


def test_no_page_of_the_documentation_loads_anything_from_elsewhere(ask: Any, service: Service) -> None:
    async def work(client: Any) -> list[int]:
        return [(await client.get(path)).status_code for path in ("/docs", "/redoc", "/openapi.json")]

    assert ask(service, work) == [404, 404, 200]


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/influence", "/v1/sessions/ID/turns"])
def test_a_client_that_goes_away_has_its_work_dropped(service: Service, path: str) -> None:
    """Spoken to as a server would, so that the client can leave while its request waits."""
    encoder = service.recognizer.encoder
    content = {"conversation": CHAT, "utterance": 0} if "influence" in path else TURN if "ID" in path else CHAT

    async def main() -> list[Any]:
        app = create_app(service, page=False)
        sent: list[Any] = []
        left = asyncio.Event()

        async def receive() -> Any:
            if body:
                return {"type": "http.request", "body": body.pop(), "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        async with app.router.lifespan_context(app):
            body = [json.dumps(content).encode()]
            scope = {
                "type": "http",
                "method": "POST",
                "path": path.replace("ID", await service.open_session()),
                "query_string": b"",
                "headers": [(b"host", b"localhost")],
            }
            encoder.gate.clear()
            first = asyncio.ensure_future(service.predict(Conversation("other", _talk())))
            await encoder.is_reading()
            asked = asyncio.ensure_future(app(scope, receive, send))
            while not service.figures().count(b"sacl_waiting_requests 2.0"):
                await asyncio.sleep(0)
            left.set()
            await asyncio.wait_for(asked, 30)
            encoder.gate.set()
            await first
        return sent

    assert asyncio.run(main()) == []
    assert encoder.texts == ["table"]  # type: ignore[union-attr]
    assert b'status="499"} 1.0' in service.figures()


def _talk() -> list[Any]:
    from sacl.conversation import Utterance

    return [Utterance("A", "table")]


def test_a_model_without_encoder_is_served_with_vectors(ask: Any, trained: Callable[..., TrainedModel]) -> None:
    service = Service(EmotionRecognizer(trained(texts=False)), None, Limits())
    turn = {"speaker": "A", "vector": [0.5] * 16}
    answer = ask(service, posted("/v1/predict", json={"utterances": [turn]}))
    assert answer.status_code == 200
    assert "vector" not in answer.json()["utterances"][0]
    refused = ask(Service(service.recognizer, None, Limits()), posted("/v1/predict", json=CHAT))
    assert refused.status_code == 400
    assert "reads no texts" in refused.json()["error"]["found"]
