from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import pytest

from penstock.cache import Cache, MemoryStore
from penstock.clock import ManualClock, seconds
from penstock.errors import ConfigurationError, InvalidInput
from penstock.observe.metrics import Metrics


class Record(msgspec.Struct):
    scores: dict[str, float]
    spans: tuple[int, ...] = ()


async def never() -> object:
    raise AssertionError("was computed")


def returning(value: object) -> Callable:
    async def compute() -> object:
        return value

    return compute


async def test_the_snippet_of_the_source_system_runs(cache):
    """P-10."""
    await cache.set("user:123", {"name": "Ada"}, ttl=1800)

    assert await cache.get("user:123") == {"name": "Ada"}
    assert (await cache.get_stats()).hits == 1
    assert await cache.delete("user:123") == 1
    assert await cache.get("user:123") is None


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, 0.0, b""])
async def test_falsy_values_are_values(cache, value):
    """O-18, O-24: a cached None was a permanent miss."""
    await cache.set("k", value)

    assert await cache.get("k", default="missing") == value
    assert (await cache.fetch("k", never)).value == value


async def test_an_entry_lives_for_its_ttl(cache, clock):
    await cache.set("k", 1, ttl=60)

    clock.advance(59.9)
    assert await cache.get("k") == 1
    clock.advance(0.1)
    assert await cache.get("k") is None


async def test_without_a_ttl_the_default_counts(make_cache, clock):
    cache = make_cache(ttl=100)
    await cache.set("k", 1)

    clock.advance(99)
    assert await cache.get("k") == 1
    clock.advance(1)
    assert await cache.get("k") is None


async def test_a_longer_ttl_is_clamped_to_the_maximum(make_cache, clock):
    cache = make_cache(max_ttl=100, max_ttl_of={"short": 10})
    await cache.set("k", 1, ttl="30d")
    await cache.set("short:k", 1, ttl=50)

    clock.advance(10)
    assert (await cache.get("k"), await cache.get("short:k")) == (1, None)
    clock.advance(90)
    assert await cache.get("k") is None


async def test_jitter_shortens_a_ttl_by_at_most_its_share(make_cache, clock):
    cache = make_cache(jitter=0.5, ttl=100)
    for number in range(50):
        await cache.fetch(f"k:{number}", returning(number))

    left = [info.expires_in_seconds for info in await cache.scan("k:*")]

    assert all(50 <= seconds <= 100 for seconds in left)
    assert len(set(left)) > 40


async def test_a_ttl_may_depend_on_the_value(cache, clock):
    for value in ("blocked", "clean"):
        await cache.fetch(value, returning(value), ttl=lambda v: 60 if v == "blocked" else 600)

    clock.advance(60)

    assert (await cache.get("blocked"), await cache.get("clean")) == (None, "clean")


async def test_the_maximum_age_is_checked_at_read(cache, clock):
    await cache.set("k", "blocked", ttl=3600)
    clock.advance(100)

    assert await cache.lookup("k", max_age=99) is None
    assert (await cache.lookup("k", max_age=lambda value: 101)).age == 100
    assert cache.peek("k", max_age=99) is None


async def test_a_stale_value_is_served_while_one_refresh_runs(cache, clock):
    calls = 0

    async def compute() -> int:
        nonlocal calls
        calls += 1
        return calls

    await cache.fetch("k", compute, ttl=60, stale=30)
    clock.advance(70)

    hits = [await cache.fetch("k", compute, ttl=60, stale=30) for _ in range(3)]
    await cache.flights.settle()
    fresh = await cache.fetch("k", compute, ttl=60, stale=30)

    assert (hits[0].value, hits[0].stale) == (1, True)
    assert (fresh.value, fresh.stale, calls) == (2, False, 2)


async def test_a_failing_refresh_leaves_the_stale_value(cache, clock):
    await cache.fetch("k", returning("old"), ttl=60, stale=30)
    clock.advance(70)

    async def fail() -> str:
        raise RuntimeError

    for _ in range(2):
        assert (await cache.fetch("k", fail, ttl=60, stale=30)).value == "old"
        await cache.flights.settle()
    clock.advance(20)
    with pytest.raises(RuntimeError):
        await cache.fetch("k", fail, ttl=60, stale=30)


