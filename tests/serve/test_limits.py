"""What the service refuses: too much of anything, and vectors that do not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed (extra serve)")

from sacl.conversation import Conversation, Utterance
from sacl.errors import DataError, FeatureError, RecipeError, SaclError
from sacl.recognizer import EmotionRecognizer
from sacl.serve.errors import LimitError, NoLiveModel, Unavailable
from sacl.serve.limits import Limits
from sacl.serve.service import Service
from sacl.training.trained import TrainedModel

Talk = Callable[..., Conversation]
During = Callable[[Service, Callable[[], Any]], Any]


def test_so_many_may_wait_and_no_more(recognizer: EmotionRecognizer, talk: Talk, during: During) -> None:
    service, encoder = Service(recognizer, None, Limits(waiting=2)), recognizer.encoder

    async def work() -> None:
        encoder.gate.clear()
        asked = [asyncio.ensure_future(service.predict(talk(1, seed=i))) for i in range(2)]
        await encoder.is_reading()
        with pytest.raises(Unavailable, match="too much waits already") as refused:
            await service.predict(talk(1))
        assert refused.value.retry_seconds > 0
        encoder.gate.set()
        await asyncio.gather(*asked)
        await service.predict(talk(1))

    during(service, work)


@pytest.mark.parametrize(
    ("limits", "turns"),
    [
        (Limits(turns=2), [("A", "a"), ("A", "b"), ("B", "c")]),
        (Limits(text_characters=3), [("A", "abcd")]),
        (Limits(speaker_characters=3), [("Anna", "a")]),
    ],
    ids=["turns", "text", "speaker"],
)
def test_what_is_beyond_a_limit_is_refused(
    recognizer: EmotionRecognizer, limits: Limits, turns: list[tuple[str, str]]
) -> None:
    conversation = Conversation("c", [Utterance(*turn) for turn in turns])
    with pytest.raises(LimitError, match=r"are the most"):
        Service(recognizer, None, limits).check(conversation)
    Service(recognizer, None, Limits()).check(conversation)
    Service(recognizer, None, limits).check(Conversation("c", [Utterance("A", "abc")]))


def test_vectors_are_read_in_place_of_texts_where_all_turns_have_them(
    recognizer: EmotionRecognizer, trained: Callable[..., TrainedModel], during: During
) -> None:
    vector = np.linspace(-1, 1, 16)
    turns = [Utterance("A", vector=vector), Utterance("B", vector=-vector)]
    for reads in (recognizer, EmotionRecognizer(trained(texts=False))):
        service = Service(reads, None, Limits())
        given = Conversation("c", turns)
        found = during(service, lambda s=service, g=given: s.predict(g))
        for one, wanted in zip(found, reads.predict(given), strict=True):
            assert one.probabilities == pytest.approx(wanted.probabilities, abs=1e-5)


@pytest.mark.parametrize(
    ("texts", "turns", "found"),
    [
        (True, [Utterance("A", vector=np.zeros(16)), Utterance("A", "b")], "others have one"),
        (True, [Utterance("A", vector=np.zeros(15))], "15 numbers, and the model reads 16"),
        (True, [Utterance("A", vector=np.zeros((1, 16)))], "16 numbers"),
        (True, [Utterance("A", vector=np.full(16, 1e30))], "beyond 1e+06"),
        (True, [Utterance("A", vector=np.full(16, np.nan))], "beyond 1e+06"),
        (False, [Utterance("A", "b")], "reads no texts"),
    ],
    ids=["mixed", "narrow", "flat", "huge", "nan", "texts"],
)
def test_vectors_that_do_not_fit_are_refused(
    recognizer: EmotionRecognizer,
    trained: Callable[..., TrainedModel],
    texts: bool,
    turns: list[Utterance],
    found: str,
) -> None:
    reads = recognizer if texts else EmotionRecognizer(trained(texts=False))
    with pytest.raises(FeatureError) as refused:
        Service(reads, None, Limits()).check(Conversation("c", turns))
    assert found in str(refused.value)


def test_what_cannot_be_asked_for_is_refused_before_it_waits(
    recognizer: EmotionRecognizer, talk: Talk, during: During
) -> None:
    service = Service(recognizer, None, Limits(conversations=2, neighbours=9))
    cases: list[tuple[type[SaclError], Callable[[], Any]]] = [
        (RecipeError, lambda: service.predict(talk(1), 1.5)),
        (RecipeError, lambda: service.predict(talk(1), True)),
        (RecipeError, lambda: service.influence(talk(1), 0, -1)),
        (LimitError, lambda: service.influence(talk(1), 0, 10)),
        (DataError, lambda: service.influence(talk(1), 5, 9)),
        (LimitError, lambda: service.predict_all([talk(1)] * 3)),
        (NoLiveModel, lambda: service.influence(talk(1), 0, 9, live=True)),
        (NoLiveModel, lambda: service.add_turn("any", "A", "b")),
    ]

    async def work() -> None:
        for kind, asked in cases:
            with pytest.raises(kind):
                await asked()
        with pytest.raises(NoLiveModel):
            await service.open_session()

    during(service, work)
    assert recognizer.encoder.calls == []  # type: ignore[union-attr]
