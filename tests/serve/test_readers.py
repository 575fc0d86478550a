"""The service in processes of their own: the same answers, and what becomes of them where a process ends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed (extra serve)")

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, FeatureError, RunError, SaclError
from sacl.features.encoder import Encoder
from sacl.recognizer import EmotionRecognizer
from sacl.serve import process, reader
from sacl.serve.asked import Question
from sacl.serve.client import CLIENT
from sacl.serve.errors import LimitError, NoLiveModel, SessionGone, TooManySessions, Unavailable
from sacl.serve.limits import Limits
from sacl.serve.messages import Call, Fault, Setup, framed
from sacl.serve.process import Process
from sacl.serve.readers import Readers
from sacl.serve.service import Service
from sacl.training.trained import TrainedModel

pytestmark = pytest.mark.slow  # PyTorch is loaded anew in every process
PATIENCE = 240
Work = Callable[[Readers], Awaitable[Any]]


@pytest.fixture(autouse=True)
def _from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_WAIT_SECONDS", (0.1, 0.1))


@pytest.fixture
def models(trained: Callable[..., TrainedModel], encoder: Encoder) -> tuple[EmotionRecognizer, EmotionRecognizer]:
    return EmotionRecognizer(trained(), encoder), EmotionRecognizer(trained(causal=True), encoder)


@pytest.fixture
def readers(models: tuple[EmotionRecognizer, EmotionRecognizer]) -> Readers:
    return Readers(*models, Limits(sessions=2, text_characters=500))


def run(readers: Readers, work: Work) -> Any:
    async def main() -> Any:
        await readers.start()
        try:
            return await asyncio.wait_for(work(readers), PATIENCE)
        finally:
            await readers.stop()

    return asyncio.run(main())


def pid(one: Process) -> int:
    assert one._begun is not None
    return one._begun._process.pid


def body(turns: int, **more: Any) -> bytes:
    said = [{"speaker": "AB"[i % 2], "text": f"we had cake {i} " + "and tea " * 8} for i in range(turns)]
    return json.dumps({"utterances": said} | more).encode()


def test_answers_are_those_of_a_service_in_this_process(
    readers: Readers, models: tuple[EmotionRecognizer, EmotionRecognizer]
) -> None:
    asked: list[tuple[Question, bytes]] = [("predict", body(2)), ("predict", body(120, threshold=0.4))]
    asked.append(("influence", b'{"conversation": %s, "utterance": 1}' % body(5)))
    talk = Conversation("c", [Utterance("A", "cake"), Utterance("B", "tea")])

    async def work(service: Service) -> list[Any]:
        answers = list[Any](await asyncio.gather(*(service.answer(*one) for one in asked)))
        id = await service.open_session()
        for text in ("cake", "tea"):
            answers.append(await service.answer("turn", json.dumps({"speaker": "A", "text": text}).encode(), id))
        answers += [await service.predict(talk), await service.influence(talk, 0), await service.parsed(len, body(200))]
        answers.append([u.vector.tolist() for u in (await service.encode(talk)).utterances])  # type: ignore[union-attr]
        await service.close_session(id)
        return answers

    found = run(readers, work)
    plain = Service(*models, readers.limits)

    async def main() -> list[Any]:
        await plain.start()
        try:
            return await work(plain)
        finally:
            await plain.stop()

    for one, other in zip(found, asyncio.run(main()), strict=True):
        assert _close(one, other)


def _close(one: Any, other: Any) -> bool:
    """The same but for rounding, which depends on what is read beside it."""
    if isinstance(one, bytes):
        one, other = json.loads(one), json.loads(other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, float):
        return one == pytest.approx(other, abs=1e-5)
    if hasattr(one, "__dataclass_fields__"):
        return all(_close(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__)
    return bool(one == other)


def test_errors_come_back_as_they_were_raised(readers: Readers) -> None:
    wrong: list[tuple[Question, bytes, str, type[SaclError]]] = [
        ("predict", b"{", "", DataError),
        ("predict", b" " * 10_000 + b"[]", "", DataError),
        ("predict", body(2).replace(b"cake", b"c" * 600), "", LimitError),
        ("predict", b'{"utterances": [{"speaker": "A", "vector": [1]}]}', "", FeatureError),
        ("turn", b'{"speaker": "A", "text": "hi"}', "nowhere", SessionGone),
        ("turn", b'{"speaker": "A", "vector": [%s 1]}' % (b"1," * 20_000), "nowhere", LimitError),
    ]

    async def work(service: Readers) -> None:
        for what, content, session, kind in wrong:
            with pytest.raises(kind) as told:
                await service.answer(what, content, session)
            assert type(told.value) is kind
            assert told.value.found
            assert told.value.remedy
        for _ in range(2):
            await service.open_session()
        with pytest.raises(TooManySessions, match="2 sessions are open") as many:
            await service.open_session()
        assert many.value.retry_seconds == 60
        with pytest.raises(Fault):  # neither the kind nor the words of what is no SaclError leave the process
            await service._short_reader.call("no_such_method")

    run(readers, work)


def test_each_client_has_its_own_share_there_too(readers: Readers) -> None:
    async def work(service: Service) -> None:
        for client in ("a", "a", "b"):
            CLIENT.set(client)
            await service.open_session()  # the third one takes the place of a's first

    run(readers, work)


def test_where_a_process_dies_requests_are_told_and_another_one_answers(
    readers: Readers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)

    async def work(service: Readers) -> None:
        id = await service.open_session()
        await service.answer("predict", body(200))  # both are there
        for one, long in ((service._short_reader, body(2)), (service._long_reader, body(1_000))):
            before = pid(one)
            os.kill(before, signal.SIGSTOP)  # it is asked, and does not answer any more
            asked = asyncio.ensure_future(service.answer("predict", long))
            await asyncio.sleep(0.2)
            os.kill(before, signal.SIGKILL)
            with pytest.raises(Unavailable) as told:
                await asked
            assert told.value.retry_seconds == 5
            while True:
                try:
                    answer = await service.answer("predict", long)
                    break
                except Unavailable:
                    await asyncio.sleep(0.1)
            assert len(json.loads(answer.content)["utterances"]) == long.count(b"speaker")
            assert pid(one) != before
            assert service.is_well
        with pytest.raises(SessionGone):
            await service.answer("turn", b'{"speaker": "A", "text": "hi"}', id)

    run(readers, work)
    assert "cake" not in caplog.text


def test_a_process_that_says_nothing_any_more_is_replaced(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_SILENT", 60)
    monkeypatch.setattr(process, "_TICK_SECONDS", 0.1)
    monkeypatch.setattr(process, "_END_SECONDS", 0.1)

    async def work(service: Readers) -> None:
        os.kill(pid(service._short_reader), signal.SIGSTOP)
        asked = [asyncio.ensure_future(service.answer("predict", body(2))) for _ in range(300)]
        assert {type(end) for end in await asyncio.gather(*asked, return_exceptions=True)} == {Unavailable}
        assert not service.is_ready
        while not service.is_ready:
            await asyncio.sleep(0.1)
        assert (await service.answer("predict", body(2))).turns == 2

    run(readers, work)


def test_a_process_that_cannot_begin_is_told(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.sys, "executable", shutil.which("false"))
    with pytest.raises(RunError, match="does not begin"):
        asyncio.run(readers.start())


def test_one_that_ends_again_and_again_is_said_to_be_unwell(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(service: Readers) -> None:
        monkeypatch.setattr(process.sys, "executable", shutil.which("false"))
        assert service.is_well
        os.kill(pid(service._short_reader), signal.SIGKILL)
        while service.is_well:
            await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await service.answer("predict", body(2))

    run(readers, work)


def test_a_call_that_is_cancelled_before_it_began_leaves_nothing_behind() -> None:
    class Slow:
        metrics, sessions, is_well = None, (), True

        async def answer(self, body: bytes) -> None:
            await asyncio.sleep(60)

    async def main() -> None:
        frames, metrics = asyncio.StreamReader(), reader._Noted()
        ours, theirs = socket.socketpair()
        with theirs:
            _, writer = await asyncio.open_connection(sock=ours)
            answering = reader._Answering(Slow(), metrics, writer)  # type: ignore[arg-type]
            for id in range(20):
                frames.feed_data(framed(Call(id, "a", "answer", (b"x" * 1_000,))) + framed(Call(id)))
            frames.feed_data(framed(Call(20, "a", "answer", (b"x",))))
            running = asyncio.create_task(answering.run(frames))
            await asyncio.sleep(0.1)
            assert list(answering._tasks) == [20]
            frames.feed_eof()
            await running
            answering._tasks[20].cancel()
            writer.close()
            await asyncio.sleep(0)

    asyncio.run(main())


def test_a_request_that_is_cancelled_is_dropped_there(readers: Readers) -> None:
    async def work(service: Readers) -> None:
        await service.answer("predict", body(100))
        os.kill(pid(service._long_reader), signal.SIGSTOP)
        asked = asyncio.ensure_future(service.answer("predict", body(500)))
        await asyncio.sleep(0.1)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert asked.cancelled()
        assert len(service._long_reader) == 0
        os.kill(pid(service._long_reader), signal.SIGCONT)
        await service.answer("predict", body(200))
        while b"sacl_encoded_texts_total 300.0" not in service.figures():
            await asyncio.sleep(0.1)

    run(readers, work)


def test_the_process_of_long_requests_holds_no_more_than_there_is_room_for(
    models: tuple[EmotionRecognizer, EmotionRecognizer],
) -> None:
    readers = Readers(*models, Limits(arriving=1, body_bytes=100_000))

    async def work(service: Readers) -> None:
        first = asyncio.ensure_future(service.answer("predict", body(500)))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await service.answer("predict", body(500))
        assert (await first).turns == 500

    run(readers, work)


def test_figures_count_what_the_processes_do(readers: Readers) -> None:
    async def work(service: Readers) -> None:
        await service.answer("predict", body(3))
        await service.open_session()
        while b"sacl_encoded_texts_total 3.0" not in service.figures() or b"sacl_sessions 1.0" not in service.figures():
            await asyncio.sleep(0.1)
        assert b"sacl_waiting_requests 0.0" in service.figures()

    run(readers, work)


def test_a_model_that_cannot_be_read_there_is_told_before_anything_is_answered(
    models: tuple[EmotionRecognizer, EmotionRecognizer], readers: Readers
) -> None:
    setup = readers._short_reader._setup
    broken = Setup(setup.model[:-10], None, False, Limits(), 200)
    readers._short_reader = Process(broken, readers.metrics)

    async def main() -> None:
        with pytest.raises(SaclError, match="damaged"):
            await readers.start()
        assert not readers.is_ready
        with pytest.raises(Unavailable):
            await readers.answer("predict", body(2))

    asyncio.run(main())


def test_it_may_be_stopped_while_a_process_still_begins_and_who_waits_for_it_is_told(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_END_SECONDS", PATIENCE)  # one that loads ends by itself, once it has loaded

    async def main() -> float:
        await readers.start()
        asked = asyncio.ensure_future(readers.answer("predict", body(200)))
        await asyncio.sleep(0)
        begun = asyncio.get_running_loop().time()
        await readers.stop()
        with pytest.raises(Unavailable):
            await asked
        return asyncio.get_running_loop().time() - begun

    assert asyncio.run(main()) < process._END_SECONDS


def test_without_a_causal_model_there_are_no_sessions(models: tuple[EmotionRecognizer, EmotionRecognizer]) -> None:
    readers = Readers(models[0], None, Limits())

    async def work(service: Readers) -> None:
        with pytest.raises(NoLiveModel):
            await service.open_session()
        with pytest.raises(NoLiveModel):
            await service.answer("turn", b'{"speaker": "A", "text": "hi"}', "id")

    run(readers, work)


def is_there(pid: int) -> bool:
    """Whether a process goes on; one that has ended may wait for whoever began it to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_processes_end_with_the_one_that_began_them(
    models: tuple[EmotionRecognizer, EmotionRecognizer], tmp_path: Path
) -> None:
    models[0].trained.save(tmp_path / "model.safetensors")
    code = f"""
import asyncio, sys
from sacl.recognizer import EmotionRecognizer
from sacl.serve.limits import Limits
from sacl.serve.readers import Readers
readers = Readers(EmotionRecognizer.from_pretrained({str(tmp_path)!r}), None, Limits())
async def main():
    await readers.start()
    await readers._long_reader.is_there()
    print(*(one._begun._process.pid for one in (readers._short_reader, readers._long_reader)), flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(one) for one in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.kill()
    parent.communicate()

    async def gone() -> None:
        while any(map(is_there, pids)):
            await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(gone(), PATIENCE))