async def test_what_cache_if_refuses_is_returned_but_not_kept(cache):
    hit = await cache.fetch("k", returning("partial"), cache_if=lambda value: value != "partial")

    assert (hit.value, await cache.get("k")) == ("partial", None)


async def test_a_changed_value_never_changes_the_next_hit(cache):
    first = (await cache.fetch("k", returning({"a": [1]}))).value
    first["a"].append(2)
    second = await cache.get("k")
    second["a"].append(3)

    assert await cache.get("k") == {"a": [1]}
    assert cache.peek("k").value == {"a": [1]}


async def test_a_value_that_cannot_be_bytes_is_copied(cache):
    class Thing:
        def __init__(self) -> None:
            self.parts = [1]

    thing = Thing()
    await cache.set("k", thing)
    thing.parts.append(2)

    got = await cache.get("k")
    got.parts.append(3)

    assert (await cache.get("k")).parts == [1]


async def test_a_value_that_cannot_even_be_copied_is_returned_and_not_kept(cache):
    def generator():
        yield 1

    value = generator()
    hit = await cache.fetch("k", returning(value))

    assert hit.value is value
    assert await cache.get("k") is None


async def test_a_hit_on_disk_is_promoted_to_memory(tiered):
    first = tiered()
    await first.set("k", {"a": 1})
    await first.aclose()
    cache = tiered()

    hits = [await cache.lookup("k") for _ in range(2)]

    assert [hit.source for hit in hits] == ["disk", "memory"]


async def test_a_typed_value_survives_a_restart(tiered):
    record = Record({"hate": 0.5}, (1, 2))
    first = tiered()
    await first.fetch("k", returning(record), type=Record)
    await first.aclose()
    cache = tiered()

    assert (await cache.lookup("k", type=Record)).value == record
    assert (await cache.lookup("k", type=Record)).source == "memory"


async def test_a_look_without_the_type_does_not_spoil_it_for_others(tiered):
    first = tiered()
    await first.set("k", Record({"hate": 0.5}), type=Record)
    await first.aclose()
    cache = tiered()

    assert await cache.get("k") == {"scores": {"hate": 0.5}, "spans": []}
    assert (await cache.lookup("k", type=Record)).value == Record({"hate": 0.5})


async def test_a_record_whose_type_has_changed_is_computed_anew(tiered):
    class Newer(msgspec.Struct):
        must_have: int

    first = tiered()
    await first.set("k", Record({}), type=Record)
    await first.aclose()
    cache = tiered()

    hit = await cache.fetch("k", returning(Newer(1)), type=Newer)

    assert (hit.source, hit.value) == ("computed", Newer(1))


async def test_get_many_asks_each_tier_once(tiered):
    first = tiered()
    for key in "abc":
        await first.set(key, key)
    await first.aclose()
    cache = tiered()
    await cache.set("d", "d")

    hits = await cache.get_many(["a", "b", "d", "nowhere"])

    assert {key: (hit.value, hit.source) for key, hit in hits.items()} == {
        "a": ("a", "disk"),
        "b": ("b", "disk"),
        "d": ("d", "memory"),
    }
    assert (await cache.lookup("a")).source == "memory"


async def test_fetch_many_computes_the_misses_in_one_call(cache):
    await cache.set("a", "A")
    asked = []

    async def compute(keys: list[str]) -> list[str]:
        asked.append(keys)
        return [key.upper() for key in keys]

    hits = await cache.fetch_many(["b", "a", "c", "b"], compute)

    assert [hit.value for hit in hits] == ["B", "A", "C", "B"]
    assert asked == [["b", "c"]]


async def test_a_batch_that_answers_too_little_is_an_error(cache):
    with pytest.raises(Exception, match="1 results for 2 items"):
        await cache.fetch_many(["a", "b"], lambda keys: returning(["only one"])())


