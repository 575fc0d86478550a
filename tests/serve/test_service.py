"""The service without HTTP: what is read together, what is dropped, and what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed (extra serve)")

from sacl.conversation import Conversation, Utterance
from sacl.features.encoder import Encoder
from sacl.recognizer import UNCERTAIN, EmotionRecognizer, Recognition
from sacl.serve.client import CLIENT
from sacl.serve.errors import Unavailable
from sacl.serve.limits import Limits
from sacl.serve.service import Service
from sacl.training.trained import TrainedModel

Talk = Callable[..., Conversation]
During = Callable[[Service, Callable[[], Any]], Any]


def close_to(found: list[Recognition], wanted: list[Recognition]) -> bool:
    assert [(r.id, r.speaker, r.text, r.emotion) for r in found] == [
        (r.id, r.speaker, r.text, r.emotion) for r in wanted
    ]
    return bool(np.abs(numbers(found) - numbers(wanted)).max() <= 1e-5)


def numbers(recognised: list[Recognition]) -> np.ndarray:
    return np.array([list(r.probabilities.values()) for r in recognised])


def counted(recognizer: EmotionRecognizer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by a number of conversations with every call of the model."""
    calls: list[int] = []
    read = TrainedModel.log_probabilities

    def log_probabilities(self: TrainedModel, items: Any, *rest: Any) -> Any:
        calls.append(len(items))
        return read(self, items, *rest)

    monkeypatch.setattr(TrainedModel, "log_probabilities", log_probabilities)
    return calls


@pytest.mark.parametrize(("together", "batches"), [(64, [1, 7]), (1, [1] * 8)])
def test_requests_that_wait_at_the_same_moment_are_read_together(
    recognizer: EmotionRecognizer,
    talk: Talk,
    monkeypatch: pytest.MonkeyPatch,
    together: int,
    batches: list[int],
    during: During,
) -> None:
    service, encoder = Service(recognizer, None, Limits(together=together), characters=5_000), recognizer.encoder
    talks = [talk(2 + i, seed=i) for i in range(8)]
    wanted = [recognizer.predict(t, threshold=0.1 * i) for i, t in enumerate(talks)]
    encoder.forget()  # type: ignore[union-attr]
    calls = counted(recognizer, monkeypatch)

    async def work() -> list[list[Recognition]]:
        encoder.gate.clear()
        asked = [asyncio.ensure_future(service.predict(talks[0], 0.0))]
        await encoder.is_reading()
        asked += [asyncio.ensure_future(service.predict(t, 0.1 * i)) for i, t in enumerate(talks) if i]
        await asyncio.sleep(0)
        encoder.gate.set()
        return await asyncio.gather(*asked)

    results = during(service, work)
    assert calls[1:] == batches  # the first is the service's own, as it starts
    assert len(encoder.calls) == len(batches)  # type: ignore[union-attr]
    assert all(close_to(found, right) for found, right in zip(results, wanted, strict=True))
    assert {r.emotion for result in results for r in result} > {UNCERTAIN}


def test_conversations_of_one_request_come_back_in_order(
    recognizer: EmotionRecognizer, talk: Talk, during: During
) -> None:
    service = Service(recognizer, None, Limits())
    talks = [talk(n, seed=n, id="same") for n in (5, 1, 3)]
    results = during(service, lambda: service.predict_all(talks))
    assert all(close_to(found, recognizer.predict(t)) for found, t in zip(results, talks, strict=True))
    nothing = Service(recognizer, None, Limits())
    assert during(nothing, lambda: nothing.predict_all([])) == []


def test_a_model_padded_as_released_reads_each_conversation_alone(
    trained: Callable[..., TrainedModel], encoder: Encoder, talk: Talk, during: During
) -> None:
    recognizer = EmotionRecognizer(trained(padding="released"), encoder)
    service = Service(recognizer, None, Limits())
    short, long = talk(2), talk(9)
    found = during(service, lambda: service.predict_all([short, long]))[0]
    assert close_to(found, recognizer.predict(short))
    assert np.abs(numbers(recognizer.predict([short, long])[0]) - numbers(found)).max() > 1e-3


def test_what_waits_and_is_cancelled_is_never_read(recognizer: EmotionRecognizer, talk: Talk, during: During) -> None:
    service, encoder = Service(recognizer, None, Limits()), recognizer.encoder

    async def work() -> None:
        encoder.gate.clear()
        first = asyncio.ensure_future(service.predict(talk(2, seed=1)))
        await encoder.is_reading()
        dropped = asyncio.ensure_future(service.predict(Conversation("c", [Utterance("A", "dropped")])))
        await asyncio.sleep(0)
        dropped.cancel()
        await asyncio.gather(dropped, return_exceptions=True)
        encoder.gate.set()
        await first
        await service.predict(talk(2, seed=2))

    during(service, work)
    assert "dropped" not in encoder.texts  # type: ignore[union-attr]
    assert len(encoder.calls) == 2  # type: ignore[union-attr]


