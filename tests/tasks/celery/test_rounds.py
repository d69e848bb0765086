"""What a worker's main process repairs, one round at a time."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from redis import Redis

from benchmarks.rigs.servers import RedisServer
from penstock.clock import ManualClock
from penstock.tasks import TaskQueue, declare, open_queue
from penstock.tasks.celery.address import parse
from penstock.tasks.celery.beat import Firing
from penstock.tasks.celery.remote import RemoteSync
from penstock.tasks.celery.worker.rounds import REPAIR_EVERY, Rounds
from tests.tasks.celery.celery_jobs import echo
from tests.tasks.celery.conftest import address


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broker(redis: RedisServer) -> Any:
    with Redis.from_url(redis.database(1), decode_responses=True) as broker:
        yield broker


@pytest.fixture
async def queue(redis: RedisServer, asking: Any) -> TaskQueue:
    return await asking(address(redis))


@pytest.fixture
def rounds(redis: RedisServer, clock: ManualClock) -> Any:
    remote = RemoteSync(parse(address(redis)))
    yield Rounds(remote, node="one", clock=clock, queues=["default"], concurrency=2, lease=15.0)
    remote.close()


def pass_time(rounds: Rounds, clock: ManualClock, seconds: float) -> None:
    clock.advance(seconds)
    rounds.tick()


def attempt(queue: TaskQueue, message: str) -> Any:
    """Claim the job of a ticket; what the script answers."""
    headers = json.loads(message)["headers"]
    with closing(RemoteSync(queue.engine.address)) as remote:
        return remote.ask(
            *("attempts", "claim", headers["id"], headers["ticket"], "one", 15_000),
            *(0, "", "", 1, "c"),
        )


async def test_a_delayed_job_gets_its_ticket_when_it_is_due(rounds, queue, broker):
    job = await queue.enqueue(echo, ("a",), options={"delay": 0.05})
    assert broker.llen("default:5") == 0

    while not broker.llen("default:5"):
        rounds.tick()

    assert (await job.status()).state == "queued"
    (status, *_) = await queue.store.queues()
    assert (status.queued, status.delayed, status.workers) == ({5: 1}, 0, 2)


async def test_a_ticket_that_was_popped_by_a_process_that_died_is_issued_anew(
    rounds, queue, broker, clock
):
    lost, waits = await queue.enqueue_many(echo, ["a", "b"])
    broker.rpop("default:5")  # a worker has popped it, and was killed before its claim

    rounds.tick()
    assert broker.llen("default:5") == 1
    pass_time(rounds, clock, REPAIR_EVERY)
    assert broker.llen("default:5") == 1  # the lock that keeps other workers from looking too
    broker.delete("penstock:repair")
    pass_time(rounds, clock, REPAIR_EVERY)

    found = [json.loads(each)["headers"]["id"] for each in broker.lrange("default:5", 0, -1)]
    assert found == [lost.id, waits.id]  # the next one is at the end


async def test_a_ticket_that_was_popped_last_is_missed_by_any_two_workers(
    rounds, queue, broker, redis, clock
):
    job = await queue.enqueue(echo, ("a",))
    broker.rpop("default:5")
    remote = RemoteSync(parse(address(redis)))
    other = Rounds(remote, node="two", clock=clock, lease=15.0)

    rounds.tick()
    broker.delete("penstock:repair")
    other.tick()
    remote.close()

    (found,) = broker.lrange("default:5", 0, -1)
    assert json.loads(found)["headers"]["id"] == job.id


async def test_a_ticket_on_its_way_to_its_claim_is_not_missed(rounds, queue, broker, clock):
    await queue.enqueue(echo, ("a",))
    message = broker.rpop("default:5")
    rounds.tick()
    claimed = attempt(queue, message)

    broker.delete("penstock:repair")
    pass_time(rounds, clock, REPAIR_EVERY)

    assert claimed[0] == b"run"
    assert broker.llen("default:5") == 0


async def test_who_waits_long_is_let_before_the_others_now_and_then(rounds, queue, broker, clock):
    (old,) = await queue.enqueue_many(echo.options(priority="bulk").task, ["old"], {"priority": 9})
    await queue.enqueue_many(echo, [str(n) for n in range(3)])
    broker.hset(f"penstock:job:{old.id}", "run_at", 1)
    broker.hset("penstock:claims", "default", 16)  # so many were started meanwhile

    rounds.tick()

    assert json.loads(broker.lindex("default", -1))["headers"]["id"] == old.id
    assert broker.llen("default:5") == 3


async def test_a_worker_is_listed_until_it_leaves(rounds, queue):
    rounds.tick()
    (worker,) = await queue.store.workers()
    rounds.leave()

    assert (worker.id, worker.alive, worker.running) == ("one", True, ())
    assert await queue.store.workers() == []


# --- schedules ------------------------------------------------------------------------------------


@declare(name="minutely", schedule="every 1m")
async def minutely() -> None: ...


async def test_any_number_of_beats_fire_a_tick_once(redis, clock, broker):
    queue = open_queue(address(redis), clock=clock)
    queue.register([minutely])
    beats = [Firing(parse(address(redis)), clock=clock) for _ in range(4)]
    async with queue:
        with ThreadPoolExecutor(4) as threads:
            for _ in range(20):
                clock.advance(60)
                list(threads.map(Firing.look, beats))
    for beat in beats:
        beat.close()

    assert broker.zcard("penstock:jobs:queued:task:minutely") == 20
    assert broker.zcard("penstock:fired:minutely") == 20


async def test_a_clock_that_was_set_back_fires_nothing_twice(redis, broker):
    clock = ManualClock()
    queue = open_queue(address(redis), clock=clock)
    queue.register([minutely])
    beat = Firing(parse(address(redis)), clock=clock)
    async with queue:
        for _ in range(3):
            clock.advance(60)
            await asyncio.to_thread(beat.look)
        clock.advance(-120)
        for _ in range(4):
            clock.advance(60)
            await asyncio.to_thread(beat.look)
    beat.close()

    assert broker.zcard("penstock:fired:minutely") == 5


async def test_a_schedule_that_nobody_declares_any_more_is_left(redis, broker):
    clock = ManualClock()
    queue = open_queue(address(redis), clock=clock)
    queue.register([minutely])
    beat = Firing(parse(address(redis)), clock=clock)
    async with queue:
        broker.zadd("penstock:declared", {"minutely": 1})
        clock.advance(60)
        await asyncio.to_thread(beat.look)
    beat.close()

    assert broker.exists("penstock:fired:minutely") == 0