async def test_a_tag_forgets_what_carries_it(tiered):
    cache = tiered()
    await cache.set("a", 1, tags=["user:7"])
    await cache.set("b", 2, tags=["user:8", "policy:1"])

    removed = await cache.clear(tag="user:7")

    assert removed == 1
    assert (await cache.get("a"), await cache.get("b")) == (None, 2)


async def test_a_tag_forgets_what_was_begun_before_it(cache):
    """A computation that started with the old policy must not be remembered under the new one."""

    async def compute() -> str:
        await cache.clear(tag="policy")
        return "by the old policy"

    await cache.fetch("k", compute, tags=["policy"])

    assert await cache.get("k") is None


async def test_a_namespace_is_forgotten_as_a_whole(tiered):
    cache = tiered()
    for key in ("tenant:1", "tenant:2", "tenants:1"):
        await cache.set(key, "x")

    assert await cache.clear(namespace="tenant") == 2
    assert set(await cache.get_many(["tenant:1", "tenant:2", "tenants:1"])) == {"tenants:1"}


async def test_a_pattern_removes_matching_keys_only_after_a_preview(tiered):
    """P-04."""
    cache = tiered()
    for key in ("conversation:1", "conversation:2", "conversations", "user:1"):
        await cache.set(key, "x")

    shown = await cache.scan("conversation:*")
    removed = await cache.clear(pattern="conversation:*")

    assert [info.key for info in shown] == ["conversation:1", "conversation:2"]
    assert removed == 2
    assert set(await cache.get_many(["conversations", "user:1"])) == {"conversations", "user:1"}


async def test_the_old_can_be_cleared_apart(tiered, clock):
    cache = tiered()
    await cache.set("old", 1)
    clock.advance(100)
    await cache.set("young", 2)

    assert await cache.clear(older_than="1m") == 1
    assert set(await cache.get_many(["old", "young"])) == {"young"}


async def test_clear_forgets_everything_also_what_is_on_its_way(tiered):
    cache = tiered()
    await cache.set("a", 1)

    async def compute() -> int:
        await cache.clear()
        return 2

    await cache.fetch("b", compute)

    assert await cache.get_many(["a", "b"]) == {}


async def test_a_key_that_is_set_meanwhile_keeps_what_was_set(cache):
    async def compute() -> str:
        await cache.set("k", "set by hand")
        return "computed before"

    await cache.fetch("k", compute)

    assert await cache.get("k") == "set by hand"


async def test_a_key_that_is_deleted_meanwhile_stays_deleted(cache):
    async def compute() -> str:
        await cache.delete("k")
        return "computed before"

    await cache.fetch("k", compute)

    assert await cache.get("k") is None


async def test_two_prefixes_do_not_see_each_other(make_cache, clock):
    """P-08, on one store."""
    store = MemoryStore(clock=clock)
    one = make_cache(store, prefix="pixel_ai")
    other = make_cache(store, prefix="pixel*")
    await one.set("k", 1)
    await other.set("k", 2)

    assert await other.clear() == 1
    assert (await one.get("k"), await other.get("k")) == (1, None)


async def test_warming_fills_every_tier(tiered):
    cache = tiered()

    kept = await cache.warm({f"k:{n}": n for n in range(1200)}, ttl="1h")

    stats = await cache.stats()
    assert kept == 1200
    assert {tier.entries for tier in stats.tiers.values()} == {1200}


async def test_statistics_count_by_tier(tiered):
    first = tiered()
    await first.set("k", 1)
    await first.aclose()
    cache = tiered()

    for key in ("k", "k", "k", "nowhere"):
        await cache.get(key)

    stats = await cache.stats()
    assert (stats.hits, stats.misses, stats.hit_rate) == (3, 1, 0.75)
    assert (stats.tiers["memory"].hits, stats.tiers["memory"].misses) == (2, 2)
    assert (stats.tiers["disk"].hits, stats.tiers["disk"].misses) == (1, 1)
    assert stats.entries == 1
    assert stats.size_bytes > 0


