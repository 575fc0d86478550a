"""Whose turn it is: that of the client that had least, a long job now and then, and one request after another."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed (extra serve)")

from sacl.conversation import Conversation, Utterance
from sacl.serve.errors import Unavailable
from sacl.serve.turns import Shares, Turns
from sacl.serve.worker import Job


@pytest.fixture
def loop() -> Any:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def job(loop: Any, client: str, turns: int) -> Job:
    """80 characters a turn, which count as 100."""
    said = Conversation("c", [Utterance("A", "x" * 80) for _ in range(turns)])
    made = Job([said], None, lambda jobs: jobs, loop.create_future())
    made.client = client
    return made


def texts(portions: dict[Job, list[str]]) -> dict[Job, int]:
    return {job: len(texts) for job, texts in portions.items()}


def test_a_step_holds_short_jobs_up_to_its_characters_and_in_order_those_of_one_client(loop: Any) -> None:
    jobs = [job(loop, "a", n) for n in (4, 2, 5)]
    assert texts(Shares(64, 500).step(jobs)) == {jobs[0]: 4, jobs[1]: 2, jobs[2]: 4}
    assert len(Shares(1, 500).step(jobs)) == 1
    shares, other = Shares(64, 500), job(loop, "b", 1)
    first = shares.step([*jobs, other])  # a sixth, for somebody else waits
    assert texts(first) == {jobs[0]: 2}
    shares.used({jobs[0]: 300}, 0.1)
    assert other in shares.step([*jobs, other])


def test_a_step_is_short_jobs_or_one_portion_of_a_long_one_and_neither_starves(loop: Any) -> None:
    shares, long, short = Shares(64, 500), job(loop, "a", 100), job(loop, "b", 2)
    kinds = Counter[str]()
    for _ in range(40):
        step = texts(shares.step([long, short]))
        assert step in ({short: 2}, {long: 2})
        kinds[next(iter(step)).client] += 1
        shares.used(dict.fromkeys(step, 1), 0.1)
    assert kinds == {"a": 20, "b": 20}


def test_the_time_of_a_worker_is_shared_by_client_whatever_each_asks_for(loop: Any) -> None:
    shares, used = Shares(1), Counter[str]()
    jobs = [job(loop, "a", 1) for _ in range(30)] + [job(loop, "b", 1)]
    for _ in range(60):
        [done] = shares.step(jobs)
        seconds = 3 if done.client == "b" else 1
        shares.used({done: 1}, seconds)
        used[done.client] += seconds
    assert abs(used["a"] - used["b"]) <= 3


def test_requests_begin_one_in_a_pass_and_one_of_each_client() -> None:
    async def main() -> list[str]:
        turns, begun = Turns(), list[str]()

        async def one(client: str) -> None:
            await turns.wait(client)
            begun.append(client)

        tasks = [asyncio.ensure_future(one(client)) for client in "aaaaaaaab"]
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert turns._waiting == {}
        return begun

    begun = asyncio.run(main())
    assert sorted(begun) == [*"aaaaaaab"]
    assert "b" in begun[:2]


def test_requests_that_are_dear_begin_with_pauses() -> None:
    async def main() -> list[float]:
        turns, loop = Turns(0.05), asyncio.get_running_loop()
        begun, at = loop.time(), list[float]()

        async def one() -> None:
            await turns.wait("a")
            at.append(loop.time() - begun)

        await asyncio.gather(*(one() for _ in range(4)))
        return at

    assert all(when > 0.05 * n - 0.001 for n, when in enumerate(asyncio.run(main())))


def test_no_client_has_more_than_its_number_wait() -> None:
    async def main() -> None:
        turns = Turns(60, most=2)
        await turns.wait("a")  # the first, at once
        waiting = [asyncio.ensure_future(turns.wait(client)) for client in "aabb"]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await turns.wait("a")
        for one in waiting:
            one.cancel()

    asyncio.run(main())
