"""Servers on one Redis, each with a disk of its own: no disk may know what the others changed."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from penstock.cache import Cache, MemoryStore, open_store
from penstock.cache.coherence import MAX_CLEARS
from penstock.cache.disk import DiskStore
from penstock.hub.redis import RedisHub
from penstock.hub.redis.ledger import KEPT_MESSAGES
from penstock.net.redis import connect_sync
from tests.cache.conftest import PATIENCE, PATIENT

SLOW = f"{PATIENT}&timeout=10s"


@pytest.fixture
async def start(redis, tmp_path) -> AsyncIterator[Callable]:
    """Starts "servers" by name: caches with the default tiers, a hub and a folder of their own."""
    caches: list[Cache] = []

    async def started(name: str, *, hub_url: str = "", store_url: str = "") -> Cache:
        hub = RedisHub(hub_url or redis.url + PATIENT)
        await hub.start(wait=PATIENCE)
        stores = [
            MemoryStore(),
            open_store(f"disk://{tmp_path / name}/cache.db"),
            open_store(store_url or redis.url + SLOW),
        ]
        caches.append(Cache(stores, hub=hub, jitter=0.0))
        return caches[-1]

    yield started
    for cache in caches:
        await close(cache)


async def close(cache: Cache) -> None:
    await cache.aclose()
    await cache.hub.aclose()


async def until(is_so: Callable[[], object]) -> None:
    """Return when it is so; fail when that takes too long."""
    ends = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(0.001)


async def know(one: Cache, other: Cache, key: str = "ns:k") -> None:
    """Both have "old", `other` on disk."""
    await one.set(key, "old", ttl=3600)
    source = ""
    while source != "disk":  # `other` may hear of the key a moment after it has read it
        assert await other.get(key) == "old"
        await on_disk(other)
        other.memory.forget_all()
        source = (await other.lookup(key)).source


async def on_disk(cache: Cache) -> None:
    await asyncio.wrap_future(cache.cascade.local[1].settled())


async def comes(cache: Cache, value: object, key: str = "ns:k") -> None:
    """Return when the cache has this value, and has it again without its memory."""
    ends = time.monotonic() + PATIENCE
    while await cache.get(key) != value:
        assert time.monotonic() < ends, "it did not come in time"
        await asyncio.sleep(0.001)
    cache.memory.forget_all()
    assert await cache.get(key) == value


async def heard(cache: Cache) -> None:
    """Return when the hub of this cache has heard of something new."""
    await until(lambda: cache.hub.heads[0] != cache.cascade.coherence.position)


async def change(cache: Cache, how: str) -> str | None:
    """Returns what is right afterwards."""
    if how == "set":
        await cache.set("ns:k", "new")
    elif how == "delete":
        await cache.delete("ns:k")
    elif how == "clear":
        await cache.clear(pattern="ns:*")
    elif how == "refresh":

        async def new() -> str:
            return "new"

        await cache.through.refresh(cache.full_key("ns:k"), new, cache.plan())
    return "new" if how in ("set", "refresh") else None


CHANGES = ["set", "delete", "clear", "refresh"]


@pytest.mark.parametrize("how", CHANGES)
async def test_what_one_server_changes_is_on_no_other_servers_disk(start, how):
    one, other = await start("one"), await start("other")
    await know(one, other)

    right = await change(one, how)

    await comes(other, right)


@pytest.mark.parametrize("how", CHANGES)
async def test_what_changed_while_a_server_was_down_is_not_read_from_its_disk(start, how):
    one, other = await start("one"), await start("other")
    await know(one, other)

    await close(other)
    right = await change(one, how)

    assert await (await start("other")).get("ns:k") == right


@pytest.mark.parametrize("how", CHANGES)
async def test_what_a_server_was_told_holds_after_its_restart(start, how):
    one, other = await start("one"), await start("other")
    await know(one, other)

    right = await change(one, how)
    await comes(other, right)
    await close(other)

    assert await (await start("other")).get("ns:k") == right


async def test_more_clears_than_are_remembered_leave_nothing_on_disk(start):
    one, other = await start("one"), await start("other")
    await know(one, other)

    await one.clear(pattern="ns:*")
    for number in range(MAX_CLEARS + 1):
        await one.clear(pattern=f"nothing:{number}")
    await one.set("last", 1)
    await until(lambda: other.cascade.find(other.full_key("ns:k"), other.plan()) is None)

    assert await other.get("ns:k") is None


async def test_a_gap_in_what_was_heard_leaves_nothing_on_disk(start):
    one, other = await start("one"), await start("other")
    await know(one, other)

    await one.delete("ns:k")
    await heard(other)
    for _ in range(KEPT_MESSAGES):
        other.hub.publish("noise", b"")

    assert await other.get("ns:k") is None


async def test_a_server_that_was_cut_off_reads_no_change_from_its_disk(start, proxy):
    one = await start("one")
    other = await start("other", hub_url=f"{proxy.url}/0{PATIENT}")
    await know(one, other)
    proxy.refuse()
    await until(lambda: not other.hub.is_current)
    await one.set("ns:k", "new")

    proxy.accept()
    await until(lambda: other.hub.is_current)

    await comes(other, "new")


async def test_processes_on_one_folder_read_from_disk_only_what_they_wrote(start):
    one, other = await start("same"), await start("same")
    await one.set("ns:k", "old")
    await on_disk(one)

    assert (await other.lookup("ns:k")).source == "redis"
    await on_disk(other)
    one.memory.forget_all()
    assert (await one.lookup("ns:k")).source == "redis"


async def test_what_is_computed_while_redis_is_away_is_on_disk_when_it_is_back(start, proxy):
    through = f"{proxy.url}/0"
    cache = await start("one", hub_url=through + PATIENT, store_url=through + SLOW)
    proxy.refuse()
    await until(lambda: not cache.hub.is_current)
    await cache.clear(tag="unconfirmed")

    async def compute() -> str:
        return "computed"

    await cache.fetch("ns:k", compute)
    await on_disk(cache)
    cache.memory.forget_all()
    assert cache.cascade.find(cache.full_key("ns:k"), cache.plan()) is None
    proxy.accept()
    await until(lambda: cache.hub.heard() == cache.hub.sequence())

    assert (await cache.lookup("ns:k")).source == "disk"


async def test_a_removal_that_the_disk_could_not_take_is_no_less_true(tmp_path: Path, start):
    cache = await start("one")
    disk = cache.cascade.local[1].store
    assert isinstance(disk, DiskStore)
    await cache.set("ns:k", "old")
    await on_disk(cache)
    await asyncio.wrap_future(
        disk._writer.submit(lambda db: db._connection.execute("PRAGMA busy_timeout=1"))
    )

    with closing(sqlite3.connect(tmp_path / "one" / "cache.db")) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        disk.drop([cache.full_key("ns:k")])
        await until(lambda: disk._writer.breaker.is_open)
        await until(lambda: not disk._writer.find(cache.full_key("ns:k"))[0])

    assert disk.get(cache.full_key("ns:k")) is None


# --- what Redis could not take, or what nobody waited for -----------------------------------------


async def test_what_is_forgotten_late_is_told_once_more(start, proxy):
    one = await start("one", store_url=f"{proxy.url}/0{SLOW}")
    other = await start("other")
    await know(one, other)
    proxy.refuse()
    await one.delete("ns:k")
    await heard(other)
    assert await other.get("ns:k") == "old"  # nobody could remove it from Redis

    proxy.accept()
    await one.get("ns:something else")

    await comes(other, None)


@pytest.mark.parametrize("with_loop", [True, False])
async def test_what_a_plain_function_forgets_is_gone_when_it_returns(start, redis, with_loop):
    one, other = await start("one"), await start("other")
    await know(one, other)
    key = one.full_key("ns:k")

    if with_loop:
        one.forget([key])
    else:
        await asyncio.to_thread(one.forget, [key])

    with connect_sync(redis.url, timeout=5) as raw:
        assert not raw.exists(f"cache:{key}")
    await comes(other, None)


async def test_closing_forgets_what_could_not_be_forgotten(start, redis, proxy):
    one = await start("one", store_url=f"{proxy.url}/0{SLOW}")
    await one.set("ns:k", "old")
    key = one.full_key("ns:k")
    proxy.refuse()
    await asyncio.to_thread(one.forget, [key])
    proxy.accept()

    await one.aclose()

    with connect_sync(redis.url, timeout=5) as raw:
        assert not raw.exists(f"cache:{key}")