async def test_hits_and_misses_are_metrics(make_cache):
    metrics = Metrics()
    cache = make_cache(metrics=metrics)
    await cache.set("k", 1)

    for key in ("k", "nowhere"):
        await cache.get(key)

    assert metrics.total("penstock_cache_hits_total", tier="memory") == 1
    assert metrics.total("penstock_cache_misses_total", tier="memory") == 1


async def test_a_switched_off_cache_computes_every_time(make_cache):
    cache = make_cache(enabled=False)
    calls = []

    async def compute() -> int:
        calls.append(1)
        return len(calls)

    await cache.set("k", "x")
    values = [(await cache.fetch("k", compute)).value for _ in range(2)]

    assert values == [1, 2]
    assert await cache.get("k") is None
    assert not (await cache.stats()).enabled


async def test_peek_sees_fresh_memory_and_nothing_else(tiered, clock):
    first = tiered()
    await first.set("k", 1, ttl=60, stale=60)
    await first.aclose()
    cache = tiered()
    assert cache.peek("k") is None

    await cache.get("k")
    assert cache.peek("k").source == "memory"

    clock.advance(60)
    assert cache.peek("k") is None


async def test_keys_with_strange_characters_are_kept_apart(tiered):
    cache = tiered()
    keys = ["\ud800", "\udc00", "", "a\x00b", "a\x00c", "*", "привет", "k" * 9000]
    for number, key in enumerate(keys):
        await cache.set(key, number)

    assert [await cache.get(key) for key in keys] == list(range(len(keys)))


async def test_the_owner_can_keep_it_swept(cache, clock: ManualClock):
    await cache.set("k", 1, ttl=10)
    upkeep = asyncio.ensure_future(cache.upkeep(every=30))
    await asyncio.sleep(0)

    clock.advance(30)
    for _ in range(10):  # turns of the loop
        await asyncio.sleep(0)

    assert (await cache.stats()).entries == 0

    upkeep.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await upkeep


@pytest.mark.parametrize(
    ("words", "expected"),
    [(90, 90), ("90", None), ("90s", 90), ("1h30m", 5400), ("250ms", 0.25), ("7 d", 604800)],
)
def test_durations_are_seconds_or_words(words, expected):
    if expected is None:
        with pytest.raises(ConfigurationError, match="not a duration"):
            seconds(words)
    else:
        assert seconds(words) == expected


async def test_pattern_and_namespace_together_are_refused(cache: Cache):
    with pytest.raises(ConfigurationError):
        await cache.clear(pattern="*", namespace="a")


@pytest.mark.parametrize("pattern", ["[z-a]", "\ud800", "*" * 100_000])
async def test_a_pattern_that_cannot_be_read_is_its_askers_fault_and_no_tiers(tiered, pattern):
    """Five of them took the memory tier out of use."""
    cache = tiered()
    await cache.set("k", 1)

    for _ in range(10):
        with pytest.raises(InvalidInput):
            await cache.scan(pattern)
        with pytest.raises(InvalidInput):
            await cache.clear(pattern=pattern)

    tiers = (await cache.stats()).tiers.values()
    assert [(tier.state, tier.errors) for tier in tiers] == [("up", 0), ("up", 0)]
    assert await cache.get("k") == 1


@pytest.mark.parametrize("stored", [{"scores": {}}, "text", None, 7, [1]])
async def test_a_plain_value_in_the_place_of_a_struct_is_a_miss(tiered, stored):
    writer = tiered()
    await writer.set("k", stored)
    await writer.aclose()
    cache = tiered()

    hits = [await cache.fetch("k", returning(Record({})), type=Record) for _ in range(2)]

    assert [hit.source for hit in hits] == ["computed", "memory"]
    assert [hit.value for hit in hits] == [Record({}), Record({})]


async def test_a_function_that_breaks_its_word_is_remembered_in_memory_alone(tiered, told):
    cache = tiered()

    hits = [await cache.fetch("k", returning({"a": [1]}), type=Record) for _ in range(2)]

    assert [hit.source for hit in hits] == ["computed", "memory"]
    assert hits[1].value == {"a": [1]}
    assert told()[0].startswith("cache.memory_only")
