"""Statistics of several servers in one Redis, and what becomes of them when it is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from benchmarks.rigs.servers import RedisServer
from penstock.clock import ManualClock
from penstock.db import Database
from penstock.errors import StorageUnavailable
from penstock.hub.factory import open_hub
from penstock.hub.hub import Hub
from penstock.observe.effects import Effects
from penstock.observe.metrics import Metrics
from penstock.usage import CounterStore, HubCounters, Statistics
from penstock.usage.counters import DAY, Place, Top
from penstock.usage.statistics import REQUESTS, UPSTREAM, users

TODAY = 1_699_920_000_000


@asynccontextmanager
async def joined(server: RedisServer) -> AsyncIterator[Hub]:
    """The hub of one more server."""
    hub = await open_hub(server.url, None)
    try:
        yield hub
    finally:
        await hub.aclose()


@pytest.fixture
async def hub(redis: RedisServer) -> AsyncIterator[Hub]:
    async with joined(redis) as hub:
        yield hub


def started(
    hub: Hub,
    clock: ManualClock,
    *,
    earlier: CounterStore | None = None,
    metrics: Metrics | None = None,
) -> Statistics:
    counters = HubCounters(hub, earlier=earlier)
    effects = Effects(clock=clock, metrics=metrics)
    return Statistics(counters, clock=clock, effects=effects, metrics=metrics)


async def test_all_counters_of_a_window_are_one_round_trip(
    hub: Hub, redis: RedisServer, clock: ManualClock
) -> None:
    """X-02, X-11: whatever 200 requests left behind, Redis is asked once."""
    statistics = started(hub, clock)
    statistics.answered("m", user="warm", decision="approved")
    await statistics.flush()
    asked: list[str] = []
    async with watched(redis, asked):
        for number in range(200):
            statistics.answered(
                "m",
                user=f"user-{number}",
                decision="rejected",
                cached=number % 2 == 0,
                flagged=["hate", "spam"],
            )
            statistics.called("text", 0.2, failed=False)

        await statistics.flush()

    assert [line.partition('"')[0] for line in asked] == ["EVALSHA"]


async def test_servers_add_to_the_same_numbers(
    redis: RedisServer, hub: Hub, clock: ManualClock
) -> None:
    async with joined(redis) as other:
        here, there = started(hub, clock), started(other, clock)
        for _ in range(500):
            here.answered("m", user="a", decision="approved")
            there.answered("m", user="b", decision="rejected")
        there.called("image", 2.0, failed=True)
        await asyncio.gather(here.flush(), there.flush())

        found = await here.rows([REQUESTS, UPSTREAM], TODAY, TODAY)
        top = await there.top(users("m"), TODAY, TODAY, limit=1)

    assert found == {
        Place(TODAY, REQUESTS, "m.total"): 1000,
        Place(TODAY, REQUESTS, "m.blocked"): 500,
        Place(TODAY, UPSTREAM, "image.22.calls"): 1,
        Place(TODAY, UPSTREAM, "image.22.errors"): 1,
        Place(TODAY, UPSTREAM, "image.22.micros"): 2_000_000,
    }
    assert top == Top(2, [("a", 500)])


async def test_what_was_counted_before_there_was_a_redis_is_still_told(
    hub: Hub, database: Database, clock: ManualClock
) -> None:
    store = CounterStore(database)
    before = Statistics(store, clock=clock, effects=Effects(clock=clock))
    before.answered("m", user="a", decision="approved")
    await before.flush()
    clock.advance(86_400)
    after = started(hub, clock, earlier=store)
    after.answered("m", user="a", decision="approved")

    assert await after.rows([REQUESTS], TODAY, TODAY + DAY) == {
        Place(TODAY, REQUESTS, "m.total"): 1,
        Place(TODAY + DAY, REQUESTS, "m.total"): 1,
    }
    assert await after.top(users("m"), TODAY, TODAY + DAY, limit=5) == Top(1, [("a", 2)])


@pytest.mark.parametrize("fault", ["stopped", "frozen"])
async def test_while_redis_is_away_counts_wait_and_are_exact_afterwards(
    own_redis: Callable[..., RedisServer], clock: ManualClock, fault: str
) -> None:
    """X-08."""
    server = own_redis()
    async with joined(server) as hub:
        statistics = started(hub, clock)
        server.freeze() if fault == "frozen" else server.stop()
        for _ in range(3):
            statistics.answered("m", user="a", decision="approved")
            with pytest.raises(StorageUnavailable):
                await statistics.flush()
        server.thaw() if fault == "frozen" else server.start()

        found = await until_read(statistics)

    # A frozen server still had the first attempt in its socket, and did it when it woke up.
    assert found == {Place(TODAY, REQUESTS, "m.total"): 3}


LOST = "penstock_effects_lost_total"


async def test_what_a_redis_without_persistence_took_with_it_is_counted_as_lost(
    own_redis: Callable[..., RedisServer], clock: ManualClock, metrics: Metrics
) -> None:
    server = own_redis()
    async with joined(server) as hub:
        statistics = started(hub, clock, metrics=metrics)
        for user in "abc":
            statistics.answered("m", user=user, decision="approved")
            await statistics.flush()
        server.stop()
        server.start()
        statistics.answered("m", user="d", decision="approved")
        first = await until_read(statistics)
        seen = metrics.total(LOST, effect="statistics")
        statistics.answered("m", user="d", decision="approved")
        await statistics.flush()

    assert first == {Place(TODAY, REQUESTS, "m.total"): 1}
    assert seen == 6  # three times a total and a user
    assert metrics.total(LOST, effect="statistics") == seen


async def test_of_the_last_batches_that_redis_lost_their_share_is_counted(
    hub: Hub, redis: RedisServer, clock: ManualClock, metrics: Metrics
) -> None:
    """As a Redis comes back that wrote to its disk a moment before the end."""
    statistics = started(hub, clock, metrics=metrics)
    for _ in range(10):
        statistics.answered("m", user="a", decision="approved")
        await statistics.flush()
    client = Redis.from_url(redis.url)
    [mark] = [key async for key in client.scan_iter("*added:*")]
    await client.set(mark, "7")
    statistics.answered("m", user="a", decision="approved")
    await statistics.flush()

    await client.aclose()
    assert metrics.total(LOST, effect="statistics") == 3 * 2


async def test_nothing_in_redis_stays_for_ever(
    hub: Hub, redis: RedisServer, clock: ManualClock
) -> None:
    statistics = started(hub, clock)
    statistics.answered("m", user="a", decision="approved")
    await statistics.flush()
    client = Redis.from_url(redis.url)

    lasting = {
        key: await client.ttl(key)
        for part in ("added", "count")
        async for key in client.scan_iter(f"*{part}:*")
    }

    await client.aclose()
    assert len(lasting) == 3
    assert all(86_400 < seconds <= 400 * 86_400 for seconds in lasting.values())


async def test_requests_go_on_while_redis_hangs(
    own_redis: Callable[..., RedisServer], clock: ManualClock, metrics: Metrics
) -> None:
    """X-01, X-08: nobody who counts waits."""
    server = own_redis()
    async with joined(server) as hub:
        statistics = started(hub, clock)
        server.freeze()
        flushing = asyncio.ensure_future(statistics.flush())
        statistics.answered("m", user="a", decision="approved")
        writing = asyncio.ensure_future(statistics.flush())
        await asyncio.sleep(0)

        for _ in range(1000):
            statistics.answered("m", user="a", decision="approved")
        answered_first = not writing.done()

        with pytest.raises(StorageUnavailable):
            await writing
        await asyncio.gather(flushing, return_exceptions=True)
        server.thaw()
        found = await until_read(statistics)

    assert answered_first
    assert found == {Place(TODAY, REQUESTS, "m.total"): 1001}


async def until_read(statistics: Statistics) -> dict[Place, int]:
    """The numbers, as soon as Redis is there again."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await statistics.rows([REQUESTS], TODAY, TODAY)
            except StorageUnavailable:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def watched(server: RedisServer, asked: list[str]) -> AsyncIterator[None]:
    """What others ask about statistics meanwhile, as MONITOR shows it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 24)
    writer.write(b"MONITOR\r\n")
    await reader.readline()

    async def read() -> None:
        while True:
            line = (await reader.readline()).decode(errors="replace")
            if "bookkeeping-ends" in line:
                return
            if "statistics" in line and " lua]" not in line:
                asked.append(line.partition('] "')[2])

    reading = asyncio.ensure_future(read())
    try:
        yield
        server.ask(b"ECHO bookkeeping-ends\r\n", replies=2)
        async with asyncio.timeout(30):
            await reading
    finally:
        reading.cancel()
        writer.close()
