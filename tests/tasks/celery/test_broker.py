"""An engine whose Redis cannot be used says so, soon, and goes on when it can."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from benchmarks.rigs.servers import RedisServer
from penstock.clock import ManualClock
from penstock.errors import ConfigurationError, StorageFull, StorageUnavailable
from penstock.observe.health import CHECK_TIMEOUT
from penstock.tasks import JobFilter, open_engine, open_queue
from penstock.tasks.celery.address import Address, parse
from penstock.tasks.celery.health import ALONE, NOBODY, Described
from tests.tasks.celery.celery_jobs import echo, tick
from tests.tasks.celery.conftest import address


async def test_a_broker_that_is_down_is_named_without_its_password(own_redis):
    redis: RedisServer = own_redis(password="x-secret")
    url = address(redis)
    redis.kill()
    async with open_queue(url) as queue:
        queue.register([tick])  # its schedule cannot be declared yet: no reason not to start
        with pytest.raises(StorageUnavailable, match="cannot be reached") as told:
            await queue.enqueue(echo, ("a",))
        health = await queue.store.health()

        redis.start()
        job = await queue.enqueue(echo, ("a",))
        assert (await job.status()).state == "queued"

    assert "start it or correct CELERY_BROKER_URL" in told.value.detail
    assert health == told.value.detail
    assert "x-secret" not in health


async def test_a_wrong_password_is_told(own_redis):
    redis: RedisServer = own_redis(password="right")

    async with open_queue(address(redis).replace("right", "wrong")) as queue:
        with pytest.raises(StorageUnavailable, match="refuses the name or the password"):
            await queue.enqueue(echo, ("a",))


async def test_a_broker_that_is_full_takes_no_half_of_a_job(own_redis):
    redis: RedisServer = own_redis("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    async with open_queue(address(redis)) as queue:
        accepted = 0
        try:
            while accepted < 10_000:
                await queue.enqueue_many(echo, ["x" * 10_000] * 20)
                accepted += 20
        except StorageFull as error:
            told = error.detail

        assert "is full (maxmemory)" in told
        assert await queue.store.count(JobFilter()) == {"queued": accepted}


async def test_a_broker_that_is_full_is_not_well_although_it_answers(own_redis):
    redis: RedisServer = own_redis("--maxmemory-policy", "noeviction")
    async with open_queue(address(redis)) as queue:
        await queue.enqueue(echo, ("a",))
        redis.ask(b"CONFIG SET maxmemory 1\r\n")
        with pytest.raises(StorageFull) as refused:
            await queue.enqueue(echo, ("b",))
        full = await queue.store.health()
        redis.ask(b"CONFIG SET maxmemory 0\r\n")

        assert full == refused.value.detail
        assert "is full (maxmemory); raise it" in full
        assert await queue.store.health() == ""


async def test_a_broker_that_does_not_answer_is_given_up(own_redis, monkeypatch):
    monkeypatch.setattr("penstock.tasks.celery.remote.TIMEOUT", 0.3)
    redis: RedisServer = own_redis()
    async with open_queue(address(redis)) as queue:
        await queue.enqueue(echo, ("a",))
        redis.freeze()
        with pytest.raises(StorageUnavailable, match="does not answer in time") as told:
            async with asyncio.timeout(60):
                await queue.enqueue(echo, ("b",))
        assert await queue.store.health() == told.value.detail
        redis.thaw()
        assert await queue.store.health() == ""


async def test_a_broker_that_does_not_answer_is_told_before_who_asks_gives_up(own_redis):
    redis: RedisServer = own_redis()
    async with open_queue(address(redis)) as queue:
        redis.freeze()
        async with asyncio.timeout(CHECK_TIMEOUT):
            told = await queue.store.health()
        redis.thaw()

    assert "does not answer in time; see whether" in told


async def test_a_broker_that_takes_no_jobs_as_it_cannot_save_them_says_so(own_redis):
    redis: RedisServer = own_redis("--save", "3600 1", "--dir", "/proc")
    async with open_queue(address(redis)) as queue:
        await queue.enqueue(echo, ("a",))
        redis.ask(b"BGSAVE\r\n")
        async with asyncio.timeout(60):
            while not (told := await queue.store.health()):
                continue  # it finds out in a process of its own
        with pytest.raises(StorageUnavailable) as refused:
            await queue.enqueue(echo, ("b",))

    assert "cannot save to its disk and takes no writes; free its disk" in told
    assert refused.value.detail == told


async def test_that_no_worker_lives_is_told_once_one_had_the_time_to_start(redis):
    clock = ManualClock()
    engine, store = open_engine(address(redis), clock=clock)
    assert await store.health() == ""
    clock.advance(ALONE)
    alone = await store.health()

    await engine.remote.ask("rounds", "here", "one@test", "{}", "", 60_000)
    manned = await store.health()
    redis.ask(b"SELECT 1\r\nDEL penstock:workers\r\n", replies=2)
    clock.advance(ALONE / 2)
    restarting = await store.health()
    clock.advance(ALONE / 2)
    gone = await store.health()
    await engine.stop(grace=0)

    assert alone == gone == NOBODY
    assert NOBODY.partition("; ")[2] == "start one: celery -A penstock.celery_app worker"
    assert manned == restarting == ""


async def test_a_queue_with_jobs_that_no_living_worker_takes_is_told(redis):
    clock = ManualClock()
    engine, store = open_engine(address(redis), clock=clock)

    async def lives(node: str, *queues: str) -> None:
        told = msgspec.json.encode(Described(1, "test", 1, list(queues), 1))
        await engine.remote.ask("rounds", "here", node, told, "", 60_000)

    async def heard() -> list[str]:
        first = await store.health()
        clock.advance(ALONE)
        return [first, await store.health()]

    await lives("one@test", "maintenance")
    idle = await heard()
    async with open_queue(address(redis), workers=0) as queue:
        for name in ("notifications", "maintenance", "conversations"):
            await queue.enqueue(echo, ("a",), options={"queue": name})
        await queue.engine.pause("conversations")
        paused = await heard()
        await queue.engine.resume("conversations")
        open_again = await store.health()
        await lives("two@test", "notifications", "conversations")
        manned = await heard()
        redis.ask(b"SELECT 1\r\nZADD penstock:workers 1 two@test\r\n", replies=2)
        dead = await heard()
        await lives("older@test")
        unknown = await heard()
    await engine.stop(grace=0)

    start = "start one: celery -A penstock.celery_app worker -Q"
    one = f"no Celery worker takes jobs of notifications, where some wait; {start} notifications"
    two = "no Celery worker takes jobs of conversations, notifications, where some wait; "
    two += f"{start} conversations,notifications"
    assert (paused, open_again, dead) == (["", one], two, ["", two])
    assert idle == manned == unknown == ["", ""]


async def test_an_enqueue_whose_answer_was_lost_is_made_again_and_accepts_one_job(redis):
    async with open_queue(address(redis)) as queue:
        engine = queue.engine
        ask, calls = engine.remote.ask, []

        async def deaf(group: str, command: str, *words: object) -> object:
            told = await ask(group, command, *words)
            calls.append(command)
            if calls == ["add"]:
                raise StorageUnavailable("cut off")
            return told

        engine.remote.ask = deaf
        await queue.enqueue(echo, ("a",))

        assert calls == ["add", "add"]
        assert await queue.store.count(JobFilter()) == {"queued": 1}


async def test_two_processes_that_draw_the_same_id_get_two_jobs(redis):
    async with open_queue(address(redis)) as one, open_queue(address(redis)) as two:
        first = await one.enqueue(echo, ("a",))
        ids = two.engine.ids
        await ids.begin(two.engine.remote)
        draw, drawn = ids.draw, []

        def same() -> str:
            drawn.append(first.id if not drawn else draw())
            return drawn[-1]

        ids.draw = same
        second = await two.enqueue(echo, ("b",))

        assert second.id != first.id
        assert await one.store.count(JobFilter()) == {"queued": 2}


async def test_jobs_are_found_by_several_things_at_once(redis):
    async with open_queue(address(redis)) as queue:
        for number in range(30):
            options = {"owner": f"o{number % 3}", "queue": ("default", "analytics")[number % 2]}
            await queue.enqueue(echo, (str(number),), options=options)
        both = JobFilter(owner="o1", queue="analytics")
        found = await queue.store.page(both, limit=3)
        more = await queue.store.page(both, before=found[-1].id)

        assert len(found + more) == len({job.id for job in found + more}) == 5
        assert await queue.store.count(both) == {"queued": 5}
        assert {job.owner for job in found + more} == {"o1"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("celery+redis://h:1/1", Address("redis://h:1/1", "redis://h:1/2")),
        ("celery+redis://h:1", Address("redis://h:1/1", "redis://h:1/2")),
        (
            "celery+rediss://:p@h:1/4?ssl_cert_reqs=none&backend=redis://r/0&prefix=a&lease=3",
            Address("rediss://:p@h:1/4?ssl_cert_reqs=none", "redis://r/0", "a", 3.0),
        ),
    ],
)
def test_an_address_names_broker_and_results(url, expected):
    assert parse(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("celery+redis:///1", "no address of a Celery engine"),
        ("celery+redis://h/1?lease=soon", "lease=soon is no time"),
        ("celery+amqp://:secret@h", "no task engine is called 'celery\\+amqp://h'"),
    ],
)
def test_an_address_that_is_none_says_what_to_write(url, message):
    with pytest.raises(ConfigurationError, match=message):
        open_engine(url)
