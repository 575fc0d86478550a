"""Virtual time, and a selector that goes by it."""

from __future__ import annotations

import selectors
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sacl.serve import fairness
from sacl.serve.fairness import FairSelector, VirtualTime


def served(time: VirtualTime, waiting: list[str], seconds: float) -> str:
    client = min(waiting, key=time.stands)
    time.served(client)
    time.used(client, seconds)
    return client


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 2.0)), min_size=1, max_size=200))
def test_clients_that_always_wait_get_the_same_seconds_to_within_one_request(costs: list[tuple[str, float]]) -> None:
    time, used = VirtualTime(), Counter[str]()
    of = {client: iter([cost for _, cost in costs]) for client in "abc"}
    for _ in costs:
        client = served(time, ["a", "b", "c"], 0.0)
        cost = next(of[client])
        time.used(client, cost)
        used[client] += cost  # type: ignore[assignment]
        assert max(used.values()) - min(used[c] for c in "abc") <= 2.0 + 1e-9


def test_who_asks_for_less_than_its_share_never_waits_for_another_request_of_others() -> None:
    time = VirtualTime()
    for round in range(100):
        for _ in range(20):
            served(time, ["a", "b", "c"], 1.0)
        assert served(time, ["a", "b", "light", "c"], 4.0) == "light", round


def test_what_was_left_unused_is_no_claim_and_a_new_client_does_not_come_before_all() -> None:
    time = VirtualTime()
    for _ in range(100):
        served(time, ["a"], 1.0)
    after = [served(time, ["a", "new"], 1.0) for _ in range(10)]
    assert Counter(after) == {"a": 5, "new": 5}


def test_where_nobody_waited_what_was_used_before_counts_no_more() -> None:
    time = VirtualTime()
    served(time, ["a"], 50.0)
    time.rest()
    after = [served(time, ["a", "new"], 1.0) for _ in range(4)]
    assert Counter(after) == {"a": 2, "new": 2}


def test_clients_that_are_long_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fairness, "_CLIENTS", 10)
    time = VirtualTime()
    for i in range(1_000):
        served(time, [str(i)], 1.0)
        served(time, ["last"], 1.0)
    assert len(time._ends) <= 11


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    with ExitStack() as stack:
        yield [(stack.enter_context(a), stack.enter_context(b)) for a, b in (socket.socketpair() for _ in range(40))]


def test_a_few_events_are_given_at_a_time_and_those_of_the_crowd_last(
    pairs: list[tuple[socket.socket, socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(fairness, "perf_counter", lambda: now[0])
    owners = ["crowd"] * 38 + ["one", None]
    with FairSelector() as selector:
        for owner, (ours, theirs) in zip(owners, pairs, strict=True):
            selector.register(ours, selectors.EVENT_READ, owner)
            theirs.send(b"x")
            if owner:
                selector.client_of[ours.fileno()] = owner
        seen = Counter[str | None]()
        for _ in range(200):
            given = selector.select(0)
            assert 1 <= len(given) <= 6
            assert given[0][0].data is None  # what is no client's own comes first, again and again
            seen.update(key.data for key, _ in given)
            now[0] += 0.001
        assert seen["one"] == pytest.approx(200, abs=5)  # it is always ready, and so gets as much as the crowd
        pairs[-1][0].recv(1)
        for i in range(38):
            pairs[i][0].recv(1)
        assert [key.data for key, _ in selector.select(0)] == ["one"]
        pairs[-2][0].recv(1)
        assert selector.select(0) == []
