"""A simulated day: a thousand schedules, three schedulers on one file, one clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from penstock.tasks.schedule import Cron, Every, Schedule
from penstock.tasks.task import Task

Scheduled = Callable[..., Task]

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]
DAY = 86_400


async def test_a_thousand_schedules_fire_every_tick_of_a_day_once(plan, scheduled: Scheduled):
    drawn = random.Random(20260105)
    tasks = [scheduled(f"task-{number:04}", some_schedule(drawn)) for number in range(1_000)]
    processes = [await plan.declared(*tasks) for _ in range(3)]
    start = int(plan.clock.now() * 1000)

    passed = 0
    while passed < DAY:
        step = min(drawn.randrange(60, 1_200), DAY - passed)
        passed += step
        plan.clock.advance(step)
        await asyncio.gather(*(process.scheduler.look() for process in processes))
    wanted = {task.name: ticks_of(task, start, start + DAY * 1000) for task in tasks}

    assert sum(map(len, wanted.values())) > 10_000
    assert plan.fired() == {name: ticks for name, ticks in wanted.items() if ticks}
    assert plan.jobs() == {name: len(ticks) for name, ticks in wanted.items() if ticks}


def some_schedule(drawn: random.Random) -> Schedule:
    zone, minute, hour = drawn.choice(ZONES), drawn.randrange(60), drawn.randrange(24)
    return drawn.choice(
        [
            Every(drawn.randrange(25, 240) * 60, "all"),
            Every(drawn.randrange(3_000, 9_000), "all"),
            Cron(f"{minute} * * * *", zone, "all"),
            Cron(f"{minute} {hour} * * *", zone, "all"),
            Cron(f"*/30 {hour}-23 * * MON-FRI", zone, "all"),
        ]
    )


def ticks_of(task: Task, start: int, end: int) -> list[int]:
    """Found by walking, with no plan."""
    ticks: list[int] = []
    tick = task.schedule.next_after(start)
    while tick <= end:
        ticks.append(tick)
        tick = task.schedule.next_after(tick)
    return ticks
