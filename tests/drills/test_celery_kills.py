"""Workers killed at random, brokers that come and go: nothing is lost, nothing is done twice at
once. The short forms are in `tests/tasks/celery/test_faults.py`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from penstock.tasks import JobFilter
from tests.tasks.celery.celery_jobs import block, echo, wait
from tests.tasks.celery.conftest import asking, celery_on, until

__all__ = ["asking", "celery_on"]  # fixtures
pytestmark = pytest.mark.drill

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
PATIENCE = 240.0
KILLS = 10


async def test_workers_are_killed_again_and_again_and_every_job_is_done(redis, celery_on, asking):
    """T7: 0 lost; started twice at most what was in flight; back within its lease."""
    celery = celery_on(redis, lease=3)
    queue = await asking(celery.url)
    chance = random.Random(7)
    workers = [celery.worker(f"w{number}") for number in range(2)]
    jobs = await queue.enqueue_many(echo.options(retries=KILLS).task, [str(n) for n in range(400)])
    longer = [await queue.enqueue(block, (1,), options={"retries": KILLS}) for _ in range(40)]
    for kill in range(KILLS):
        await asyncio.sleep(chance.uniform(1, 3))
        victim = chance.randrange(2)
        celery.kill(workers[victim])
        workers[victim] = celery.worker(f"w{kill}-{victim}")

    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(job.result() for job in (*jobs, *longer)))

    counts = await queue.store.count(JobFilter())
    assert counts == {"completed": 440}
    starts = Counter(line.split()[1] for line in celery.noted("echo"))
    assert set(starts) == {str(n) for n in range(400)}
    again = sum(starts.values()) - 400 + len(celery.noted("block")) - 40
    assert again <= 2 * KILLS  # two processes in each worker


async def test_a_rescue_takes_less_than_twenty_seconds(redis, celery_on, asking):
    celery = celery_on(redis)  # the usual lease
    queue = await asking(celery.url)
    loop = asyncio.get_running_loop()
    victim, _ = celery.worker("victim", processes=1), celery.worker("heir", processes=1)
    jobs = [await queue.enqueue(wait, (0.5,)) for _ in range(20)]
    await until(lambda: celery.noted("wait"))

    celery.kill(victim)
    began = loop.time()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(job.result() for job in jobs))

    assert loop.time() - began < 20 + 20 * 0.5
    assert await queue.store.count(JobFilter()) == {"completed": 20}


async def test_a_broker_comes_and_goes(own_redis, celery_on, asking):
    redis = own_redis(*DURABLE)
    celery = celery_on(redis, lease=5)
    queue = await asking(celery.url)
    for number in range(2):
        celery.worker(f"w{number}")
    chance = random.Random(3)
    accepted = 0
    for round in range(8):
        jobs = await queue.enqueue_many(echo, [f"{round}-{n}" for n in range(50)])
        jobs.append(await queue.enqueue(wait, (3,)))
        accepted += len(jobs)
        await asyncio.sleep(chance.uniform(0, 1))
        if round % 2:
            redis.kill()
            await asyncio.sleep(chance.uniform(0.1, 4))
            redis.start()
        else:
            redis.freeze()
            await asyncio.sleep(chance.uniform(0.5, 6))
            redis.thaw()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(job.result() for job in jobs))

    assert await queue.store.count(JobFilter()) == {"completed": accepted}
    assert all(process.poll() is None for process in celery.processes)
    assert len(celery.noted("wait")) == 8  # a claim outlives a connection
