"""A worker that dies, fails with everything, or does not come back: clients are told so, and health as well."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

from sacl.conversation import Conversation, Utterance
from sacl.recognizer import EmotionRecognizer
from sacl.serve import worker
from sacl.serve.limits import Limits
from sacl.serve.service import Service

CHAT = {"utterances": [{"speaker": "Ann", "text": "we had cake"}]}
LARGE = b" " * 70_000 + b'{"utterances": [{"speaker": "Ann", "text": "we had cake"}]}'


@pytest.fixture
def service(recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.02)
    return Service(recognizer, None, Limits())


async def told(client: Any) -> list[int]:
    """What predict and health answer; where that is 503 they say when to come back, in the shape of every error."""
    answers = [await client.post("/v1/predict", json=CHAT), await client.get("/health")]
    for answer in answers:
        if answer.status_code != 200:
            assert int(answer.headers["retry-after"]) > 0
            assert set(answer.json()["error"]) == {"found", "where", "remedy"}
    return [answer.status_code for answer in answers]


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, StopIteration, SystemExit, KeyboardInterrupt])
def test_an_encoder_that_reads_nothing_any_more_is_told_apart_and_may_recover(
    ask: Any, service: Service, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error("we had cake")

    async def work(client: Any) -> None:
        assert await told(client) == [200, 200]
        with monkeypatch.context() as broken:
            broken.setattr(service.recognizer.encoder, "encode", fails)
            assert await told(client) == [503, 503]
            assert await told(client) == [503, 503]
        assert await told(client) == [200, 200]

    ask(service, work)


def test_nobody_waits_for_a_worker_that_has_ended(ask: Any, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("a fault between two steps")

    async def work(client: Any) -> None:
        monkeypatch.setattr(service._worker._shares, "step", fails)  # type: ignore[union-attr]
        assert await told(client) == [503, 503]
        assert await told(client) == [503, 503]

    ask(service, work)


def test_a_fault_that_is_the_requests_own_leaves_the_worker_well(ask: Any, service: Service) -> None:
    service.recognizer.encoder.refused = "poison"  # type: ignore[union-attr]

    async def work(client: Any) -> None:
        poisoned = await client.post("/v1/predict", json={"utterances": [{"speaker": "A", "text": "poison"}]})
        assert poisoned.status_code == 500
        assert await told(client) == [200, 200]

    ask(service, work)


@pytest.mark.parametrize("name", ["short", "long"])
def test_a_thread_that_is_killed_is_noticed(
    ask: Any, service: Service, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    async def work(client: Any) -> None:
        body = LARGE if name == "long" else LARGE.strip()
        assert (await client.post("/v1/predict", content=body)).status_code == 200
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("sacl-serve")]
        for thread in threads:
            exception = ctypes.py_object(SystemExit)
            assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), exception) == 1
        for _ in range(2):
            answer = await client.post("/v1/predict", content=body)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
        assert (await client.get("/health")).status_code == 503
        assert not all(thread.is_alive() for thread in threads)

    ask(service, work)
    assert "cake" not in caplog.text


def test_a_step_that_does_not_come_back_is_given_up_and_those_behind_it_are_told(
    ask: Any, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(client: Any) -> None:
        encoder: Any = service.recognizer.encoder
        encoder.gate.clear()
        monkeypatch.setattr(worker, "_STEP_SECONDS", 0.1)
        behind = [asyncio.ensure_future(client.post("/v1/predict", json=CHAT)) for _ in range(3)]
        assert [(await one).status_code for one in behind] == [503] * 3
        assert await told(client) == [503, 503]
        monkeypatch.undo()
        encoder.gate.set()
        while not service.is_well:  # it came back after all
            await asyncio.sleep(0.01)
        assert await told(client) == [200, 200]

    ask(service, work)


def test_what_is_left_of_a_job_is_what_its_vectors_leave(recognizer: EmotionRecognizer) -> None:
    async def main() -> None:
        texts = ["", "a" * 30, "b" * 5000]
        future = asyncio.get_running_loop().create_future()
        conversation = Conversation("c", [Utterance("A", text) for text in texts])
        job = worker.Job([conversation], recognizer.encoder, lambda jobs: jobs, future)
        left = [job.left]
        for text in texts:
            job.add(list(recognizer.encoder.encode([text])))  # type: ignore[union-attr]
            left.append(job.left)
        assert left == [20 + 50 + 1020, 50 + 1020, 1020, 0]

    asyncio.run(main())
