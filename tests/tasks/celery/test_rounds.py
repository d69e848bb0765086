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
def rounds(redis: RedisServer, clock: ManualClock) -> Any:
    remote = RemoteSync(parse(address(redis)))
    yield Rounds(remote, node="one", clock=clock, queues=["default"], concurrency=2, lease=15.0)
    remote.close()


def pass_time(rounds: Rounds, clock: ManualClock, seconds: float) -> None:
    clock.advance(seconds)
    rounds.tick()


class Held:
    def __init__(self, headers: dict[str, str]) -> None:
        self.id, self.ticket = headers["id"], headers["ticket"]


def waiting(broker: Any) -> list[str]:
    """The jobs whose tickets are in the list, the next one first."""
    found = broker.lrange("default:5", 0, -1)
    return [json.loads(each)["headers"]["id"] for each in reversed(found)]


def look(queue: TaskQueue, *, most: int = 10, silent: int = 60_000) -> int:
    """Look for lost tickets; how many were issued anew."""
    with closing(RemoteSync(queue.engine.address)) as remote:
        return remote.ask("rounds", "reissue", most, silent)


def attempt(queue: TaskQueue, message: str, *, knows: int = 1) -> Any:
    """Claim the job of a ticket; what the script answers."""
    headers = json.loads(message)["headers"]
    with closing(RemoteSync(queue.engine.address)) as remote:
        return remote.ask(
            *("attempts", "claim", headers["id"], headers["ticket"], "one", 15_000),
            *(0, "", "", knows, "c"),
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

    assert waiting(broker) == [lost.id, waits.id]


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

    assert waiting(broker) == [job.id]


async def test_lost_tickets_come_back_in_their_order_before_the_others_and_once(queue, broker):
    jobs = await queue.enqueue_many(echo, [str(number) for number in range(5)])
    broker.rpop("default:5", 3)

    looks = [look(queue) for _ in range(4)]

    assert looks == [0, 3, 0, 0]
    assert waiting(broker) == [job.id for job in jobs]


async def test_tickets_that_are_all_of_a_list_are_issued_anew_only_once(queue, broker):
    jobs = await queue.enqueue_many(echo, [str(number) for number in range(5)])
    broker.delete("default:5")  # as `celery purge` does

    first = [look(queue, most=3) for _ in range(4)]
    begun = [attempt(queue, message)[0] for message in broker.rpop("default:5", 3)]
    then = [look(queue, most=3) for _ in range(4)]

    assert (first, begun, then) == ([0, 3, 0, 0], [b"run"] * 3, [0, 2, 0, 0])
    assert waiting(broker) == [job.id for job in jobs[3:]]


async def test_what_a_worker_holds_is_not_lost_until_that_worker_is(rounds, queue, broker, clock):
    await queue.enqueue(echo, ("a",))
    held = Held(json.loads(broker.rpop("default:5"))["headers"])
    rounds.take(held)
    rounds.tick()

    assert [look(queue) for _ in range(3)] == [0, 0, 0]
    assert [look(queue, silent=-1) for _ in range(2)] == [0, 1]


async def test_jobs_that_wait_for_their_task_do_not_hide_a_lost_ticket(queue, broker):
    jobs = await queue.enqueue_many(echo, [str(number) for number in range(4)])
    for message in broker.rpop("default:5", 3):
        attempt(queue, message, knows=0)
    broker.rpop("default:5")

    looks = [look(queue, most=2) for _ in range(2)]

    assert looks == [0, 1]
    assert waiting(broker) == [jobs[3].id]


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
