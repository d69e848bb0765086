"""`penstock tasks show` tells why a job does not start."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.cli.waiting import why
from penstock.observe.metrics import Metrics
from penstock.opening import open_layer_queue
from penstock.settings import Settings
from penstock.tasks import TaskQueue
from penstock.tasks.task import declare

PATIENCE = 60.0


@declare(name="shop:double")
async def double(number: int) -> int:
    return 2 * number


@declare(name="shop:hold")
async def hold() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def looking(home: Path) -> AsyncIterator[TaskQueue]:
    """A queue that runs nothing."""
    settings = Settings(home=home, log_level="error", task_workers=0)
    async with open_layer_queue(settings, metrics=Metrics()) as queue:
        yield queue


async def told(queue: TaskQueue, job_id: str, *, now: int | None = None) -> str | None:
    job = await queue.get(job_id)
    return await why(queue, job, now=job.created_at + 1000 if now is None else now)


async def test_its_queue_is_paused(looking):
    job = await looking.enqueue(double, (1,), {}, {"queue": "analytics"})
    await looking.pause("analytics")

    assert await told(looking, job.id) == (
        "its queue is paused; see: penstock tasks resume analytics"
    )


async def test_its_time_has_not_come(looking):
    job = await looking.enqueue(double, (1,), {}, {"delay": "1h"})

    assert str(await told(looking, job.id)).startswith("its time has not come: 20")


async def test_no_process_runs_jobs(looking):
    job = await looking.enqueue(double, (1,))

    assert "no process runs jobs of" in str(await told(looking, job.id))


async def test_no_process_that_lives_has_taken_it(looking, home):
    settings = Settings(home=home, log_level="error")
    async with open_layer_queue(settings, metrics=Metrics()):  # it does not know the task
        job = await looking.enqueue(double, (1,))

        said = str(await told(looking, job.id))

    assert f"jobs are run by: {os.getpid()}" in said
    assert "has shop in PENSTOCK_INCLUDE and runs the queue default" in said


async def test_others_of_its_queue_are_before_it(looking, home):
    settings = Settings(home=home, log_level="error", task_workers=1)
    async with open_layer_queue(settings, metrics=Metrics()) as running:
        first = await running.enqueue(hold)
        async with asyncio.timeout(PATIENCE):
            async for record in first.watch():
                if record.state == "running":
                    break
        second = await running.enqueue(hold)

        assert "1 jobs of its queue run, 1 wait" in str(await told(looking, second.id))
        assert await told(looking, first.id) is None
        await first.cancel()
        await second.cancel()


async def test_one_that_has_ended_waits_for_nothing(looking):
    job = await looking.enqueue(double, (1,))
    await job.cancel()

    assert await told(looking, job.id) is None


def test_show_prints_it(run, run_json, home):
    async def fill() -> str:
        settings = Settings(home=home, log_level="error", task_workers=0)
        async with open_layer_queue(settings, metrics=Metrics()) as queue:
            return (await queue.enqueue(double, (1,))).id

    job_id = asyncio.run(fill())

    assert "no process runs jobs" in run_json("tasks", "show", job_id)["why"]
    assert "no process runs jobs" in run("tasks", "show", job_id).stdout