def test_a_long_request_that_is_cancelled_stops_after_the_portion_it_is_at(
    recognizer: EmotionRecognizer, during: During
) -> None:
    service, encoder = Service(recognizer, None, Limits(), characters=100), recognizer.encoder
    long = Conversation("c", [Utterance("A", f"turn {i}") for i in range(50)])

    async def work() -> None:
        encoder.gate.clear()
        asked = asyncio.ensure_future(service.predict(long))
        await encoder.is_reading()
        asked.cancel()
        encoder.gate.set()
        await asyncio.gather(asked, return_exceptions=True)

    during(service, work)
    assert 0 < len(encoder.texts) <= 8  # type: ignore[union-attr]


def test_a_short_request_need_not_wait_for_a_long_one(
    recognizer: EmotionRecognizer, talk: Talk, during: During
) -> None:
    service, encoder = Service(recognizer, None, Limits(), characters=100), recognizer.encoder
    long = Conversation("c", [Utterance("A", f"turn {i}") for i in range(200)])

    async def work() -> None:
        encoder.gate.clear()
        asked = asyncio.ensure_future(service.predict(long))
        await encoder.is_reading()
        short = asyncio.ensure_future(service.predict(talk(1)))
        await asyncio.sleep(0)
        encoder.gate.set()
        await short
        assert not asked.done()
        assert close_to(await asked, recognizer.predict(long))

    during(service, work)


def test_texts_and_vectors_may_go_into_one_request(recognizer: EmotionRecognizer, talk: Talk, during: During) -> None:
    service = Service(recognizer, None, Limits())
    of_texts = talk(3, seed=1)
    vectors = np.random.default_rng(0).normal(size=(2, recognizer.trained.input_size)).astype(np.float32)
    of_vectors = Conversation("v", [Utterance(speaker, vector=v) for speaker, v in zip("AB", vectors, strict=True)])

    async def work() -> Any:
        return await service.predict_all([of_texts, of_vectors])

    first, second = during(service, work)
    assert close_to(first, recognizer.predict(of_texts))
    assert close_to(second, recognizer.predict(of_vectors))


def test_a_fault_stays_with_its_own_request(recognizer: EmotionRecognizer, talk: Talk, during: During) -> None:
    service, encoder = Service(recognizer, None, Limits()), recognizer.encoder
    good = [talk(3, seed=1), talk(4, seed=2)]
    wanted = [recognizer.predict(t) for t in good]
    encoder.refused = "poison"  # type: ignore[union-attr]

    async def work() -> list[Any]:
        poisoned = Conversation("p", [Utterance("A", "poison")])
        asked = [service.predict(t) for t in (good[0], poisoned, good[1])]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, error, second = during(service, work)
    assert isinstance(error, ValueError)
    assert close_to(first, wanted[0])
    assert close_to(second, wanted[1])


def test_a_fault_of_the_worker_itself_is_told_to_whoever_waits(
    recognizer: EmotionRecognizer, talk: Talk, monkeypatch: pytest.MonkeyPatch, during: During
) -> None:
    service = Service(recognizer, None, Limits())

    def fails(*_: Any) -> None:
        raise MemoryError

    async def work() -> list[Recognition]:
        with monkeypatch.context() as broken:
            broken.setattr(service.metrics, "step", fails)
            with pytest.raises(MemoryError):
                await service.predict(talk(2))
        return await service.predict(talk(2))

    assert len(during(service, work)) == 2


def test_influence_is_the_recognizers_own(
    recognizer: EmotionRecognizer, causal: EmotionRecognizer, talk: Talk, during: During
) -> None:
    asked = talk(7)
    for live, own in ((False, recognizer), (True, causal)):
        one = Service(recognizer, causal, Limits())
        found = during(one, lambda one=one, live=live: one.influence(asked, 3, 4, live=live))
        wanted = own.influence(asked, 3, 4)
        assert [(i.id, i.position, i.speaker, i.text) for i in found] == [
            (i.id, i.position, i.speaker, i.text) for i in wanted
        ]
        assert np.allclose([i.moved for i in found], [i.moved for i in wanted], atol=1e-5)


