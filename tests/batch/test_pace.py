"""A batch that computes steps aside for whoever else is on the loop."""

from __future__ import annotations

import asyncio

from penstock.batch.pace import IN_BACKGROUND, Pace
from penstock.clock import ManualClock


class Busy:
    """A loop whose every trip takes a while: time passes whenever the clock is asked."""

    def __init__(self, step: float) -> None:
        self.step = step
        self.time = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        self.time += self.step
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_a_little_work_is_not_interrupted():
    clock = ManualClock()
    pace = Pace(clock)
    seen: list[str] = []
    asyncio.get_running_loop().call_soon(seen.append, "other")

    await pace.turn()

    assert seen == []


async def test_after_a_slice_of_work_others_have_their_turn():
    clock = ManualClock()
    pace = Pace(clock)
    clock.advance(0.001)
    seen: list[str] = []
    asyncio.get_running_loop().call_soon(seen.append, "other")

    await pace.turn()

    assert seen == ["other"]


async def test_while_the_loop_is_busy_it_stays_away_longer_each_time_but_not_for_ever():
    clock = Busy(step=0.001)
    pace = Pace(clock)

    await pace.turn()

    assert len(clock.slept) == IN_BACKGROUND
    assert clock.slept == sorted(set(clock.slept))
    assert sum(clock.slept) < 0.2
