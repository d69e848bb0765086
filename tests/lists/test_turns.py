"""One thread at a time for each key."""

from __future__ import annotations

import asyncio
import threading

import pytest

from penstock.lists.turns import Turns


async def test_a_key_has_one_thread_at_a_time_and_others_theirs() -> None:
    turns, going_on, begun = Turns(), threading.Event(), list[str]()
    both = threading.Semaphore(0)

    def work(name: str) -> str:
        begun.append(name)
        both.release()
        going_on.wait(30)
        return name

    first = asyncio.ensure_future(turns.run("key_1", lambda: work("first")))
    second = asyncio.ensure_future(turns.run("key_1", lambda: work("second")))
    other = asyncio.ensure_future(turns.run("key_2", lambda: work("other")))
    for _ in range(2):
        await asyncio.to_thread(both.acquire, timeout=30)
    early = set(begun)
    going_on.set()

    assert await asyncio.gather(first, second, other) == ["first", "second", "other"]
    assert early == {"first", "other"}
    assert not turns._locks


async def test_who_goes_away_frees_no_thread() -> None:
    turns, going_on, begun = Turns(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        going_on.wait(30)

    first = asyncio.ensure_future(turns.run("key_1", work))
    await asyncio.to_thread(begun.wait, 30)
    first.cancel()
    second = asyncio.ensure_future(turns.run("key_1", lambda: "second"))
    for _ in range(20):
        await asyncio.sleep(0)
    waiting = not second.done()
    going_on.set()

    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == "second"
    assert waiting
