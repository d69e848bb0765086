"""Two caches on one folder, as two processes have them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.cache import Cache, MemoryStore, open_store
from penstock.hub import LocalHub


@pytest.fixture
def pair(tmp_path: Path, make_cache: Callable[..., Cache], clock) -> Iterator[tuple[Cache, Cache]]:
    hubs = [LocalHub(tmp_path), LocalHub(tmp_path)]
    caches = [
        make_cache(
            MemoryStore(clock=clock),
            open_store(f"disk://{tmp_path}/cache.db", clock=clock),
            hub=hub,
        )
        for hub in hubs
    ]
    yield caches[0], caches[1]
    for hub in hubs:
        hub.close()


async def flushed(cache: Cache) -> None:
    """What is written is on disk once the writing thread has answered."""
    await cache.stats()


async def test_what_one_sets_the_other_gets(pair):
    one, other = pair
    await one.set("k", "old")
    await flushed(one)
    assert await other.get("k") == "old"

    await one.set("k", "new")
    await flushed(one)

    assert await other.get("k") == "new"


async def test_what_one_deletes_the_other_forgets(pair):
    one, other = pair
    await one.set("k", 1)
    await flushed(one)
    await other.get("k")

    await one.delete("k")
    await flushed(one)

    assert other.peek("k") is None
    assert await other.get("k") is None


async def test_a_decorated_function_notices_too(pair):
    one, other = pair
    numbers = iter(range(10))

    async def count(text: str) -> int:
        return next(numbers)

    here, there = one.cached()(count), other.cached()(count)
    assert [await here("a"), await here("a")] == [0, 0]
    await flushed(one)
    assert [await there("a"), await there("a")] == [0, 0]

    await here.invalidate("a")
    await flushed(one)

    assert await there("a") == 1


async def test_a_tag_bumped_by_one_is_bumped_for_the_other(pair):
    one, other = pair
    for cache in pair:
        await cache.set("mine", 1, tags=["user:7"])
        await cache.set("yours", 2, tags=["user:8"])

    await one.clear(tag="user:7")

    assert set(await other.get_many(["mine", "yours"])) == {"yours"}


async def test_a_hub_bumped_by_somebody_else_counts_as_well(pair):
    one, other = pair
    await other.set("k", 1, tags=["t"])

    one.hub.bump("penstock:t/t")

    assert await other.get("k") is None


async def test_a_pattern_cleared_by_one_is_cleared_for_the_other(pair):
    one, other = pair
    for key in ("conversation:1", "user:1"):
        await other.set(key, key)
    await flushed(other)

    await one.clear(pattern="conversation:*")

    assert await other.get("conversation:1") is None
    assert (await other.lookup("user:1")).source == "memory"


async def test_many_cleared_patterns_forget_too_much_rather_than_too_little(pair):
    one, other = pair
    await other.set("conversation:1", 1)
    await flushed(other)

    await one.clear(pattern="conversation:*")
    for number in range(20):
        await one.clear(pattern=f"nothing:{number}")

    assert await other.get("conversation:1") is None


async def test_a_process_that_slept_through_messages_forgets_everything(pair):
    one, other = pair
    await other.set("k", "old")
    await flushed(other)

    await one.set("k", "new")
    for number in range(3000):
        one.hub.publish("noise", b"x" * 200 + str(number).encode())
    await flushed(one)

    assert await other.get("k") == "new"


async def test_a_result_computed_before_a_change_elsewhere_is_not_kept(pair):
    one, other = pair

    async def compute() -> str:
        await one.set("k", "changed elsewhere")
        await flushed(one)
        return "computed before"

    await other.fetch("k", compute)

    assert await other.get("k") == "changed elsewhere"


async def test_other_messages_and_other_caches_are_none_of_its_business(pair, make_cache):
    one, other = pair
    stranger = make_cache(hub=one.hub, prefix="stranger")
    await other.set("k", 1)

    await stranger.set("k", 2)
    one.hub.publish("auth", b"key revoked")

    assert (await other.lookup("k")).source == "memory"


async def test_more_keys_than_a_message_holds(pair):
    one, other = pair
    keys = [f"{number:0200}" for number in range(100)] + ["k" * 9000]
    for key in keys:
        await other.set(key, "old")
    await flushed(other)

    await one.delete(*keys)
    await flushed(one)

    assert await other.get_many(keys) == {}


SCRIPT = """
import asyncio, sys
from pathlib import Path
from penstock.cache import Cache, MemoryStore, open_store
from penstock.hub import LocalHub

async def main(folder):
    hub = LocalHub(Path(folder))
    cache = Cache([MemoryStore(), open_store(f"disk://{folder}/cache.db")], hub=hub)
    for line in sys.stdin:
        verb, _, value = line.strip().partition(" ")
        if verb == "set":
            await cache.set("k", value)
            await cache.stats()
        print(await cache.get("k"), flush=True)
    await cache.aclose()
    hub.close()

asyncio.run(main(sys.argv[1]))
"""


async def test_two_processes_agree(tmp_path):
    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(process: subprocess.Popen[str], line: str) -> str:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    with start() as one, start() as other:
        answers = [
            await asyncio.to_thread(ask, one, "set first"),
            await asyncio.to_thread(ask, other, "get"),
            await asyncio.to_thread(ask, other, "set second"),
            await asyncio.to_thread(ask, one, "get"),
        ]
        for process in (one, other):
            process.stdin.close()

    assert answers == ["first", "first", "second", "second"]


async def test_what_is_cleared_by_age_or_tag_and_pattern_leaves_the_rest_on_disk(pair, clock):
    one, other = pair
    await other.set("user:1", 1, tags=["red"])
    await other.set("user:2", 2)
    await flushed(other)

    await one.clear(pattern="user:*", tag="red")

    assert set(await other.get_many(["user:1", "user:2"])) == {"user:2"}
