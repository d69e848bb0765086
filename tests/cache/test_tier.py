from __future__ import annotations

import pytest

from penstock.cache import MemoryStore
from penstock.cache.breaker import Breaker
from penstock.cache.store import LocalStore
from penstock.errors import CacheUnavailable


class Remote:
    """A store that can be asked only by waiting, and can be taken away."""

    name = "redis"

    def __init__(self, clock) -> None:
        self.inner = MemoryStore(clock=clock)
        self.down = False
        self.asked = 0

    async def _ask(self, method, *args):
        self.asked += 1
        if self.down:
            raise CacheUnavailable("gone")
        return await getattr(self.inner, method)(*args)

    async def get_many(self, keys):
        return await self._ask("get_many", keys)

    async def set_many(self, entries):
        return await self._ask("set_many", [entry.duplicate() for entry in entries])

    async def delete(self, keys):
        return await self._ask("delete", keys)

    async def clear(self, selection):
        return await self._ask("clear", selection)

    async def scan(self, pattern, limit):
        return await self._ask("scan", pattern, limit)

    async def stats(self):
        return await self._ask("stats")

    async def sweep(self):
        return await self._ask("sweep")

    async def aclose(self):
        return await self._ask("aclose")


@pytest.fixture
def remote(clock) -> Remote:
    return Remote(clock)


async def value() -> str:
    return "computed"


def test_a_remote_store_is_not_taken_for_a_local_one(remote):
    assert isinstance(MemoryStore(), LocalStore)
    assert not isinstance(remote, LocalStore)


async def test_a_remote_tier_fills_the_tiers_above_it(make_cache, remote, clock):
    first = make_cache(MemoryStore(clock=clock), remote)
    await first.fetch("k", value)
    second = make_cache(MemoryStore(clock=clock), remote, hub=first.hub)

    hits = [await second.fetch("k", value) for _ in range(2)]

    assert [hit.source for hit in hits] == ["redis", "memory"]
    assert set(await second.get_many(["k"])) == {"k"}
    assert await second.delete("k") == 1
    assert await second.get("k") is None


async def test_a_broken_tier_costs_no_answer_and_is_left_alone(make_cache, remote, clock, told):
    """One line when it goes, one when it is back, and no question while it is away."""
    cache = make_cache(MemoryStore(clock=clock), remote)
    remote.down = True

    for number in range(20):
        assert (await cache.fetch(f"k{number}", value)).value == "computed"
    asked = remote.asked
    assert (await cache.stats()).tiers["redis"].state == "down"
    remote.down = False
    clock.advance(60)
    await cache.fetch("again", value)

    assert asked == 3
    assert [line.split()[0] for line in told()] == ["cache.tier_down", "cache.tier_up"]
    stats = await cache.stats()
    assert (stats.tiers["redis"].state, stats.tiers["redis"].errors) == ("up", 3)


async def test_pauses_grow_and_one_attempt_is_made_after_each(clock):
    breaker = Breaker("disk", clock, after=1)
    pauses = []

    for _ in range(7):
        breaker.failed(OSError("full"))
        waited = 0
        while not breaker.allows():
            clock.advance(1)
            waited += 1
        pauses.append(waited)

    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert breaker.detail == "full"


async def test_a_success_forgives_what_came_before(clock):
    breaker = Breaker("disk", clock, after=3)

    for _ in range(5):
        breaker.failed(OSError())
        breaker.failed(OSError())
        breaker.succeeded()

    assert not breaker.is_open
