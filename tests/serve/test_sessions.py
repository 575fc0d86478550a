"""Live sessions: order, limits, age."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed (extra serve)")

from sacl.conversation import Conversation
from sacl.recognizer import UNCERTAIN, EmotionRecognizer
from sacl.serve.errors import LimitError, SessionGone, TooManySessions, Unavailable
from sacl.serve.limits import Limits
from sacl.serve.service import Service

Talk = Callable[..., Conversation]


@pytest.fixture
def live(recognizer: EmotionRecognizer, causal: EmotionRecognizer) -> Callable[..., Any]:
    """live(work, **limits): what `await work(service)` gives; the service's clock is `service.now`, a list of one."""

    def run(work: Callable[[Service], Any], **limits: Any) -> Any:
        async def main() -> Any:
            service = Service(recognizer, causal, Limits(**limits))
            service.now = [0.0]  # type: ignore[attr-defined]
            service.sessions.clock = lambda: service.now[0]  # type: ignore[attr-defined]
            await service.start()
            try:
                return await asyncio.wait_for(work(service), 30)
            finally:
                await service.stop()

        return asyncio.run(main())

    return run


def test_turns_are_recognised_as_in_the_whole_conversation_whatever_else_is_read(
    live: Any, causal: EmotionRecognizer, talk: Talk
) -> None:
    talks = [talk(12, seed=i) for i in range(3)]

    async def one(service: Service, said: Conversation) -> list[Any]:
        id = await service.open_session()
        return [await service.add_turn(id, u.speaker, u.text) for u in said.utterances]

    async def work(service: Service) -> Any:
        return await asyncio.gather(*(one(service, said) for said in talks), service.predict(talk(30)))

    for said, found in zip(talks, live(work), strict=False):
        wanted = causal.predict(said)
        assert [(r.id, r.emotion) for r in found] == [(r.id, r.emotion) for r in wanted]
        both = [[list(r.probabilities.values()) for r in some] for some in (found, wanted)]
        assert np.abs(np.subtract(*both)).max() <= 1e-5


def test_turns_sent_at_once_are_read_in_the_order_they_came(live: Any, causal: EmotionRecognizer, talk: Talk) -> None:
    said = talk(20)

    async def work(service: Service) -> Any:
        id = await service.open_session()
        return await asyncio.gather(*(service.add_turn(id, u.speaker, u.text) for u in said.utterances))

    found = live(work)
    assert [(r.id, r.text) for r in found] == [(u.id, u.text) for u in said.utterances]
    assert [r.emotion for r in found] == [r.emotion for r in causal.predict(said)]


def test_a_threshold_is_of_its_turn(live: Any) -> None:
    async def work(service: Service) -> Any:
        id = await service.open_session()
        return [await service.add_turn(id, "A", "sunny", threshold) for threshold in (1.0, None, 0.0)]

    first, *others = live(work)
    assert first.emotion == UNCERTAIN
    assert UNCERTAIN not in [r.emotion for r in others]


def test_a_turn_that_is_cancelled_while_it_waits_was_not_said(live: Any, causal: EmotionRecognizer) -> None:
    async def work(service: Service) -> Any:
        id, encoder = await service.open_session(), service.recognizer.encoder
        encoder.gate.clear()
        before = asyncio.ensure_future(service.add_turn(id, "A", "cake"))
        await encoder.is_reading()
        dropped = asyncio.ensure_future(service.add_turn(id, "B", "broken"))
        after = asyncio.ensure_future(service.add_turn(id, "A", "noon"))
        await asyncio.sleep(0)
        dropped.cancel()
        encoder.gate.set()
        return [await before, await after]

    wanted = causal.predict([("A", "cake"), ("A", "noon")])
    found = live(work)
    assert [r.id for r in found] == ["0", "1"]
    assert found[1].probability == pytest.approx(wanted[1].probability, abs=1e-5)


@pytest.mark.parametrize("limits", [{"session_idle_seconds": 10}, {"session_seconds": 25}], ids=["idle", "old"])
def test_sessions_are_forgotten_when_idle_or_old(live: Any, limits: dict[str, float]) -> None:
    async def work(service: Service) -> None:
        id = await service.open_session()
        for service.now[0] in (9, 18) if "session_idle_seconds" in limits else (9, 24):
            await service.add_turn(id, "A", "cake")
        service.now[0] = 29  # type: ignore[attr-defined]
        with pytest.raises(SessionGone):
            await service.add_turn(id, "A", "cake")
        assert len(service.sessions) == 0

    live(work, **limits)


def test_ids_of_sessions_are_long_and_unlike(live: Any) -> None:
    async def work(service: Service) -> set[str]:
        return {await service.open_session() for _ in range(50)}

    ids = live(work)
    assert len(ids) == 50
    assert min(map(len, ids)) >= 43
    assert len({id[:8] for id in ids}) == 50


def test_closed_and_unknown_sessions_are_gone(live: Any) -> None:
    async def work(service: Service) -> None:
        id = await service.open_session()
        await service.close_session(id)
        for asked in (id, "never", ""):
            with pytest.raises(SessionGone):
                await service.add_turn(asked, "A", "cake")
            with pytest.raises(SessionGone):
                await service.close_session(asked)

    live(work)


def test_a_session_closed_while_a_turn_waits_takes_it_no_more(live: Any) -> None:
    async def work(service: Service) -> None:
        id, encoder = await service.open_session(), service.recognizer.encoder
        encoder.gate.clear()
        first, second = (asyncio.ensure_future(service.add_turn(id, "A", text)) for text in ("cake", "noon"))
        await encoder.is_reading()
        await service.close_session(id)
        encoder.gate.set()
        assert (await first).text == "cake"
        with pytest.raises(SessionGone):
            await second

    live(work)


def test_sessions_turns_and_speakers_are_limited(live: Any) -> None:
    async def work(service: Service) -> None:
        id, other = await service.open_session(), await service.open_session()
        with pytest.raises(TooManySessions, match="2 sessions are open"):
            await service.open_session()
        await service.close_session(other)
        other = await service.open_session()
        await service.add_turn(id, "A", "cake")
        await service.add_turn(id, "B", "cake")
        with pytest.raises(LimitError, match="2 speakers"):
            await service.add_turn(id, "C", "cake")
        assert (await service.add_turn(id, "A", "cake")).id == "2"
        with pytest.raises(LimitError, match="3 turns"):
            await service.add_turn(id, "A", "cake")
        assert (await service.add_turn(other, "C", "cake")).id == "0"

    live(work, sessions=2, session_turns=3, session_speakers=2)


def test_no_session_is_opened_while_the_server_stops(recognizer: EmotionRecognizer, causal: EmotionRecognizer) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(Service(recognizer, causal, Limits()).open_session())
