"""Two caches on one folder, as two processes have them."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from penstock.cache import Cache, MemoryStore, open_store
from penstock.cache.database import Database
from penstock.clock import SystemClock
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


TURNS = 60


async def changed_by_one(one: Cache, verb: str, key: str) -> str | None:
    """Change a key in one of three ways; what everybody has to read then."""
    match verb:
        case "set":
            await one.set(key, "new")
            return "new"
        case "delete":
            await one.delete(key)
        case _:
            await one.cached(namespace=key)(nothing).invalidate()
    return None


async def nothing() -> str:
    return "old"


def key_of(cache: Cache, verb: str, turn: int) -> str:
    if verb != "invalidate":
        return f"user:{turn}"
    return cache.cached(namespace=f"user:{turn}")(nothing).key()


@pytest.mark.parametrize("forth", [True, False], ids=["one tells", "other tells"])
@pytest.mark.parametrize("verb", ["set", "delete", "invalidate"])
async def test_nobody_keeps_the_value_from_before_a_change(pair, verb, forth):
    one, other = pair if forth else reversed(pair)
    wrong = []
    for turn in range(TURNS):
        key = key_of(one, verb, turn)
        await one.set(key, "old")
        assert await other.get(key) == "old"

        right = await changed_by_one(one, verb, f"user:{turn}" if verb == "invalidate" else key)
        seen = [await other.get(key)]
        await flushed(one)
        seen += [await other.get(key), await one.get(key)]

        wrong += [] if seen == [right] * 3 else [(turn, seen)]

    assert wrong == []


async def test_a_function_without_a_loop_tells_when_it_is_true_as_well(pair):
    one, other = pair
    texts = iter(f"{number}" for number in range(2 * TURNS))

    def read(name: str) -> str:
        return next(texts)

    here, there = one.cached()(read), other.cached()(read)
    for turn in range(TURNS):
        before = here(str(turn))
        await flushed(one)
        assert there(str(turn)) == before

        assert here.invalidate(str(turn)) is True

        assert there(str(turn)) != before


async def test_a_refreshed_key_is_told_to_those_who_know_it(pair):
    one, other = pair
    numbers = iter(range(10))

    def count(text: str) -> int:
        return next(numbers)

    async def count_later(text: str) -> int:
        return next(numbers)

    for function in (count, count_later):
        here, there = one.cached()(function), other.cached()(function)
        first = here("a") if function is count else await here("a")
        await flushed(one)
        assert first == (there("a") if function is count else await there("a"))

        renewed = here.refresh("a") if function is count else await here.refresh("a")

        assert renewed == first + 1
        assert (there("a") if function is count else await there("a")) == renewed


@pytest.mark.parametrize("verb", ["set", "delete"])
async def test_what_was_computed_before_a_change_is_not_written_over_it(pair, verb):
    one, other = pair
    for turn in range(TURNS):
        key = f"user:{turn}"
        await other.fetch(key, nothing)  # still to be written

        right = await changed_by_one(one, verb, key)
        await flushed(other)
        await flushed(one)

        assert (await other.get(key), await one.get(key)) == (right, right)


async def test_what_is_useless_is_not_cleared_away_over_a_change(pair, clock):
    one, other = pair
    for turn in range(TURNS):
        key = f"user:{turn}"
        await one.set(key, "old", ttl=1)
        clock.advance(2)
        assert await other.get(key) is None  # the expired row is still to be removed

        await one.set(key, "new")
        await flushed(other)

        assert await other.get(key) == "new"


async def test_who_is_cancelled_while_the_disk_commits_has_told_all_the_same(pair):
    one, other = pair
    for turn in range(TURNS):
        key = f"user:{turn}"
        await one.set(key, "old")
        assert await other.get(key) == "old"

        async with asyncio.TaskGroup() as group:
            task = group.create_task(one.set(key, "new"))
            await asyncio.sleep(0)
            task.cancel()
        await flushed(one)

        assert await other.get(key) == "new"


async def test_a_disk_that_hangs_holds_nobody_up_and_is_told_again(
    pair, tmp_path, monkeypatch, told
):
    one, other = pair
    await one.set("k", "old")
    await flushed(one)  # a busy machine may need longer than any patience
    assert await other.get("k") == "old"
    disk = one.cascade.local[1]
    before, warned = disk.errors.value, len(told())

    # From here on nothing can settle, so that every wait is too long, whatever the machine does.
    monkeypatch.setattr("penstock.cache.telling.PATIENCE", 0.01)
    with closing(sqlite3.connect(tmp_path / "cache.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        await one.set("k", "new")
        await one.delete("l")
        await asyncio.to_thread(one.forget, [one.full_key("m")])
        errors = disk.errors.value - before
        assert (await one.get("k"), await other.get("k")) == ("new", "old")
        holder.execute("ROLLBACK")
    await flushed(one)

    assert await other.get("k") == "new"
    assert errors == 3
    assert [line.split()[0] for line in told()[warned:]] == ["cache.tier_slow"]


async def test_a_dead_disk_holds_nobody_up(make_cache, tmp_path, clock):
    (tmp_path / "folder").write_text("in the way")
    disk = open_store(f"disk://{tmp_path}/folder/cache.db", clock=clock)
    cache = make_cache(MemoryStore(clock=clock), disk)

    await cache.set("k", 1)

    assert await cache.get("k") == 1
    assert await cache.delete("k") == 1
    assert cache.forget([cache.full_key("k")]) == 0


async def test_many_keys_are_committed_by_the_hundred(pair, monkeypatch):
    one, other = pair
    commits = []
    apply = Database.apply
    monkeypatch.setattr(
        Database, "apply", lambda *args: (commits.append(len(args[1])), apply(*args))
    )

    await one.warm({f"k{number}": number for number in range(1000)})

    assert commits == [100] * 10
    assert len(await other.get_many([f"k{number}" for number in range(1000)])) == 1000


OTHER = """
import asyncio, sys
from pathlib import Path
from penstock.cache import Cache, MemoryStore, open_store
from penstock.hub import LocalHub

