"""Ids seen: what a set would say, in less memory."""

from __future__ import annotations

import random
import tracemalloc

import hypothesis.strategies as st
from hypothesis import given

from sacl.seen import Seen


@given(st.lists(st.text(max_size=3)))
def test_it_says_what_a_set_says(ids: list[str]) -> None:
    seen, known = Seen(), set[str]()
    for id in ids:
        assert seen.add(id) == (id in known)
        known.add(id)


def test_so_it_does_beyond_many_thousands() -> None:
    draw = random.Random(0)
    seen, known = Seen(), set[str]()
    for _ in range(30_000):
        id = str(draw.randrange(20_000))
        assert seen.add(id) == (id in known)
        known.add(id)


def test_it_takes_few_bytes_an_id() -> None:
    count = 50_000
    tracemalloc.start()
    try:
        seen = Seen()
        for i in range(count):
            seen.add(f"conversation {i}")
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 24 * count
    assert peak < 48 * count
