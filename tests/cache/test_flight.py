from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from penstock.cache import Cache
from penstock.errors import CacheUnavailable, ReentrantCall

CALLERS = 200


class Work:
    """A computation that counts its calls and ends when it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.error: BaseException | None = None

    async def __call__(self) -> dict[str, list[int]]:
        self.calls += 1
        self.begun.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return {"n": [self.calls]}


async def start(cache: Cache, work: Work, callers: int = CALLERS) -> list[asyncio.Task]:
    tasks = [asyncio.ensure_future(cache.fetch("k", work)) for _ in range(callers)]
    await work.begun.wait()
    await asyncio.sleep(0)
    return tasks


async def test_two_hundred_callers_make_one_call(cache):
    work = Work()
    tasks = await start(cache, work)

    work.go.set()
    hits = await asyncio.gather(*tasks)

    assert work.calls == 1
    assert [hit.source for hit in hits].count("computed") == 1
    assert [hit.source for hit in hits].count("inflight") == CALLERS - 1


async def test_each_caller_gets_a_value_of_its_own(cache):
    work = Work()
    tasks = await start(cache, work, 3)
    work.go.set()
    hits = await asyncio.gather(*tasks)

    for hit in hits:
        hit.value["n"].append("changed")

    assert (await cache.get("k")) == {"n": [1]}
    assert hits[1].value == {"n": [1, "changed"]}


async def test_a_cancelled_first_caller_harms_nobody(cache):
    work = Work()
    tasks = await start(cache, work)

    tasks[0].cancel()
    work.go.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert work.calls == 1
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(answer.value == {"n": [1]} for answer in answers[1:])


async def test_the_result_is_kept_even_if_everybody_leaves(cache):
    work = Work()
    tasks = await start(cache, work, 3)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    work.go.set()
    hit = await cache.fetch("k", work)

    assert (work.calls, hit.value) == (1, {"n": [1]})


async def test_an_error_reaches_everybody_and_is_not_remembered(cache):
    work = Work()
    work.error = RuntimeError("upstream 503")
    tasks = await start(cache, work)

    work.go.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert work.calls == 1
    assert all(answer is work.error for answer in answers)
    work.error = None
    assert (await cache.fetch("k", work)).value == {"n": [2]}
    assert (await cache.stats()).errors == 1


async def test_a_function_that_waits_for_itself_is_refused(cache):
    @cache.cached()
    async def loop(text: str) -> str:
        return await loop(text)

    with pytest.raises(ReentrantCall, match="loop"):
        await loop("a")


async def test_functions_that_wait_for_one_another_are_refused(cache):
    """Neither would ever move, and neither is inside the other."""
    both = asyncio.Barrier(2)

    @cache.cached()
    async def first(text: str) -> str:
        await both.wait()
        return await second(text)

    @cache.cached()
    async def second(text: str) -> str:
        await both.wait()
        return await first(text)

    async with asyncio.timeout(30):
        answers = await asyncio.gather(first("a"), second("a"), return_exceptions=True)

    assert any(isinstance(answer, ReentrantCall) for answer in answers)


async def test_recursion_over_other_arguments_is_fine(cache):
    @cache.cached()
    async def fibonacci(n: int) -> int:
        return n if n < 2 else await fibonacci(n - 1) + await fibonacci(n - 2)

    assert await fibonacci(30) == 832040


def test_a_sync_function_that_calls_itself_is_refused(cache):
    @cache.cached()
    def loop(text: str) -> str:
        return loop(text)

    with pytest.raises(ReentrantCall):
        loop("a")


async def test_fifty_threads_make_one_call(cache):
    calls = []
    begun, go = threading.Event(), threading.Event()

    @cache.cached()
    def slow(text: str) -> list[str]:
        calls.append(text)
        begun.set()
        go.wait(60)
        return [text]

    answers: list[list[str]] = []
    threads = [threading.Thread(target=lambda: answers.append(slow("a"))) for _ in range(50)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    go.set()
    for thread in threads:
        thread.join(60)

    assert (len(calls), len(answers)) == (1, 50)
    assert len({id(answer) for answer in answers}) == 50


def test_two_event_loops_share_one_computation(make_cache_in_thread):
    cache, calls = make_cache_in_thread, []
    begun, go = threading.Event(), threading.Event()

    @cache.cached()
    async def slow(text: str) -> str:
        calls.append(text)
        begun.set()
        await asyncio.to_thread(go.wait, 60)
        return text.upper()

    answers: list[str] = []
    first = threading.Thread(target=lambda: answers.append(asyncio.run(slow("a"))))
    second = threading.Thread(target=lambda: answers.append(asyncio.run(slow("a"))))
    first.start()
    begun.wait(60)
    second.start()
    while not any(flight._waiters[1:] for flight in cache.flights._flights.values()):
        assert second.is_alive()
    go.set()
    first.join(60)
    second.join(60)

    assert (calls, answers) == (["a"], ["A", "A"])


def test_an_event_loop_that_dies_leaves_no_flight_behind(make_cache_in_thread):
    cache = make_cache_in_thread

    @cache.cached()
    async def work(text: str) -> str:
        if asyncio.current_task().get_loop() is doomed:
            await asyncio.Event().wait()
        return text

    doomed = asyncio.new_event_loop()
    waiting = doomed.create_task(work("a"))
    doomed.run_until_complete(asyncio.sleep(0))
    doomed.run_until_complete(asyncio.sleep(0))
    waiting.cancel()
    for task in asyncio.all_tasks(doomed):
        task.cancel()
    doomed.run_until_complete(asyncio.gather(*asyncio.all_tasks(doomed), return_exceptions=True))
    doomed.close()

    assert asyncio.run(work("a")) == "a"


async def test_closing_the_cache_releases_who_waits(make_cache: Callable[..., Cache]):
    cache = make_cache()
    work = Work()
    tasks = await start(cache, work, 3)

    await cache.aclose()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert all(isinstance(answer, CacheUnavailable) for answer in answers)


@pytest.fixture
def make_cache_in_thread():
    from penstock.cache import MemoryStore
    from penstock.hub import LocalHub

    return Cache([MemoryStore()], hub=LocalHub(None))
