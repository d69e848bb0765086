"""What the Redis tier promises beside what every store does: faults, bounds, round trips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from benchmarks.rigs.servers import wait_until
from benchmarks.rigs.slow_proxy import SlowProxy
from penstock.cache import Cache, MemoryStore, Selection, open_store
from penstock.cache.entry import Entry, freeze
from penstock.cache.redis import RedisStore
from penstock.cache.store import WriteRefused
from penstock.clock import ManualClock
from penstock.codec import Codec
from penstock.errors import ConfigurationError
from penstock.net.redis import connect_sync

ENTRIES = 20
# Where silence is not the subject: the machine may be busy.
PATIENT = "?timeout=10s"


@pytest.fixture
async def open_redis(clock: ManualClock) -> AsyncIterator[Callable[[str], RedisStore]]:
    """Opens stores by URL and closes them."""
    opened: list[RedisStore] = []

    def start(url: str) -> RedisStore:
        store = open_store(url, clock=clock)
        assert isinstance(store, RedisStore)
        opened.append(store)
        return store

    yield start
    for store in opened:
        await store.aclose()


@pytest.fixture
def store(redis, open_redis) -> RedisStore:
    return open_redis(redis.url + PATIENT)


@pytest.fixture
def cache(make_cache, open_redis, proxy, clock) -> Cache:
    """Memory and Redis, behind a proxy."""
    return make_cache(MemoryStore(clock=clock), open_redis(f"{proxy.url}/0{PATIENT}"))


@pytest.fixture
def hasty(make_cache, open_redis, proxy, clock) -> Cache:
    """The same with the usual time-out of 100 ms."""
    return make_cache(MemoryStore(clock=clock), open_redis(f"{proxy.url}/0"))


@pytest.fixture
def alone(make_cache, store, cache) -> Cache:
    """Another cache of the same installation, without memory and without a proxy."""
    return make_cache(store, hub=cache.hub)


@pytest.fixture
def raw(redis):
    with connect_sync(redis.url, timeout=5) as client:
        yield client


def entry(key: str, value: object, clock: ManualClock) -> Entry:
    codec, now = Codec(), clock.now()
    frozen = freeze(value, codec)
    kept = (frozen.value, frozen.thaw, frozen.kind, frozen.size)
    return Entry(key, *kept, now, now + 60, now + 60, now + 60, 7, (), frozen.plain, codec)


def calls_of(raw, command: str) -> int:
    return raw.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)


async def value() -> str:
    return "computed"


async def never() -> str:
    raise AssertionError("was computed")


# --- bytes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "foreign", [b"", b"text", b"P1", b"P1" + b"\x00" * 60, b"P1" + b"\xff" * 60, b"{}" * 500]
)
async def test_what_is_no_entry_is_a_miss_and_counted(store, raw, clock, foreign):
    raw.set("cache:k", foreign)
    await store.set_many([entry("good", 1, clock)])

    assert await store.get_many(["k"]) == {}
    assert set(await store.get_many(["k", "good"])) == {"good"}
    assert (await store.stats()).errors == 2


async def test_a_key_of_another_type_is_a_miss_and_is_set_over(store, raw, clock):
    raw.rpush("cache:k", "somebody's list")

    assert await store.get_many(["k"]) == {}
    assert (await store.stats()).errors == 1
    await store.set_many([entry("k", 1, clock)])
    assert set(await store.get_many(["k"])) == {"k"}


async def test_redis_itself_forgets_an_entry_when_its_grace_is_over(cache, raw):
    await cache.set("k", 1, ttl=60, stale=30)

    assert 80_000 < raw.pttl("cache:penstock:k") <= 90_000


async def test_large_values_are_compressed(store, raw, clock):
    await store.set_many([entry("large", "word " * 10_000, clock), entry("small", "w", clock)])

    assert raw.strlen("cache:large") < 5_000
    assert (await store.get_many(["large"]))["large"].pack()[0].endswith(b"word ")


# --- round trips ---------------------------------------------------------------------------------


async def test_many_keys_are_one_command(store, raw, clock):
    keys = [f"k{number}" for number in range(100)]
    await store.set_many([entry(key, key, clock) for key in keys])

    assert len(await store.get_many(keys)) == 100

    assert (calls_of(raw, "mget"), calls_of(raw, "get")) == (1, 0)
    assert (calls_of(raw, "set"), calls_of(raw, "multi")) == (100, 1)


async def test_who_asks_at_the_same_time_asks_together(store, raw, clock):
    keys = [f"k{number}" for number in range(100)]
    await store.set_many([entry(key, key, clock) for key in keys])

    found = await asyncio.gather(*(store.get_many([key]) for key in keys))

    assert [list(one) for one in found] == [[key] for key in keys]
    some = await asyncio.gather(*(store.get_many([f"nowhere{n}", "k1"]) for n in range(20)))
    assert [set(one) for one in some] == [{"k1"}] * 20
    assert calls_of(raw, "mget") + calls_of(raw, "get") <= 10


async def test_connections_stay_few_under_load(store, raw, clock):
    await store.set_many([entry("k", 1, clock)])

    await asyncio.gather(*(store.get_many(["k", f"{number}"]) for number in range(500)))

    assert sum(client["name"] == "penstock-cache" for client in raw.client_list()) <= 8


async def test_a_caller_who_leaves_takes_nobody_along(store, clock):
    await store.set_many([entry("k", 1, clock)])
    callers = [asyncio.ensure_future(store.get_many(["k"])) for _ in range(50)]
    await asyncio.sleep(0)
    for caller in callers[::2]:
        caller.cancel()

    found = await asyncio.gather(*callers, return_exceptions=True)

    assert [set(one) for one in found[1::2]] == [{"k"}] * 25
    assert set(await store.get_many(["k"])) == {"k"}


def test_each_loop_has_a_client_of_its_own_that_ends_with_it(redis, raw, clock):
    store = RedisStore(redis.url, timeout=10.0, clock=clock)

    async def use(key: str) -> set[str]:
        await store.set_many([entry(key, 1, clock)])
        return set(await store.get_many(["a", "b"]))

    assert asyncio.run(use("a")) == {"a"}
    assert asyncio.run(use("b")) == {"a", "b"}
    wait_until(lambda: all(c["name"] != "penstock-cache" for c in raw.client_list()))


# --- patterns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("k?y", {"key", "kéy"}),
        ("k[e-f]y", {"key"}),
        ("k[!e]y", {"kéy"}),
        ("[", {"["}),
        (r"\*", {"*"}),
        ("*", {"key", "kéy", "[", "*", "k*a*b*c*d"}),
        ("k*a*b*c*d", {"k*a*b*c*d"}),
    ],
)
async def test_patterns_mean_what_they_mean_elsewhere(store, clock, pattern, meant):
    keys = ["key", "kéy", "[", "*", "k*a*b*c*d"]
    await store.set_many([entry(key, 1, clock) for key in keys])

    assert {info.key for info in await store.scan(pattern, 10)} == meant
    assert await store.clear(Selection(pattern=pattern)) == len(meant)
    assert set(await store.get_many(keys)) == set(keys) - meant


async def test_clearing_touches_nothing_but_entries_and_never_asks_for_all_keys(store, raw, clock):
    raw.mset({"penstock:hub:x": 1, "mine": 2})
    await store.set_many([entry(f"k{number}", 1, clock) for number in range(ENTRIES)])

    assert await store.clear(Selection()) == ENTRIES

    assert {b"penstock:hub:x", b"mine"} <= set(raw.scan_iter())
    assert calls_of(raw, "keys") == 0


async def test_sizes_are_those_of_entries_alone(store, raw, clock):
    raw.mset({f"other:{number}": "x" * 1000 for number in range(50)})
    await store.set_many([entry(f"k{number}", "x" * 1000, clock) for number in range(ENTRIES)])

    stats = await store.stats()

    assert stats.entries == ENTRIES
    assert ENTRIES * 1000 < stats.size_bytes < ENTRIES * 1500
    assert stats.max_bytes == 0  # this Redis has no maxmemory


# --- what was computed and what was changed -------------------------------------------------------


@pytest.mark.parametrize("change", ["set", "delete", "clear"])
async def test_what_was_computed_before_a_change_is_not_written_over_it(
    store, open_redis, redis, clock, change
):
    other = open_redis(redis.url + PATIENT)
    _, marks = await store.look(["k", "l"])

    match change:
        case "set":
            await other.set_many([entry("k", "new", clock)])
        case "delete":
            await other.delete(["k"])
        case _:
            await other.clear(Selection(pattern="k*"))
    old = [(entry(key, "old", clock), marks[key]) for key in "kl"]

    assert await store.set_unchanged(old) == (0 if change == "clear" else 1)
    found = await store.get_many(["k"])
    assert [one.pack()[0] for one in found.values()] == ([b"\xa3new"] if change == "set" else [])


async def test_what_was_computed_is_written_after_a_script_is_forgotten(store, raw, clock):
    for key in "ab":
        raw.script_flush()
        _, marks = await store.look([key])
        assert await store.set_unchanged([(entry(key, 1, clock), marks[key])]) == 1


async def test_the_answer_does_not_wait_for_the_write(cache, alone, proxy):
    async def compute() -> str:
        proxy.freeze()
        return "computed"

    hit = await cache.fetch("k", compute)
    frozen = proxy.is_frozen
    proxy.thaw()
    await cache.cascade.flush()

    assert (hit.value, frozen) == ("computed", True)
    assert (await alone.lookup("k")).source == "redis"


async def test_what_is_computed_meanwhile_is_written_together(cache, alone, raw):
    await asyncio.gather(*(cache.fetch(f"k{number}", value) for number in range(50)))
    await cache.cascade.flush()

    assert len(await alone.get_many([f"k{number}" for number in range(50)])) == 50
    assert calls_of(raw, "evalsha") + calls_of(raw, "eval") < 25


async def test_closing_writes_what_waits(cache, alone):
    await asyncio.gather(*(cache.fetch(f"k{number}", value) for number in range(50)))
    await cache.aclose()

    assert len(await alone.get_many([f"k{number}" for number in range(50)])) == 50


async def test_what_finds_no_room_is_lost_and_counted(cache, alone, monkeypatch):
    monkeypatch.setattr("penstock.cache.behind.MOST", 10)
    keys = [f"k{number}" for number in range(50)]

    async def compute(missing: list[str]) -> list[str]:
        return missing

    await cache.fetch_many(keys, compute)
    await cache.cascade.flush()

    assert len(await alone.get_many(keys)) == 10
    assert (await cache.stats()).tiers["redis"].dropped == 40


async def test_a_change_is_there_for_others_when_it_is_done(cache, alone):
    await cache.set("k", "new")
    assert await alone.get("k") == "new"
    assert await cache.warm({"a": 1, "b": 2}) == 2
    assert set(await alone.get_many(["a", "b"])) == {"a", "b"}
    assert await cache.delete("k") == 1
    assert await alone.get("k") is None
    assert await cache.clear(pattern="?") == 2
    assert await alone.get_many(["a", "b"]) == {}


async def test_a_key_that_is_deleted_while_its_result_waits_stays_deleted(cache, alone):
    for number in range(30):
        await cache.fetch(f"k{number}", value)
        await cache.delete(f"k{number}")
    await cache.cascade.flush()

    assert await alone.get_many([f"k{number}" for number in range(30)]) == {}


async def test_an_entry_from_before_a_bump_is_never_served(cache, alone, raw):
    await cache.set("k", "old", tags=["policy"])
    old = raw.get("cache:penstock:k")

    await cache.clear(tag="policy")
    raw.set("cache:penstock:k", old)  # as a server that was cut off would write it

    assert await alone.get("k") is None
    assert await cache.get("k") is None


async def test_a_stale_entry_is_renewed_for_all(cache, alone, clock):
    numbers = iter(range(10))

    async def count() -> int:
        return next(numbers)

    await cache.fetch("k", count, ttl=60, stale=60)
    clock.advance(70)
    assert (await cache.fetch("k", count, ttl=60, stale=60)).stale
    await cache.flights.settle()
    await cache.cascade.flush()

    assert (await alone.fetch("k", never)).value == 1


# --- faults ---------------------------------------------------------------------------------------


async def test_a_silent_redis_is_asked_three_times_and_then_left_alone(hasty, proxy, clock):
    await hasty.get("connects")
    asked = proxy.attempts
    proxy.freeze()

    for number in range(ENTRIES):
        assert (await hasty.fetch(f"k{number}", value)).value == "computed"
    attempts = proxy.attempts - asked

    tier = (await hasty.stats()).tiers["redis"]
    assert tier.state == "down"
    assert "does not answer in time" in tier.detail
    # The first goes out on the open connection; new ones send HELLO, which nobody answers.
    assert attempts <= 4

    proxy.thaw()
    for _ in range(ENTRIES):  # on a busy machine one answer may come too late
        clock.advance(60)
        await hasty.get("k")
        if (await hasty.stats()).tiers["redis"].state == "up":
            return
    raise AssertionError("the tier did not come back")


async def test_all_who_wait_for_a_silent_redis_wait_for_one_time_out(hasty, proxy):
    await hasty.get("connects")
    asked = proxy.attempts
    proxy.freeze()

    hits = await asyncio.gather(*(hasty.fetch(f"k{number}", value) for number in range(200)))

    assert {hit.value for hit in hits} == {"computed"}
    assert proxy.attempts - asked <= 8


async def test_a_redis_that_is_not_there_costs_no_answer(cache, proxy, clock):
    proxy.refuse()
    for number in range(ENTRIES):
        assert (await cache.fetch(f"k{number}", value)).value == "computed"

    assert "cannot be reached" in (await cache.stats()).tiers["redis"].detail
    proxy.accept()
    clock.advance(60)
    await cache.fetch("again", value)
    await cache.cascade.flush()
    assert (await cache.stats()).tiers["redis"].entries == 1


@pytest.mark.parametrize("verb", ["set", "delete"])
async def test_what_could_not_be_changed_there_is_not_served_later(
    cache, alone, proxy, clock, verb
):
    await cache.set("k", "old")
    proxy.refuse()
    if verb == "set":
        await cache.set("k", "new")
    else:
        await cache.delete("k")
    cache.memory.forget_all()
    assert await cache.get("k") is None

    proxy.accept()
    clock.advance(60)
    await cache.get("something else")

    assert await cache.get("k") is None
    assert await alone.get("k") is None


async def test_a_pattern_that_could_not_be_cleared_makes_all_invalid(cache, alone, proxy):
    await cache.set("user:1", "old")
    proxy.refuse()
    await cache.clear(pattern="user:*")
    proxy.accept()

    assert await alone.get("user:1") is None


async def test_a_connection_that_is_cut_is_made_anew(cache, alone, proxy):
    await cache.set("k", 1)
    cache.memory.forget_all()
    for _ in range(3):
        proxy.reset()
        await cache.get("k")

    assert await cache.get("k") == 1


async def test_a_full_redis_is_read_and_says_that_it_takes_no_writes(
    own_redis, open_redis, make_cache, clock
):
    server = own_redis("--maxmemory-policy", "noeviction")
    store = open_redis(server.url + PATIENT)
    cache = make_cache(store)
    await cache.set("k", "old")
    with connect_sync(server.url, timeout=5) as raw:
        raw.config_set("maxmemory", "1mb")

        assert (await cache.fetch("computed", value)).value == "computed"
        await cache.cascade.flush()
        for number in range(ENTRIES):
            await cache.set(f"k{number}", number)
        tier = (await cache.stats()).tiers["redis"]
        assert (tier.state, tier.entries) == ("up", 1)
        assert "takes no writes" in tier.detail
        assert "maxmemory" in tier.detail
        assert await cache.get("k") == "old"

        # Over the old value the new one cannot be written: the old one must go all the same.
        await cache.set("k", "new")
        assert await cache.get("k") is None

        raw.config_set("maxmemory", "0")
    clock.advance(60)
    await cache.set("k", "newer")
    assert await cache.get("k") == "newer"
    assert (await cache.stats()).tiers["redis"].detail is None


async def test_a_replica_is_read(own_redis, open_redis, make_cache, clock):
    server = own_redis()
    cache = make_cache(open_redis(server.url + PATIENT))
    await cache.set("k", "old")
    with connect_sync(server.url, timeout=5) as raw:
        raw.config_set("repl-diskless-sync", "no")
        raw.execute_command("REPLICAOF", "127.0.0.1", "1")

    for number in range(ENTRIES):
        await cache.fetch(f"k{number}", value)
        await cache.cascade.flush()

    tier = (await cache.stats()).tiers["redis"]
    assert tier.state == "up"
    assert "read-only replica" in tier.detail
    assert await cache.get("k") == "old"


async def test_a_failover_is_followed(redis, own_redis, open_redis, clock):
    """The old primary lives on as a replica, and the address leads to the new one."""
    former = own_redis()
    with SlowProxy(former.port) as address, connect_sync(former.url, timeout=5) as raw:
        store = open_redis(f"{address.url}/0{PATIENT}")
        await store.set_many([entry("k", "old", clock)])
        assert set(await store.get_many(["k"])) == {"k"}
        raw.execute_command("REPLICAOF", "127.0.0.1", "1")
        address._target = ("127.0.0.1", redis.port)

        with pytest.raises(WriteRefused):
            await store.set_many([entry("k", "new", clock)])

        assert await store.get_many(["k"]) == {}  # the new primary knows nothing of it
        await store.set_many([entry("k", "new", clock)])
        assert set(await store.get_many(["k"])) == {"k"}


async def test_a_password_is_asked_for_and_never_shown(own_redis, open_redis, make_cache, told):
    server = own_redis(password="correct-horse")
    right = make_cache(open_redis(server.url + PATIENT))
    await right.set("k", 1)
    assert await right.get("k") == 1

    wrong = make_cache(open_redis(server.url.replace("correct", "wrong") + PATIENT))
    for _ in range(4):
        await wrong.get("k")

    tier = (await wrong.stats()).tiers["redis"]
    assert tier.state == "down"
    assert "refuses the name or the password" in tier.detail
    assert "horse" not in tier.detail + "".join(told())


async def test_a_redis_that_is_killed_comes_back_by_itself(
    own_redis, open_redis, make_cache, clock
):
    server = own_redis()
    cache = make_cache(open_redis(server.url + PATIENT))
    await cache.set("k", 1)
    server.kill()
    for _ in range(5):
        assert await cache.get("k") is None
    server.start()
    clock.advance(60)

    await cache.set("k", 2)

    assert await cache.get("k") == 2


@pytest.mark.parametrize("url", ["redis://", "rediss://?timeout=100ms"])
def test_an_address_that_is_none_is_refused_when_it_is_opened(url):
    with pytest.raises(ConfigurationError):
        open_store(url)


def test_options_of_ours_are_not_the_clients():
    store = open_store(
        "redis://127.0.0.1:1/3?timeout=250ms&compress_from=0&health_check_interval=5"
    )

    assert store.url == "redis://127.0.0.1:1/3?health_check_interval=5"
