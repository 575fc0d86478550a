"""Places in the queue: nobody takes them all, and whoever loses one is told to come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("prometheus_client", reason="prometheus-client is not installed (extra serve)")

from sacl.serve.client import CLIENT
from sacl.serve.errors import Unavailable
from sacl.serve.waiting import Waiting


class Queue:
    """Clients that take places, within a running loop."""

    def __init__(self, most: int) -> None:
        self.waiting, self.done = Waiting(most), asyncio.Event()
        self.tasks: list[tuple[str, asyncio.Task[str]]] = []

    async def _take(self, client: str) -> str:
        CLIENT.set(client)
        try:
            with self.waiting.place():
                await self.done.wait()
        except Unavailable:
            return "lost"
        return "answered"

    async def come(self, client: str) -> asyncio.Task[str]:
        task = asyncio.create_task(self._take(client))
        self.tasks.append((client, task))
        for _ in range(4):
            await asyncio.sleep(0)
        return task

    def held(self) -> Counter[str]:
        return Counter(client for client, task in self.tasks if not task.done())

    async def end(self) -> list[str]:
        self.done.set()
        await self.waiting.all_gone()
        return [await task for _, task in self.tasks]


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await asyncio.wait_for(work(), 30)

    return asyncio.run(main())


@settings(max_examples=50)
@given(st.integers(1, 12), st.lists(st.sampled_from("aaaabbc"), max_size=40))
def test_places_are_never_more_than_there_are_and_are_shared_by_client(most: int, comers: list[str]) -> None:
    async def work() -> None:
        queue, asked = Queue(most), Counter[str]()
        for client in comers:
            await queue.come(client)
            asked[client] += 1
            held = queue.held()
            assert len(queue.waiting) == sum(held.values()) == min(most, sum(asked.values()))
            for other in asked:
                assert held[other] == asked[other] or max(held.values()) - held[other] <= 1
        ends = await queue.end()
        assert ends.count("answered") == min(most, len(comers))
        assert len(queue.waiting) == 0

    run(work)


def test_the_last_that_the_crowd_asked_for_is_lost() -> None:
    async def work() -> None:
        queue = Queue(3)
        for client in "aaab":
            await queue.come(client)
        assert await queue.end() == ["answered", "answered", "lost", "answered"]

    run(work)


def test_a_client_alone_may_have_them_all_and_is_refused_one_more() -> None:
    async def work() -> None:
        queue = Queue(2)
        for client in "aaa":
            await queue.come(client)
        assert await queue.end() == ["answered", "answered", "lost"]

    run(work)


def test_a_task_that_is_cancelled_by_others_too_ends_as_cancelled() -> None:
    async def work() -> None:
        queue = Queue(1)
        first = await queue.come("a")
        first.cancel()
        await asyncio.sleep(0)
        assert first.cancelled() or first.cancelling()
        queue = Queue(3)
        tasks = [await queue.come("a") for _ in range(3)]
        last = asyncio.create_task(queue._take("b"))  # takes the place of the last one
        await asyncio.sleep(0)
        tasks[-1].cancel()  # and its client goes at the same moment
        await asyncio.gather(tasks[-1], return_exceptions=True)
        assert tasks[-1].cancelled()
        queue.done.set()
        assert await last == "answered"
        assert [await task for task in tasks[:-1]] == ["answered", "answered"]

    run(work)


def test_nobody_waits_for_the_end_where_nobody_is() -> None:
    run(lambda: Waiting(1).all_gone())


def test_what_is_large_takes_the_room_of_several_or_costs_nobody_anything() -> None:
    async def hold(waiting: Waiting, client: str, size: int, ended: asyncio.Event) -> str:
        CLIENT.set(client)
        try:
            with waiting.place(size):
                await ended.wait()
        except Unavailable:
            return "lost"
        return "answered"

    async def work() -> list[str]:
        waiting, ended = Waiting(10), asyncio.Event()
        comers = [("a", 2), ("a", 2), ("a", 2), ("b", 4), ("c", 3), ("d", 9), ("c", 1)]
        tasks = []
        for client, size in comers:
            tasks.append(asyncio.create_task(hold(waiting, client, size, ended)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        ended.set()
        return await asyncio.gather(*tasks)

    # c takes the room of a's last two; d asks for more than anybody has, and nobody loses a place to it.
    assert run(work) == ["answered", "lost", "lost", "answered", "answered", "lost", "answered"]
