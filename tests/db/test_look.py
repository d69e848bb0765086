"""One look at the database for all who want it, and a database that does not answer."""

from __future__ import annotations

import asyncio

import pytest

from penstock.db.look import Look
from penstock.errors import StorageUnavailable


class Reading:
    """What is read: held back while the gate is shut, failing with `error`."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.count += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def reading() -> Reading:
    return Reading()


async def test_those_who_ask_at_once_share_one_look(reading: Reading) -> None:
    look = Look(reading)

    assert await asyncio.gather(*(look.share() for _ in range(50))) == [True] * 50
    assert reading.count == 1
    assert await look.share()
    assert reading.count == 2


async def test_who_goes_away_stops_nobody_s_look(reading: Reading) -> None:
    look = Look(reading)
    reading.gate.clear()
    first, second = (asyncio.ensure_future(look.share()) for _ in range(2))
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.wait([first])
    reading.gate.set()

    assert await second
    assert reading.count == 1


async def test_a_look_that_fails_says_so_and_the_next_one_tries_again(reading: Reading) -> None:
    look = Look(reading)
    reading.error = StorageUnavailable("away")

    assert not await look.share()
    reading.error = None
    assert await look.share()


async def test_a_bug_is_not_hidden(reading: Reading) -> None:
    reading.error = ZeroDivisionError()

    with pytest.raises(ZeroDivisionError):
        await Look(reading).share()


async def test_nobody_waits_for_a_look_that_hangs_but_the_first(reading: Reading) -> None:
    look = Look(reading, patience=0.01)
    reading.gate.clear()

    assert await asyncio.gather(*(look.share() for _ in range(5))) == [False] * 5
    assert not await look.share()
    assert reading.count == 1

    reading.gate.set()
    running = look._running
    assert running is not None
    await asyncio.wait([running])  # it ends by itself, and the next one is waited for
    assert await look.share()
    assert reading.count == 2


async def test_closing_ends_the_look(reading: Reading) -> None:
    look = Look(reading, patience=0.01)
    reading.gate.clear()
    assert not await look.share()

    await look.aclose()
    await look.aclose()

    assert asyncio.all_tasks() == {asyncio.current_task()}
