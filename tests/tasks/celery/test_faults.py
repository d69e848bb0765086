"""Workers that die, a broker that restarts, messages that come twice: short forms of the drills."""

from __future__ import annotations

import asyncio
import os
import signal
from itertools import pairwise

import pytest
from redis import Redis

from benchmarks.rigs.servers import RedisServer
from penstock.tasks import JobFilter
from tests.tasks.celery.celery_jobs import block, echo, tick, wait
from tests.tasks.celery.conftest import PATIENCE, Celery, until

pytestmark = pytest.mark.slow

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


async def begun(celery: Celery, what: str, count: int = 1) -> None:
    """Return when so many of a task have begun."""
    await until(lambda: len(celery.noted(what)) >= count)


async def test_what_a_killed_worker_was_doing_is_done_by_another_within_its_lease(
    redis, celery_on, asking
):
    celery = celery_on(redis, lease=2)
    queue = await asking(celery.url)
    victim = celery.worker("victim")
    running = [await queue.enqueue(wait, (1,)) for _ in range(2)]
    waiting = await queue.enqueue_many(echo, ["a", "b", "c"])
    await begun(celery, "wait", 2)

    celery.kill(victim)
    celery.worker("heir")

    assert [await job.result(PATIENCE) for job in waiting] == ["a", "b", "c"]
    assert [await job.result(PATIENCE) for job in running] == [2, 2]
    assert len(celery.noted("wait")) == 4
    assert await queue.store.count(JobFilter()) == {"completed": 5}


async def test_a_job_of_ten_times_the_visibility_time_out_runs_once(redis, celery_on, asking):
    celery = celery_on(redis, visibility=0.2)
    queue = await asking(celery.url)
    celery.worker(processes=3)
    jobs = [await queue.enqueue(block, (2,)), await queue.enqueue(wait, (2,))]

    await asyncio.gather(*(job.result(PATIENCE) for job in jobs))
    assert await (await queue.enqueue(echo, ("next",))).result(PATIENCE) == "next"

    assert celery.log.read_text().count(f"[{jobs[0].id}] received") == 1
    assert (len(celery.noted("block")), len(celery.noted("wait"))) == (1, 1)
    assert [(await job.status()).attempt for job in jobs] == [1, 1]


async def test_a_ticket_that_is_delivered_again_while_its_job_runs_starts_nothing(
    redis, celery_on, asking
):
    celery = celery_on(redis)
    queue = await asking(celery.url)
    job = await queue.enqueue(block, (1,))
    with Redis.from_url(redis.database(1)) as broker:
        ticket = broker.lindex("default:5", 0)
        celery.worker(processes=2)
        await begun(celery, "block")
        broker.lpush("default:5", ticket)

    await job.result(PATIENCE)
    assert await (await queue.enqueue(echo, ("next",))).result(PATIENCE) == "next"

    assert celery.log.read_text().count(f"[{job.id}] received") == 2
    assert (len(celery.noted("block")), (await job.status()).attempt) == (1, 1)


async def test_a_process_that_cannot_open_what_its_jobs_need_runs_them_when_it_can(
    redis, celery_on, asking, tmp_path
):
    celery = celery_on(redis)
    closed = tmp_path / "closed"
    closed.touch()
    celery.env["JOBS_CLOSED"] = str(closed)
    queue = await asking(celery.url)
    jobs = await queue.enqueue_many(echo, ["a", "b", "c"])
    celery.worker(processes=1)

    await until(lambda: "process_not_opened" in celery.log.read_text())
    closed.unlink()

    assert [await job.result(PATIENCE) for job in jobs] == ["a", "b", "c"]


async def test_a_worker_that_is_told_to_end_gives_back_what_does_not_end_in_time(
    redis, celery_on, asking
):
    celery = celery_on(redis)
    queue = await asking(celery.url)
    celery.env["JOBS_GRACE"] = "1"
    worker = celery.worker("first")
    brief, long = await queue.enqueue(block, (0.2,)), await queue.enqueue(wait, (60,))
    await begun(celery, "wait")
    await begun(celery, "block")

    worker.terminate()
    await asyncio.to_thread(worker.wait, PATIENCE)

    assert await brief.result(PATIENCE) == "done"
    record = await long.status()
    assert (record.state, record.attempt) == ("queued", 0)
    assert await queue.store.workers() == []


async def test_two_beats_fire_each_tick_once(redis, celery_on, asking):
    celery = celery_on(redis)
    queue = await asking(celery.url)
    for _ in range(2):
        celery.start("beat", "--loglevel", "INFO")
    with Redis.from_url(redis.database(1), decode_responses=True) as broker:
        await until(lambda: celery.log.read_text().count("beat: Starting") == 2)
        await until(lambda: broker.zcard("penstock:fired:tick") >= 8)
        for process in celery.processes:
            process.terminate()
            await asyncio.to_thread(process.wait, PATIENCE)
        ticks = [int(each) for each in broker.zrange("penstock:fired:tick", 0, -1)]
        queued = broker.zcard(f"penstock:jobs:queued:task:{tick.name}")

    assert [b - a for a, b in pairwise(ticks)] == [200] * (len(ticks) - 1)
    assert queued == len(ticks)
    assert await queue.store.count(JobFilter(task=tick.name)) == {"queued": len(ticks)}


async def test_workers_go_on_when_the_broker_is_back(own_redis, celery_on, asking):
    """celery#8030, #8091, #8384: connected again, and yet consuming nothing."""
    redis: RedisServer = own_redis(*DURABLE)
    celery = celery_on(redis, lease=3)
    queue = await asking(celery.url)
    celery.worker()
    assert await (await queue.enqueue(echo, ("before",))).result(PATIENCE) == "before"
    running = await queue.enqueue(wait, (2,))
    await begun(celery, "wait")

    redis.kill()
    await until(lambda: "Connection to broker lost" in celery.log.read_text())
    redis.start()

    jobs = await queue.enqueue_many(echo, [str(n) for n in range(20)])
    assert [await job.result(PATIENCE) for job in jobs] == [str(n) for n in range(20)]
    assert await running.result(PATIENCE) == 1  # it was never taken away
    assert len(celery.noted("wait")) == 1
    assert await queue.store.count(JobFilter()) == {"completed": 22}


async def test_priorities_order_what_waits_for_a_real_worker(redis, celery_on, asking):
    """P-46, C-11: 0 is first; equals in the order they came."""
    celery = celery_on(redis)
    queue = await asking(celery.url)
    given = [9, 5, 0, 5, 7, 0, 2, 9, 5]
    for place, level in enumerate(given):
        await queue.enqueue(echo, (f"{level} {place}",), options={"priority": level})
    last = await queue.enqueue(echo, ("9 end",), options={"priority": 9})

    celery.worker(processes=1)
    await last.result(PATIENCE)

    ran = [line.split()[1:3] for line in celery.noted("echo")][:-1]
    assert ran == [
        [str(level), str(place)] for level, place in sorted(zip(given, range(9), strict=True))
    ]


async def test_a_job_s_process_that_is_killed_from_outside_costs_an_attempt(
    redis, celery_on, asking
):
    """As the kernel does when memory is short."""
    celery = celery_on(redis)
    queue = await asking(celery.url)
    celery.worker()
    job = await queue.enqueue(wait, (0.3,))
    await begun(celery, "wait")

    os.kill(int(celery.noted("wait")[0].split()[1]), signal.SIGKILL)

    assert await job.result(PATIENCE) == 2
    (error,) = (await job.status()).errors
    assert (error.type, error.attempt) == ("Lost", 1)
