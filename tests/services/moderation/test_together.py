from __future__ import annotations

import asyncio

import pytest

from penstock.errors import NotFound
from penstock.services.moderation.together import together


class Work:
    """Remembers what began and what was cancelled; number 3 fails once `fault` is set."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.last = asyncio.Event()  # number 4 has begun
        self.cancelled: list[int] = []
        self.fault = asyncio.Event()
        self.others = asyncio.Event()  # those that do not fail may end
        self.error = NotFound("there is no third")
        self.error.__cause__ = KeyError(3)

    async def do(self, number: int) -> int:
        self.begun.append(number)
        if number == 4:
            self.last.set()
        if number != 3:
            return await self.wait(number)
        await self.fault.wait()
        raise self.error

    async def wait(self, number: int) -> int:
        try:
            await self.others.wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        return number


async def twice(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("count", [0, 1, 5])
async def test_results_come_in_the_order_of_the_work(count: int) -> None:
    assert await together([twice(n) for n in range(count)]) == [2 * n for n in range(count)]


async def test_when_one_fails_what_is_under_way_ends_and_is_told() -> None:
    work, lost = Work(), list[int]()
    doing = asyncio.ensure_future(
        together([work.do(n) for n in range(5)], gate=asyncio.Semaphore(5), lost=lost.append)
    )
    await work.last.wait()

    work.fault.set()
    await asyncio.sleep(0)
    work.others.set()
    with pytest.raises(NotFound) as raised:
        await doing

    assert lost == [0, 1, 2, 4]
    assert work.cancelled == []
    assert raised.value is work.error
    assert isinstance(raised.value.__cause__, KeyError)


async def test_what_waits_at_the_gate_when_one_fails_never_begins() -> None:
    work, before = Work(), asyncio.all_tasks()
    work.fault.set()
    work.others.set()

    with pytest.raises(NotFound):
        await together([work.do(n) for n in range(3, 1000)], gate=asyncio.Semaphore(1))

    assert work.begun == [3]
    assert asyncio.all_tasks() == before


async def test_what_has_not_begun_when_one_fails_never_begins() -> None:
    work = Work()
    work.fault.set()
    work.others.set()

    with pytest.raises(NotFound):
        await together([work.do(n) for n in range(1000)])

    assert len(work.begun) < 10


async def test_who_is_cancelled_takes_the_work_along() -> None:
    work = Work()
    doing = asyncio.ensure_future(together([work.do(n) for n in range(5)]))
    await work.last.wait()

    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing

    assert sorted(work.cancelled) == [0, 1, 2, 4]
