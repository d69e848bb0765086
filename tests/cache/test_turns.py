"""Two servers on one Redis: who computes, and who is told of changes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest

from penstock.cache import Cache
from penstock.clock import ManualClock
from penstock.net.redis import connect_sync
from tests.cache.conftest import PATIENCE, PATIENT

CALLERS = 100


class Work:
    """A function that is counted and waits until it is let go."""

    def __init__(self, *, fails: bool = False) -> None:
        self.calls: Counter[str] = Counter()
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.fails = fails

    async def __call__(self, key: str) -> str:
        self.calls[key] += 1
        self.began.set()
        await self.may_end.wait()
        if self.fails:
            raise RuntimeError("upstream 503")
        return f"{key} computed"

    async def many(self, keys: list[str]) -> list[str]:
        return list(await asyncio.gather(*map(self, keys)))


@pytest.fixture
async def pair(start, proxy) -> tuple[Cache, Cache]:
    return await start(), await start(f"{proxy.url}/0{PATIENT}")


@pytest.fixture
def raw(redis):
    with connect_sync(redis.url, timeout=5) as client:
        yield client


@pytest.fixture
def work() -> Work:
    return Work()


async def until(is_so: Callable[[], object]) -> None:
    """Return when it is so; fail when that takes too long."""
    ends = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(0.001)


def ask(cache: Cache, work: Work, key: str = "k", **options: object) -> asyncio.Future:
    return asyncio.ensure_future(cache.fetch(key, lambda: work(key), **options))


async def test_two_servers_with_many_callers_compute_once(pair, work):
    callers = [ask(cache, work) for cache in pair for _ in range(CALLERS)]
    await work.began.wait()
    work.may_end.set()

    hits = await asyncio.gather(*callers)

    assert work.calls == {"k": 1}
    assert {hit.value for hit in hits} == {"k computed"}
    sources = Counter(hit.source for hit in hits)
    assert sources["computed"] == 1
    assert set(sources) == {"computed", "redis", "inflight"}


async def test_who_waits_for_another_server_is_served_though_the_first_caller_leaves(pair, work):
    first = ask(pair[0], work)
    await work.began.wait()
    callers = [ask(cache, work) for cache in pair for _ in range(CALLERS)]
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    work.may_end.set()

    assert {hit.value for hit in await asyncio.gather(*callers)} == {"k computed"}
    assert work.calls == {"k": 1}


async def test_a_failure_reaches_everybody_and_each_server_tries_once(pair):
    work = Work(fails=True)
    work.may_end.set()

    callers = [ask(cache, work) for cache in pair for _ in range(CALLERS)]
    errors = await asyncio.gather(*callers, return_exceptions=True)

    assert {str(error) for error in errors} == {"upstream 503"}
    assert work.calls == {"k": 2}


async def test_what_may_not_be_kept_is_computed_by_each(pair, work):
    work.may_end.set()

    hits = await asyncio.gather(*(ask(c, work, cache_if=lambda _: False) for c in pair))

    assert [hit.source for hit in hits] == ["computed", "computed"]


async def test_a_dead_owners_turn_ends_by_itself(start, work, raw):
    cache = await start()
    raw.set("penstock:hub:lease:flight:penstock:k", "of one who was killed", px=200)
    work.may_end.set()

    assert (await ask(cache, work)).source == "computed"


async def test_a_turn_that_takes_long_is_not_lost(pair, work, raw, monkeypatch):
    monkeypatch.setattr("penstock.cache.turns.LEASE_SECONDS", 60.0)
    monkeypatch.setattr("penstock.cache.turns.EXTEND_EVERY", 0.02)
    callers = [ask(pair[0], work)]
    await work.began.wait()
    callers.append(ask(pair[1], work))
    name = "penstock:hub:lease:flight:penstock:k"
    raw.pexpire(name, 30_000)
    await until(lambda: raw.pttl(name) > 40_000)  # it was extended
    work.may_end.set()

    await asyncio.gather(*callers)

    assert work.calls == {"k": 1}


async def test_an_owner_who_takes_too_long_is_not_waited_for(pair, work, monkeypatch):
    monkeypatch.setattr("penstock.cache.turns.PATIENCE", 0.05)
    callers = [ask(cache, work) for cache in pair]

    await until(lambda: work.calls["k"] == 2)
    work.may_end.set()

    assert [hit.source for hit in await asyncio.gather(*callers)] == ["computed", "computed"]


async def test_a_server_that_stops_lets_others_go_on(pair, work):
    one, other = pair
    first = ask(one, work)
    await work.began.wait()
    second = ask(other, work)
    await one.aclose()
    await asyncio.gather(first, return_exceptions=True)
    work.may_end.set()

    assert (await second).value == "k computed"


async def test_without_redis_each_server_computes_for_itself(pair, work, proxy):
    proxy.refuse()
    await until(lambda: not pair[1].hub.is_current)

    callers = [ask(cache, work) for cache in pair for _ in range(CALLERS)]
    await until(lambda: work.calls["k"] == 2)
    work.may_end.set()

    await asyncio.gather(*callers)
    assert work.calls == {"k": 2}


async def test_a_silent_redis_does_not_hold_up_computing(start, work, proxy):
    other = await start(f"{proxy.url}/0")
    proxy.freeze()
    work.may_end.set()

    async with asyncio.timeout(PATIENCE):
        assert (await ask(other, work)).value == "k computed"


async def test_hits_ask_for_no_turn(start, work, raw):
    cache = await start()
    work.may_end.set()
    await ask(cache, work)
    await cache.cascade.flush()
    asked = raw.info("commandstats")["cmdstat_set"]["calls"]

    for forget in (False, True):
        for _ in range(10):
            if forget:
                cache.memory.forget_all()
            assert (await ask(cache, work)).source in ("memory", "redis")

    assert raw.info("commandstats")["cmdstat_set"]["calls"] == asked


async def test_what_stays_in_memory_needs_no_turn(start, work, raw):
    cache = await start()
    work.may_end.set()

    @cache.cached(tiers=("memory",))
    async def function(text: str) -> str:
        return await work(text)

    await function("a")

    assert {"cmdstat_mget", "cmdstat_hmget"}.isdisjoint(raw.info("commandstats"))


async def test_batches_that_overlap_compute_each_key_once(pair, work):
    keys = [f"k{number}" for number in range(75)]
    asked = [
        asyncio.ensure_future(cache.fetch_many(part, work.many))
        for cache, part in zip(pair, (keys[:50], keys[25:]), strict=True)
    ]
    await until(lambda: len(work.calls) == 75)
    work.may_end.set()

    one, other = await asyncio.gather(*asked)

    assert work.calls == Counter(keys)
    assert [hit.value for hit in one] == [f"{key} computed" for key in keys[:50]]
    assert [hit.value for hit in other] == [f"{key} computed" for key in keys[25:]]


async def test_a_batch_that_fails_elsewhere_is_computed_here(pair):
    failing, working = Work(fails=True), Work()
    first = asyncio.ensure_future(pair[0].fetch_many(["a", "b"], failing.many))
    await failing.began.wait()
    second = asyncio.ensure_future(pair[1].fetch_many(["b", "c"], working.many))
    working.may_end.set()
    failing.may_end.set()

    with pytest.raises(RuntimeError):
        await first

    assert [hit.value for hit in await second] == ["b computed", "c computed"]


async def test_one_server_renews_what_is_stale_for_all(start):
    clock = ManualClock()
    pair = await start(clock=clock), await start(clock=clock)
    calls: list[int] = []

    async def count() -> int:
        calls.append(1)
        return len(calls)

    async def ask_both() -> list[tuple[int, bool]]:
        hits = []
        for cache in pair:
            hit = await cache.fetch("k", count, ttl=60, stale=60)
            hits.append((hit.value, hit.stale))
            await cache.cascade.flush()
        return hits

    assert await ask_both() == [(1, False), (1, False)]
    clock.advance(70)
    assert await ask_both() == [(1, True), (1, True)]
    for cache in pair:
        await cache.flights.settle()
        await cache.cascade.flush()

    assert await ask_both() == [(2, False), (2, False)]
    assert len(calls) == 2


# --- coherence ---------------------------------------------------------------------------------


async def knowing(pair: tuple[Cache, Cache], key: str = "k", **options: object) -> None:
    """Both have the value "old" in memory."""
    one, other = pair
    await one.set(key, "old", **options)
    await until(lambda: other.hub.heads[0] >= 1)
    assert await other.get(key) == "old"
    assert await other.get(key) == "old"


@pytest.mark.parametrize("forth", [True, False], ids=["one tells", "other tells"])
async def test_a_change_on_one_server_reaches_the_memory_of_the_other(pair, forth):
    one, other = pair if forth else tuple(reversed(pair))
    await knowing((one, other))

    await one.set("k", "new")
    await until(lambda: other.peek("k") is None)
    assert await other.get("k") == "new"

    await one.delete("k")
    await until(lambda: other.peek("k") is None)
    assert await other.get("k") is None


@pytest.mark.parametrize("how", [{"tag": "t"}, {"namespace": "user"}, {"pattern": "user:*"}, {}])
async def test_what_is_cleared_on_one_server_is_cleared_on_the_other(pair, how):
    one, other = pair
    await knowing(pair, "user:1", tags=["t"])

    await one.clear(**how)

    await until(lambda: other.peek("user:1") is None)
    assert await other.get("user:1") is None


async def test_a_function_is_invalidated_everywhere(pair):
    numbers = iter(range(10))

    async def count(text: str) -> int:
        return next(numbers)

    one, other = pair
    here, there = one.cached()(count), other.cached()(count)
    assert (await here("a"), await there("a")) == (0, 0)

    await here.invalidate("a")
    await until(lambda: other.hub.heads[0] != other.cascade.coherence.position)

    assert await there("a") == 1


async def test_what_was_computed_before_a_bump_elsewhere_is_not_served(pair, work):
    one, other = pair
    computing = ask(other, work, tags=["policy"])
    await work.began.wait()

    await one.clear(tag="policy")
    await until(lambda: other.hub.heard() == one.hub.heard())
    work.may_end.set()
    await computing
    await other.cascade.flush()

    assert await one.get("k") is None
    assert await other.get("k") is None


async def test_a_server_that_was_cut_off_forgets_what_changed_meanwhile(pair, proxy):
    one, other = pair
    await knowing(pair)
    proxy.refuse()
    await until(lambda: not other.hub.is_current)
    await one.set("k", "new")

    proxy.accept()
    await until(lambda: other.hub.is_current)

    await until(lambda: other.peek("k") is None)