async def main(folder):
    hub = LocalHub(Path(folder))
    cache = Cache([MemoryStore(), open_store(f"disk://{folder}/cache.db")], hub=hub)
    for line in sys.stdin:
        verb, key, *value = line.split()
        if verb == "set":
            await cache.set(key, value[0])
        elif verb == "delete":
            await cache.delete(key)
        print(await cache.get(key), flush=True)
    await cache.aclose()
    hub.close()

asyncio.run(main(sys.argv[1]))
"""


async def test_no_process_keeps_the_value_from_before_a_change(tmp_path, make_cache):
    hub = LocalHub(tmp_path)
    here = make_cache(
        MemoryStore(), open_store(f"disk://{tmp_path}/cache.db"), hub=hub, clock=SystemClock()
    )

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", OTHER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(line: str) -> str:
        there.stdin.write(line + "\n")
        there.stdin.flush()
        return there.stdout.readline().strip()

    wrong = []
    with start() as there:
        for turn in range(TURNS):
            for verb, right in (("set", "new"), ("delete", "None")):
                key = f"{verb}:{turn}"
                await here.set(key, "old")
                first = ask(f"get {key}")
                await (here.set(key, "new") if verb == "set" else here.delete(key))
                seen = [first, ask(f"get {key}"), ask(f"get {key}")]
                wrong += [] if seen == ["old", right, right] else [seen]
                ask(f"set {key} back")
                back = await here.get(key)
                ask(f"{verb} {key} new")
                seen = [back, str(await here.get(key)), str(await here.get(key))]
                wrong += [] if seen == ["back", right, right] else [seen]
        there.stdin.close()

    assert wrong == []
    await here.aclose()
    hub.close()
