"""What every store of the cache promises, over every one of them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.cache import LocalStore, Selection, Store, open_store
from penstock.cache.entry import Entry, freeze
from penstock.clock import ManualClock
from penstock.codec import Codec
from penstock.net.redis import connect_sync


class SharedClock(ManualClock):
    """Takes the keys of a Redis along, whose own clock goes its own way."""

    url: str | None = None

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        if self.url is None:
            return
        with connect_sync(self.url, timeout=5) as client:
            for key in client.scan_iter():
                left = client.pttl(key)
                if left > 0:
                    client.pexpire(key, left - int(seconds * 1000))


@pytest.fixture
def clock() -> SharedClock:
    return SharedClock()


@pytest.fixture(params=["memory", "disk", "redis"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: SharedClock
) -> AsyncIterator[Store]:
    match request.param:
        case "memory":
            url = "memory://"
        case "disk":
            url = f"disk://{tmp_path}/cache.db"
        case _:
            clock.url = request.getfixturevalue("redis").url
            url = f"{clock.url}?timeout=10s"  # the machine may be busy
    store = open_store(url, clock=clock)
    yield store
    await store.aclose()


@pytest.fixture(params=["memory", "disk"])
async def local(
    request: pytest.FixtureRequest, tmp_path: Path, clock: SharedClock
) -> AsyncIterator[LocalStore]:
    """Those that can be asked without a loop."""
    url = {"memory": "memory://", "disk": f"disk://{tmp_path}/cache.db"}[request.param]
    store = open_store(url, clock=clock)
    assert isinstance(store, LocalStore)
    yield store
    await store.aclose()


def entry(
    key: str, value: object, clock: ManualClock, *, ttl: float = 60, tags: tuple = ()
) -> Entry:
    codec = Codec()
    frozen = freeze(value, codec)
    now = clock.now()
    times = (now, now + ttl, now + ttl, now + ttl)
    return Entry(
        key,
        frozen.value,
        frozen.thaw,
        frozen.kind,
        frozen.size,
        *times,
        7,
        tags,
        frozen.plain,
        codec,
    )


async def test_what_was_set_is_got(store, clock):
    await store.set_many(
        [entry("a", {"x": [1]}, clock, tags=("t", "u")), entry("b", "text", clock)]
    )

    found = await store.get_many(["a", "b", "c"])

    assert set(found) == {"a", "b"}
    assert found["a"].tags == ("t", "u")
    assert found["a"].sequence == 7
    assert found["a"].expires == clock.now() + 60


async def test_the_last_set_counts(store, clock):
    await store.set_many([entry("a", "old", clock)])
    await store.set_many([entry("a", "new", clock, ttl=5)])

    found = await store.get_many(["a"])

    assert found["a"].pack()[0].endswith(b"new")
    assert found["a"].expires == clock.now() + 5


async def test_an_expired_entry_is_gone(store, clock):
    await store.set_many([entry("a", "text", clock, ttl=60)])
    clock.advance(60)

    assert await store.get_many(["a"]) == {}
    assert await store.sweep() >= 0
    assert (await store.stats()).entries == 0


async def test_a_sweep_removes_what_has_expired_and_nothing_else(store, clock):
    await store.set_many([entry(f"old:{n}", "x", clock, ttl=10) for n in range(5)])
    await store.set_many([entry(f"new:{n}", "x", clock, ttl=90) for n in range(3)])
    clock.advance(10)

    removed = await store.sweep()

    stats = await store.stats()
    assert stats.entries == 3
    # Redis forgets what has expired by itself.
    assert (removed, stats.expired) == ((5, 5) if isinstance(store, LocalStore) else (0, 0))


async def test_deleted_entries_are_gone_at_once(store, clock):
    await store.set_many([entry(key, "x", clock) for key in "abc"])

    removed = await store.delete(["a", "b", "nowhere"])

    assert removed == 2
    assert set(await store.get_many(["a", "b", "c"])) == {"c"}


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        (Selection(), set()),
        (Selection(pattern="user:*"), {"other:1"}),
        (Selection(pattern="*:1"), {"user:2"}),
        (Selection(tag="red"), {"other:1", "user:2"}),
        (Selection(pattern="user:*", tag="red"), {"other:1", "user:2"}),
        (Selection(tag="re"), {"user:1", "user:2", "other:1"}),
    ],
)
async def test_clear_removes_what_is_selected(store, clock, selection, left):
    await store.set_many(
        [
            entry("user:1", "x", clock, tags=("red",)),
            entry("user:2", "x", clock, tags=("blue", "red-ish")),
            entry("other:1", "x", clock),
        ]
    )

    removed = await store.clear(selection)

    found = await store.get_many(["user:1", "user:2", "other:1"])
    assert set(found) == left
    assert removed == 3 - len(left)


async def test_clear_can_spare_the_young(store, clock):
    await store.set_many([entry("old", "x", clock)])
    clock.advance(10)
    await store.set_many([entry("young", "x", clock)])

    await store.clear(Selection(created_before=clock.now() - 5))

    assert set(await store.get_many(["old", "young"])) == {"young"}


async def test_scan_shows_what_a_pattern_means(store, clock):
    await store.set_many([entry(f"user:{n}", "x", clock) for n in range(5)])
    await store.set_many([entry("other", "x", clock)])
    clock.advance(20)

    shown = await store.scan("user:*", 100)

    assert {info.key for info in shown} == {f"user:{n}" for n in range(5)}
    assert {info.tier for info in shown} == {store.name}
    assert (shown[0].age_seconds, shown[0].expires_in_seconds) == (20, 40)
    assert len(await store.scan("user:*", 2)) == 2


@pytest.mark.parametrize(
    "key", ["plain", "a b", "ключ", "emoji 🦆", "q'uote", "%", "*?[", "x" * 2000]
)
async def test_a_key_may_have_any_characters(store, clock, key):
    await store.set_many([entry(key, "here", clock)])

    assert set(await store.get_many([key])) == {key}


async def test_many_entries_at_once(store, clock):
    await store.set_many([entry(f"k{n}", {"n": n}, clock) for n in range(3000)])

    found = await store.get_many([f"k{n}" for n in range(3000)])

    assert len(found) == 3000
    stats = await store.stats()
    assert (stats.entries, stats.writes) == (3000, 3000)


async def test_stats_say_how_large_it_is(store, clock):
    await store.set_many([entry("a", random.Random(1).randbytes(5000), clock)])

    stats = await store.stats()

    assert stats.size_bytes > 1000
    assert stats.max_bytes == 0 or stats.max_bytes > stats.size_bytes  # 0: a Redis without a bound
    assert stats.state == "up"


async def test_it_can_be_used_without_a_loop(local, clock):
    local.write([entry("a", "x", clock)])

    assert set(local.read(["a", "b"])) == {"a"}
    assert local.remove(["a"]) == 1
    assert local.read(["a"]) == {}


async def test_what_was_set_or_deleted_is_never_withdrawn(local, clock):
    await local.set_many([entry("set", "x", clock), entry("deleted", "x", clock)])
    local.remove(["deleted"])
    local.withdraw(lambda _: True)
    if (settled := local.settled()) is not None:
        settled.result()

    assert set(local.read(["set", "deleted"])) == {"set"}


async def test_closing_twice_does_no_harm(store):
    await store.aclose()
    await store.aclose()
