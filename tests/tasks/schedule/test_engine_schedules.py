"""Schedules through a queue on a real engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.errors import NotFound
from penstock.tasks.factory import open_queue
from penstock.tasks.queue import TaskQueue
from penstock.tasks.task import Task


class Reports:
    """Writes reports, and lets a test wait for them."""

    def __init__(self) -> None:
        self.written: asyncio.Queue[str] = asyncio.Queue()

    async def write(self, what: str = "daily") -> str:
        self.written.put_nowait(what)
        return what

    async def next(self) -> str:
        return await asyncio.wait_for(self.written.get(), 30)


@pytest.fixture
def reports() -> Reports:
    return Reports()


@pytest.fixture
async def queue(tmp_path: Path, reports: Reports) -> AsyncIterator[TaskQueue]:
    """A queue with one task that runs often, and one that runs once a year."""
    queue = open_queue(f"embedded://{tmp_path / 'tasks.db'}")
    queue.register(
        [
            Task(reports.write, name="often", schedule="every 100ms"),
            Task(reports.write, name="seldom", schedule="@yearly", queue="maintenance"),
        ]
    )
    async with queue:
        yield queue


async def test_a_scheduled_task_runs_by_itself(queue: TaskQueue, reports: Reports):
    await reports.next()
    await reports.next()

    often, seldom = await queue.store.schedules()

    assert (often.name, often.when, often.declared) == ("often", "every 100ms", True)
    assert often.last_job is not None
    assert (seldom.queue, seldom.timezone, seldom.last_at) == ("maintenance", "UTC", None)


async def test_a_task_that_is_run_now_has_the_job_that_is_told(queue: TaskQueue, reports: Reports):
    await queue.pause_schedule("often", paused=True)

    added = await queue.engine.fire("seldom")

    assert await queue.job(added.id).result(timeout=30) == "daily"
    assert (await queue.store.schedules())[1].last_job == added.id


async def test_what_is_paused_says_so(queue: TaskQueue):
    paused = await queue.pause_schedule("seldom", paused=True)
    resumed = await queue.pause_schedule("seldom", paused=False)

    assert (paused.paused, paused.next_at) == (True, None)
    assert not resumed.paused
    assert resumed.next_at is not None


async def test_a_schedule_that_nobody_declared_is_not_found(queue: TaskQueue):
    with pytest.raises(NotFound, match="there is no schedule 'hourly'"):
        await queue.engine.fire("hourly")
