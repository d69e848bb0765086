from __future__ import annotations

import threading

from penstock.cache import MemoryStore, Selection
from penstock.cache.entry import KEPT, OVERHEAD, Entry
from penstock.clock import ManualClock


def entry(key: str, size: int = 100, *, expires: float = 1e12) -> Entry:
    return Entry(key, "x" * 8, None, KEPT, size, 0.0, expires, expires, expires, 0, ())


def fill(store: MemoryStore, keys: range) -> None:
    for number in keys:
        store.put(entry(f"k{number}"))


def room_for(entries: int) -> int:
    return entries * entry_weight()


def entry_weight() -> int:
    store = MemoryStore()
    store.put(entry("k10000"))
    return store.entries["k10000"].weight


async def test_it_never_holds_more_bytes_than_allowed():
    store = MemoryStore(room_for(100))

    fill(store, range(1000, 3000))

    stats = await store.stats()
    assert stats.size_bytes <= store.max_bytes
    assert stats.evictions == 2000 - stats.entries
    assert 95 <= stats.entries <= 110


async def test_bytes_count_exactly_whatever_happens():
    store = MemoryStore(room_for(50))
    number, aliases = store.new_aliases()

    fill(store, range(200))
    for key in list(store.entries)[:10]:
        store.alias(store.entries[key], number, key, size=10)
    store.remove(list(store.entries)[:20])
    fill(store, range(150, 260))

    assert (await store.stats()).size_bytes == sum(e.weight for e in store.entries.values())
    assert set(aliases) <= {e.alias[1] for e in store.entries.values() if e.alias}


def test_what_is_asked_for_again_outlives_what_is_not():
    store = MemoryStore(room_for(100))
    fill(store, range(10))
    store.read([f"k{n}" for n in range(10)])

    fill(store, range(1000, 1500))

    assert all(f"k{n}" in store.entries for n in range(10))


def test_who_comes_back_soon_stays():
    """A key that was evicted from the small queue goes to the main queue when it returns."""
    store = MemoryStore(room_for(20))
    fill(store, range(1000, 1021))
    assert "k1000" not in store.entries

    store.put(entry("k1000"))
    fill(store, range(2000, 2015))

    assert "k1000" in store.entries


def test_an_entry_larger_than_half_the_room_is_not_kept():
    store = MemoryStore(10_000)
    store.put(entry("small"))

    store.put(entry("huge", 8_000))

    assert set(store.entries) == {"small"}


def test_a_too_large_successor_takes_its_predecessor_away():
    store = MemoryStore(10_000)
    store.put(entry("k"))

    store.put(entry("k", 8_000))

    assert store.read(["k"]) == {}


async def test_an_expired_entry_is_removed_when_it_is_seen():
    clock = ManualClock(0)
    store = MemoryStore(clock=clock)
    store.put(entry("k", expires=10))
    clock.advance(10)

    assert store.read(["k"]) == {}
    assert (await store.stats()).expired == 1


async def test_nothing_grows_after_expiry():
    """E-01, O-24: expired entries leave without being asked for."""
    clock = ManualClock(0)
    store = MemoryStore(clock=clock)
    for number in range(5000):
        store.put(entry(f"k{number}", expires=10))
    clock.advance(11)

    assert await store.sweep() == 5000
    stats = await store.stats()
    assert (stats.entries, stats.size_bytes) == (0, 0)


async def test_expired_entries_make_room_while_others_are_written():
    clock = ManualClock(0)
    store = MemoryStore(clock=clock)
    for number in range(1000):
        store.put(entry(f"old{number}", expires=10))
    clock.advance(11)

    for number in range(1000):
        store.put(entry(f"new{number}", expires=1000))

    assert (await store.stats()).entries == 1000


def test_an_alias_leads_to_the_entry_and_goes_with_it():
    store = MemoryStore()
    number, aliases = store.new_aliases()
    store.put(entry("k"))
    store.alias(store.entries["k"], number, "text", size=20)
    assert aliases["text"] is store.entries["k"]

    store.put(entry("k", 50))
    assert aliases["text"] is store.entries["k"]

    store.remove(["k"])
    assert aliases == {}


def test_an_alias_of_an_entry_that_is_gone_is_not_made():
    store = MemoryStore()
    number, aliases = store.new_aliases()
    store.put(entry("k"))
    old = store.entries["k"]
    store.remove(["k"])

    store.alias(old, number, "text", size=20)

    assert aliases == {}


async def test_clearing_everything_forgets_aliases_too():
    store = MemoryStore()
    number, aliases = store.new_aliases()
    store.put(entry("k"))
    store.alias(store.entries["k"], number, "text", size=20)

    assert await store.clear(Selection()) == 1
    assert aliases == {}
    assert (await store.stats()).size_bytes == 0


async def test_a_million_keys_stay_within_the_bound():
    """F-21, with a bound small enough to be reached a hundred times over."""
    store = MemoryStore(room_for(1000))

    fill(store, range(100_000))

    stats = await store.stats()
    assert stats.size_bytes <= store.max_bytes
    assert len(store._ghosts) <= stats.entries + 16
    assert len(store._small) + len(store._main) == stats.entries


async def test_sixteen_threads_lose_nothing():
    """E-01: no lost update, no broken queue, exact bytes."""
    store = MemoryStore(room_for(500))

    def work(seed: int) -> None:
        for step in range(2000):
            key = f"k{(seed * 7 + step * 13) % 900}"
            if step % 5 == 0:
                store.remove([key])
            elif step % 2:
                store.put(entry(key, 50 + step % 100))
            else:
                store.read([key])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    entries = store.entries.values()
    assert set(store._small) | set(store._main) == set(store.entries)
    assert store._bytes == sum(e.weight for e in entries)
    assert store._small_bytes == sum(e.weight for e in store._small.values())
    assert store._bytes <= store.max_bytes


async def test_the_overhead_is_what_an_entry_really_takes():
    import tracemalloc

    store = MemoryStore()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(5000):
        store.put(entry(f"{number:032x}", 0, expires=1e12 + number))
    spent = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    keys = sum(e.weight - OVERHEAD for e in store.entries.values())
    assert 0.7 < (spent - keys) / 5000 / OVERHEAD < 1.1
