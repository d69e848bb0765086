"""A simulated day of 1,000 schedules on three engines, which come and go: every tick once."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from bisect import bisect_right
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.tasks.factory import open_queue
from penstock.tasks.queue import TaskQueue
from penstock.tasks.schedule import Cron, Every, Schedule
from penstock.tasks.task import Task

pytestmark = [pytest.mark.drill, pytest.mark.slow]

SCHEDULES = 1_000
START = 1_774_738_800.0  # in the night in which Berlin's clocks go forward
DAY = 86_400
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney"]
PATIENCE = 120.0


class Engines:
    """Three engines on one file, with one clock; any of them can be replaced."""

    def __init__(self, path: Path, tasks: list[Task]) -> None:
        self.path = path
        self.tasks = tasks
        self.clock = ManualClock(START)
        self.queues: list[TaskQueue] = []

    async def add(self) -> None:
        queue = open_queue(f"embedded://{self.path}", clock=self.clock)
        queue.register(self.tasks)
        await queue.start()
        self.queues.append(queue)

    async def replace(self, place: int) -> None:
        await self.queues.pop(place).stop(grace=PATIENCE)
        await self.add()


class Runs:
    """Counts the jobs that have run."""

    def __init__(self) -> None:
        self._count = self._wanted = 0
        self._enough = asyncio.Event()

    async def run(self) -> None:
        """What every schedule's task does."""
        self._count += 1
        if self._count >= self._wanted:
            self._enough.set()

    async def until(self, count: int) -> None:
        """Return when so many have run."""
        self._wanted = count
        if self._count < count:
            self._enough.clear()
            await asyncio.wait_for(self._enough.wait(), PATIENCE)


def some_schedule(drawn: random.Random) -> Schedule:
    zone, minute, hour = drawn.choice(ZONES), drawn.randrange(60), drawn.randrange(24)
    return drawn.choice(
        [
            Every(drawn.randrange(5, 240) * 60, "all"),
            Every(drawn.randrange(600, 9_000), "all"),
            Cron(f"{minute} * * * *", zone, "all"),
            Cron(f"{minute} {hour} * * *", zone, "all"),
            Cron(f"*/10 {hour}-23 * * *", zone, "all"),
        ]
    )


def ticks_of(schedule: Schedule, start: int, end: int) -> list[int]:
    found: list[int] = []
    tick = schedule.next_after(start)
    while tick <= end:
        found.append(tick)
        tick = schedule.next_after(tick)
    return found


async def test_every_tick_of_a_day_is_fired_and_run_once(tmp_path: Path):
    drawn = random.Random(20260329)
    runs = Runs()
    tasks = [Task(runs.run, name=f"t{n}", schedule=some_schedule(drawn)) for n in range(SCHEDULES)]
    start = int(START * 1000)
    wanted = {t.name: ticks_of(t.schedule, start, start + DAY * 1000) for t in tasks}
    due = sorted(tick for ticks in wanted.values() for tick in ticks)
    engines = Engines(tmp_path / "tasks.db", tasks)
    for _ in range(3):
        await engines.add()

    passed = 0
    while passed < DAY:
        step = min(drawn.randrange(10, 600), DAY - passed)
        passed += step
        engines.clock.advance(step)
        now = start + passed * 1000
        await runs.until(bisect_right(due, now))
        if drawn.random() < 0.1:
            await engines.replace(drawn.randrange(3))
    for queue in engines.queues:
        await queue.stop()

    with closing(sqlite3.connect(engines.path)) as connection:
        fired = connection.execute("SELECT name, tick_ms FROM fired").fetchall()
        jobs = Counter(name for (name,) in connection.execute("SELECT task FROM job"))
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert sorted(fired) == sorted((name, tick) for name in wanted for tick in wanted[name])
    assert jobs == {name: len(ticks) for name, ticks in wanted.items() if ticks}
