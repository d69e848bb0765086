from __future__ import annotations

import asyncio

import pytest

from penstock.errors import ProviderThrottled
from penstock.providers.concurrency import AdaptiveLimit


def limit_of(highest: int, *, max_waiting: int = 100) -> AdaptiveLimit:
    return AdaptiveLimit(highest=highest, max_waiting=max_waiting)


async def wait_for_turns(limit: AdaptiveLimit, group: asyncio.TaskGroup, names: str) -> list[str]:
    """Start one waiter for each name; the list fills in the order in which they are served."""
    served: list[str] = []

    async def wait(name: str) -> None:
        await limit.acquire()
        served.append(name)

    for name in names:
        group.create_task(wait(name))
    await asyncio.sleep(0)
    return served


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_waiters_are_served_in_their_order() -> None:
    limit = limit_of(1)
    await limit.acquire()

    async with asyncio.TaskGroup() as group:
        served = await wait_for_turns(limit, group, "abc")
        for _ in range(3):
            limit.release()
            await settle()

    assert served == ["a", "b", "c"]


async def test_no_one_passes_those_who_wait() -> None:
    limit = limit_of(1)
    await limit.acquire()

    async with asyncio.TaskGroup() as group:
        served = await wait_for_turns(limit, group, "a")
        limit.release()
        late = group.create_task(limit.acquire())
        await settle()

        assert served == ["a"]
        assert not late.done()
        limit.release()


async def test_a_full_queue_refuses() -> None:
    limit = limit_of(1, max_waiting=1)
    await limit.acquire()

    async with asyncio.TaskGroup() as group:
        await wait_for_turns(limit, group, "a")
        with pytest.raises(ProviderThrottled, match="1 calls wait"):
            await limit.acquire()
        limit.release()


async def test_a_waiter_that_is_cancelled_blocks_no_one() -> None:
    limit = limit_of(1)
    await limit.acquire()
    leaving = asyncio.ensure_future(limit.acquire())
    await asyncio.sleep(0)

    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    limit.release()

    assert limit.waiting == 0
    assert limit.in_use == 0


async def test_a_turn_that_comes_with_the_cancellation_is_handed_on() -> None:
    limit = limit_of(1)
    await limit.acquire()
    first, second = (asyncio.ensure_future(limit.acquire()) for _ in range(2))
    await asyncio.sleep(0)

    limit.release()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    assert await second == 0
    assert limit.in_use == 1


async def test_it_shrinks_once_for_all_calls_of_a_round() -> None:
    limit = limit_of(16)
    rounds = [await limit.acquire() for _ in range(16)]

    for each in rounds:
        limit.shrink(of=each)
        limit.release()

    assert limit.limit == 8


async def test_it_never_shrinks_below_one() -> None:
    limit = limit_of(4)

    for _ in range(10):
        limit.shrink(of=await limit.acquire())
        limit.release()

    assert limit.limit == 1


async def test_it_grows_by_one_a_round_up_to_the_highest() -> None:
    limit = limit_of(4)
    limit.shrink(of=0)
    for _ in range(2):
        await limit.acquire()
    seen = []

    for _ in range(20):
        limit.grow()
        seen.append(limit.limit)

    assert seen[2] == 3
    assert seen[-1] == 4


async def test_a_limit_that_is_not_used_does_not_grow() -> None:
    limit = limit_of(16)
    limit.shrink(of=0)
    await limit.acquire()

    limit.grow()

    assert limit.limit == 8
