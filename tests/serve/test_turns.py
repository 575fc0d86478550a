"""Whose turn it is: the one that used least, a long job now and then, and a few requests in a pass of the loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed (extra serve)")

from sacl.conversation import Conversation, Utterance
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


def test_a_client_alone_fills_a_step_and_shares_it_where_others_wait(loop: Any) -> None:
    shares, jobs = Shares(64), [job(loop, "a", n) for n in (9, 2, 6)]
    assert texts(shares.step(jobs)) == {jobs[1]: 2, jobs[0]: 9, jobs[2]: 6}
    other = job(loop, "b", 1)
    assert sum(texts(Shares(64).step([*jobs, other])).values()) <= 4
    assert other in Shares(64).step([*jobs, other])
    assert len(Shares(1).step(jobs)) == 1


def test_a_step_is_short_jobs_or_one_portion_of_a_long_one_and_neither_starves(loop: Any) -> None:
    shares, long, short = Shares(64), job(loop, "a", 100), job(loop, "a", 2)
    steps = [texts(shares.step([long, short])) for _ in range(4)]
    assert steps == [{short: 2}, {long: 5}, {short: 2}, {long: 5}]


def test_whoever_used_least_comes_first_until_it_is_forgotten(loop: Any) -> None:
    now = 0.0
    shares, a, b = Shares(1, lambda: now), job(loop, "a", 1), job(loop, "b", 1)
    shares.used({a: 1, b: 3}, 4.0)
    assert list(shares.step([b, a])) == [a]
    shares.used({a: 1}, 4.0)
    assert list(shares.step([a, b])) == [b]
    now = 1_000.0
    shares.used({}, 0.0)
    assert shares._used == {}


def test_a_long_job_of_another_does_not_come_again_before_who_used_less(loop: Any) -> None:
    shares, long = Shares(64), job(loop, "a", 100)
    shares.used({long: 500}, 0.1)
    short = job(loop, "b", 2)
    assert list(shares.step([long, short])) == [short]


def test_requests_begin_a_few_in_a_pass_and_one_of_each_client() -> None:
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
