"""Leases, slots and counters over servers, and the connections they take."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from benchmarks.rigs.slow_proxy import SlowProxy
from penstock.errors import StorageUnavailable
from penstock.net.redis import connect_sync
from tests.hub.conftest import granted, until


async def test_one_holder_at_a_time(redis, connect):
    first, second = await connect(redis.url), await connect(redis.url)
    lease = await first.acquire("flight", seconds=30)
    assert lease is not None
    assert lease.shared

    assert await second.acquire("flight", seconds=30) is None

    await lease.release()
    assert await second.acquire("flight", seconds=30)


async def test_each_loop_asks_for_itself_though_another_stands_still(redis, connect):
    first, second = await connect(redis.url), await connect(redis.url)
    client = connect_sync(redis.url, timeout=5)
    connected = len(client.client_list())

    async def elsewhere() -> tuple[bool, bool, bool]:
        lease = await first.acquire("flight", seconds=30)
        assert lease is not None
        taken = await second.acquire("flight", seconds=30) is None
        waiting = asyncio.ensure_future(second.wait_released("flight", seconds=30))
        await asyncio.sleep(0)
        return lease.shared, taken, await lease.release() and await waiting

    thread = threading.Thread(target=lambda: told.append(asyncio.run(elsewhere())))
    told: list[tuple[bool, bool, bool]] = []
    thread.start()
    thread.join(60)  # this loop, the hubs' own, does nothing meanwhile

    assert told == [(True, True, True)]
    await until(lambda: len(client.client_list()) == connected)  # theirs ended with their loop
    assert await second.acquire("flight", seconds=30)
    client.close()


async def test_of_many_leases_those_are_given_that_nobody_has(redis, connect):
    first, second = await connect(redis.url), await connect(redis.url)
    await first.acquire("b", seconds=30)

    leases = await second.acquire_many(["a", "b", "c"], seconds=30)

    assert [name for name, lease in leases.items() if lease is not None] == ["a", "c"]
    assert leases["a"].shared


async def test_many_who_ask_at_once_share_round_trips_and_none_waits_in_vain(redis, connect):
    with SlowProxy(redis.port, round_trip=0.05) as proxy:
        hub = await connect(f"redis://127.0.0.1:{proxy.port}/0", lease_timeout=0.1)
        await until(lambda: hub.is_current)
        client = connect_sync(redis.url, timeout=5)
        names = [f"flight:{number}" for number in range(512)]

        leases = await asyncio.gather(*(hub.acquire(name, seconds=30) for name in names))

        assert all(lease.shared for lease in leases)
        assert len(client.keys("penstock:hub:lease:*")) == 512
        assert all(await asyncio.gather(*(lease.release() for lease in leases)))
        assert not client.keys("penstock:hub:lease:*")
        client.close()


async def test_what_was_asked_for_somebody_who_has_gone_is_given_back(redis, connect):
    with SlowProxy(redis.port) as proxy:
        hub = await connect(f"redis://127.0.0.1:{proxy.port}/0")
        await until(lambda: hub.is_current)
        proxy.freeze()
        asking = [
            asyncio.ensure_future(hub.acquire("flight", seconds=30)),
            asyncio.ensure_future(hub.slot("p", limit=1, seconds=30)),
        ]
        await asyncio.sleep(0)
        for one in asking:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        proxy.thaw()
        other = await connect(redis.url)

        await until(lambda: hub.is_current and not hub._leases.get()._forsaken)

        assert await other.acquire("flight", seconds=30)
        assert await other.slot("p", limit=1, seconds=30)


async def test_a_name_that_is_no_text_harms_nobody_else(redis, connect):
    hub = await connect(redis.url)

    leases = await asyncio.gather(*(hub.acquire(name, seconds=30) for name in ("\udc80", "b")))

    assert [lease.shared for lease in leases] == [True, True]


async def test_who_waits_is_told_of_the_end(redis, connect, monkeypatch):
    monkeypatch.setattr("penstock.hub.redis.leases.LOOK", 600.0)  # nobody looks by himself
    first, second = await connect(redis.url), await connect(redis.url)
    lease = await first.acquire("flight", seconds=30)
    waiting = [asyncio.ensure_future(second.wait_released("flight", seconds=20)) for _ in range(5)]
    client = connect_sync(redis.url, timeout=5)
    channel = "penstock:hub:lease:flight:ended"
    await until(lambda: dict(client.pubsub_numsub(channel)).get(channel.encode()))

    await lease.release()

    assert await asyncio.gather(*waiting) == [True] * 5
    await until(lambda: not dict(client.pubsub_numsub(channel)).get(channel.encode()))
    client.close()


async def test_the_lease_of_a_dead_holder_ends_by_itself(redis, connect):
    first, second = await connect(redis.url), await connect(redis.url)
    lease = await first.acquire("flight", seconds=0.1)

    assert await second.wait_released("flight", seconds=20)

    assert await second.acquire("flight", seconds=30)
    assert not await lease.extend(30)
    assert not await lease.release()  # it is another's now
    assert await first.acquire("flight", seconds=30) is None


async def test_waiting_has_an_end(redis, connect):
    hub = await connect(redis.url)
    await hub.acquire("flight", seconds=30)

    assert not await hub.wait_released("flight", seconds=0.05)


async def test_without_redis_every_lease_is_granted_and_says_so(own_redis, connect):
    redis = own_redis()
    hub = await connect(redis.url)
    held = await hub.acquire("flight", seconds=30)
    redis.kill()
    await until(lambda: not hub.is_current)

    again = await hub.acquire("flight", seconds=30)
    place = await hub.slot("p", limit=1, seconds=30)

    assert again
    assert place
    assert (again.shared, place.shared) == (False, False)
    assert not await hub.wait_released("flight", seconds=10)
    assert not await held.release()
    assert await again.extend(5)


async def test_slots_are_counted_over_servers_and_those_of_a_dead_one_end(redis, connect):
    first, second = await connect(redis.url), await connect(redis.url)
    assert await first.slot("p", limit=2, seconds=0.1)
    kept = await first.slot("p", limit=2, seconds=30)
    assert kept
    assert await second.slot("p", limit=2, seconds=30) is None

    place = await second.slot("p", limit=2, seconds=30, wait=20)

    assert place
    assert await first.slot("p", limit=2, seconds=30) is None
    assert await kept.extend(60)


# --- counters ------------------------------------------------------------------------------------


async def test_what_is_told_twice_under_one_mark_counts_once(redis, connect):
    first, second = await connect(redis.url), await connect(redis.url)
    for _ in range(3):
        await first.add({"usage": {"calls": 2}}, once="batch-1")

    assert await second.read("usage") == {"calls": 2}


async def test_counters_of_a_redis_that_is_away_are_the_callers_to_keep(own_redis, connect):
    redis = own_redis()
    hub = await connect(redis.url)
    redis.kill()

    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        await hub.add({"usage": {"calls": 1}})
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        await hub.read("usage")


# --- connections and what is counted -------------------------------------------------------------


async def test_connections_stay_as_few_under_load(redis, connect):
    hub = await connect(redis.url)
    client = connect_sync(redis.url, timeout=5, name="the-test")
    most = 0

    async def work(number: int) -> None:
        nonlocal most
        for turn in range(10):
            lease = await hub.acquire(f"flight:{number}", seconds=5)
            await granted(hub.take(f"k{number}", limit=100, window=60, at=time.monotonic()))
            await hub.add({"usage": {"calls": 1}})
            hub.publish("t", b"x")
            await hub.wait_released(f"flight:{number}", seconds=0)
            await lease.release()
            if number == turn:
                ours = [c for c in client.client_list() if c["name"].startswith("penstock-hub")]
                most = max(most, len(ours))

    await asyncio.gather(*(work(number) for number in range(64)))

    assert 3 <= most <= 9
    assert await hub.read("usage") == {"calls": 640}
    client.close()


async def test_connections_that_were_ended_while_idle_cost_nothing(redis, connect):
    hub = await connect(redis.url)
    for _ in range(2):
        lease = await hub.acquire("flight", seconds=5)
        await hub.add({"usage": {"calls": 1}})
        assert lease.shared
        assert await lease.release()
        client = connect_sync(redis.url, timeout=5)
        for connection in client.client_list():
            if connection["name"] in ("penstock-hub-leases", "penstock-hub-counts"):
                client.client_kill_filter(_id=connection["id"])
        client.close()

    assert await hub.read("usage") == {"calls": 2}