def test_influence_is_worked_out_aside(recognizer: EmotionRecognizer, talk: Talk, during: During) -> None:
    service = Service(recognizer, None, Limits())
    threads = []

    def influence(*_: Any, **__: Any) -> list[Any]:
        threads.append(threading.current_thread())
        return []

    async def work() -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(EmotionRecognizer, "influence", influence)
            await service.influence(talk(3), 1)
        assert service._long is not None
        assert threads == [service._long._reader]

    during(service, work)


def test_a_turn_that_is_being_read_is_not_lost_to_another_client(
    recognizer: EmotionRecognizer, causal: EmotionRecognizer, talk: Talk, during: During
) -> None:
    service = Service(recognizer, causal, Limits(waiting=3))
    encoder: Any = recognizer.encoder

    async def work() -> None:
        id = await service.open_session()
        encoder.gate.clear()
        turn = asyncio.ensure_future(service.add_turn(id, "A", "we had cake"))
        await encoder.is_reading()
        behind = [asyncio.ensure_future(service.predict(talk(1, seed=i))) for i in range(2)]
        await asyncio.sleep(0)
        CLIENT.set("another")
        for is_taken in (True, False):
            asked = asyncio.ensure_future(service.predict(talk(2)))
            await asyncio.sleep(0)
            assert behind[-1].cancelling() if is_taken else asked.done()
        encoder.gate.set()
        ends = await asyncio.gather(turn, *behind, return_exceptions=True)
        assert [isinstance(end, Unavailable) for end in ends] == [False, False, True]
        assert service.sessions.find(id).stream.turns == 1

    during(service, work)


def test_influence_that_is_cancelled_is_not_worked_out(
    recognizer: EmotionRecognizer, talk: Talk, monkeypatch: pytest.MonkeyPatch, during: During
) -> None:
    service, encoder = Service(recognizer, None, Limits()), recognizer.encoder
    monkeypatch.setattr(EmotionRecognizer, "influence", lambda *_, **__: pytest.fail("it was worked out"))

    async def work() -> None:
        encoder.gate.clear()
        asked = asyncio.ensure_future(service.influence(talk(5), 1))
        await encoder.is_reading()
        asked.cancel()
        encoder.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await service.predict(talk(1))

    during(service, work)


def test_what_is_encoded_once_is_not_encoded_again(recognizer: EmotionRecognizer, talk: Talk, during: During) -> None:
    service, encoder = Service(recognizer, None, Limits()), recognizer.encoder
    wanted = recognizer.predict(talk(4))

    async def work() -> list[Recognition]:
        with_vectors = await service.encode(talk(4))
        encoder.forget()
        await service.influence(with_vectors, "1")
        return await service.predict(with_vectors)

    assert close_to(during(service, work), wanted)
    assert encoder.calls == []  # type: ignore[union-attr]


def test_stopping_answers_what_was_accepted_and_takes_no_more(recognizer: EmotionRecognizer, talk: Talk) -> None:
    service, encoder = Service(recognizer, None, Limits()), recognizer.encoder

    async def main() -> None:
        with pytest.raises(Unavailable, match="starting"):
            await service.predict(talk(1))
        await service.start()
        encoder.gate.clear()
        asked = [asyncio.ensure_future(service.predict(talk(2, seed=i))) for i in range(3)]
        await encoder.is_reading()
        stopping = asyncio.ensure_future(service.stop())
        await asyncio.sleep(0)
        assert not service.is_ready
        with pytest.raises(Unavailable, match="stopping"):
            await service.predict(talk(1))
        assert not stopping.done()
        encoder.gate.set()
        results = await asyncio.gather(*asked)
        assert [len(result) for result in results] == [2, 2, 2]
        await asyncio.wait_for(stopping, 30)
        await service.stop()

    asyncio.run(main())


def test_models_of_one_encoder_share_it(
    recognizer: EmotionRecognizer, causal: EmotionRecognizer, talk: Talk, during: During
) -> None:
    service = Service(recognizer, causal, Limits())

    async def work() -> None:
        recognizer.encoder.gate.clear()
        first = asyncio.ensure_future(service.predict(talk(1)))
        await recognizer.encoder.is_reading()
        id = await service.open_session()
        both = [service.predict(talk(2)), service.add_turn(id, "A", "sunny")]
        others = [asyncio.ensure_future(asked) for asked in both]
        await asyncio.sleep(0)
        recognizer.encoder.gate.set()
        await asyncio.gather(first, *others)

    during(service, work)
    assert len(recognizer.encoder.calls) == 2  # type: ignore[union-attr]
    assert causal.encoder.calls == []  # type: ignore[union-attr]
