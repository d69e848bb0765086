from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cache import MemoryStore, open_store
from penstock.cache.disk import DiskStore
from penstock.cache.entry import KEPT, PACKED, Entry
from penstock.clock import ManualClock
from penstock.codec import Codec

CODEC = Codec()


def entry(key: str, value: bytes | None = None, *, expires: float = 1e12, size: int = 100) -> Entry:
    body = CODEC.pack(value if value is not None else os.urandom(size)).body
    return Entry(
        key, body, CODEC.thaw, PACKED, len(body), 0.0, expires, expires, expires, 0, (), True, CODEC
    )


@pytest.fixture
async def store(tmp_path, clock):
    store = DiskStore(tmp_path / "cache.db", clock=clock)
    yield store
    await store.aclose()


async def test_a_value_survives_a_restart(tmp_path, clock):
    """H-07."""
    first = DiskStore(tmp_path / "cache.db", clock=clock)
    first.write([entry("k", b"value")])
    await first.aclose()
    again = DiskStore(tmp_path / "cache.db", clock=clock)

    found = again.read(["k"])["k"]

    assert CODEC.unpack(found.value) == b"value"
    await again.aclose()


async def test_pending_writes_are_read_before_they_are_on_disk(tmp_path, clock):
    store = DiskStore(tmp_path / "cache.db", clock=clock)
    with store._writer._condition:  # the writing thread cannot take them yet
        store.write([entry("k", b"1")])
        assert store.read(["k"])
        store.remove(["k"])
        assert store.read(["k"]) == {}

    store.flush()
    assert store.read(["k"]) == {}
    await store.aclose()


async def test_what_yields_is_withdrawn_up_to_its_commit_and_nothing_else_is(store):
    store.write([entry("late", b"old")])
    store.flush()
    store.watch(lambda: store.withdraw(lambda key: key != "other"))

    await store.set_many([entry("set", b"1")])
    store.write([entry("written", b"1"), entry("other", b"1")])
    store.remove(["late"], yields=True)
    store.flush()

    assert set(store.read(["late", "set", "written", "other"])) == {"late", "set", "other"}


async def test_a_hub_that_fails_costs_no_write(store, told):
    store.watch(lambda: 1 // 0)

    store.write([entry("k", b"1")])
    store.flush()

    assert store.read(["k"])
    assert [line.split()[0] for line in told()] == ["cache.cannot_catch_up"]


async def test_large_values_are_compressed(store, tmp_path):
    """P-09."""
    store.write([entry("k", b"again and again " * 1000)])
    store.flush()

    connection = sqlite3.connect(tmp_path / "cache.db")
    ((size,),) = connection.execute("SELECT length(record) FROM entries").fetchall()
    connection.close()
    assert size < 1000
    assert CODEC.unpack(store.read(["k"])["k"].value) == b"again and again " * 1000


async def test_the_file_stays_within_its_bound(tmp_path, clock):
    store = DiskStore(tmp_path / "cache.db", max_bytes=1 << 20, clock=clock)

    for start in range(0, 4000, 500):
        store.write([entry(f"k{number}", size=1000) for number in range(start, start + 500)])
        store.flush()

    stats = await store.stats()
    assert stats.size_bytes <= 1 << 20
    assert stats.evictions == 4000 - stats.entries
    assert store.read(["k3999"])
    assert not store.read(["k0"])
    await store.aclose()


async def test_what_was_read_lately_is_evicted_last(tmp_path, clock):
    store = DiskStore(tmp_path / "cache.db", max_bytes=1 << 20, clock=clock)
    store.write([entry(f"k{number}", size=1000) for number in range(500)])
    store.flush()
    for _ in range(6):
        assert store.read(["k0", "k1"])
        store.write([entry(f"n{_}{number}", size=1000) for number in range(300)])
        store.flush()

    assert set(store.read(["k0", "k1", "k2", "k3"])) == {"k0", "k1"}
    await store.aclose()


async def test_the_expired_makes_room_before_the_living(tmp_path, clock):
    clock.advance(100)
    store = DiskStore(tmp_path / "cache.db", max_bytes=1 << 20, clock=clock)
    store.write([entry(f"living{number}", size=1000) for number in range(300)])
    store.write(
        [entry(f"dead{number}", size=1000, expires=clock.now() + 1) for number in range(300)]
    )
    store.flush()
    clock.advance(2)

    store.write([entry(f"new{number}", size=1000) for number in range(300)])
    store.flush()

    stats = await store.stats()
    assert (stats.expired, stats.evictions, stats.entries) == (300, 0, 600)
    await store.aclose()


async def test_a_value_that_cannot_be_bytes_is_skipped_and_does_not_leave_the_old(store):
    store.write([entry("k", b"old")])
    store.flush()
    store.write([Entry("k", (1, 2), None, KEPT, 10, 0.0, 1e12, 1e12, 1e12, 0, (), True, CODEC)])
    store.flush()

    assert store.read(["k"]) == {}
    assert (await store.stats()).skipped == 1


async def test_a_full_queue_drops_who_does_not_wait(tmp_path, clock):
    store = DiskStore(tmp_path / "cache.db", max_pending=10_000, clock=clock)
    with store._writer._condition:
        store.write([entry(f"k{number}", size=1000) for number in range(100)])

    store.flush()

    stats = await store.stats()
    assert stats.dropped > 80
    assert stats.writes == 100 - stats.dropped
    await store.aclose()


async def test_who_waits_for_room_loses_nothing(tmp_path, clock):
    store = DiskStore(tmp_path / "cache.db", max_pending=10_000, clock=clock)

    await store.set_many([entry(f"k{number}", size=1000) for number in range(500)])
    store.flush()

    stats = await store.stats()
    assert (stats.writes, stats.dropped, stats.entries) == (500, 0, 500)
    await store.aclose()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"this is no database" * 1000),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + os.urandom(60_000)),
    ],
    ids=["not SQLite", "damaged in the middle"],
)
async def test_a_damaged_file_is_set_aside_and_a_fresh_one_begun(tmp_path, clock, damage, told):
    path = tmp_path / "cache.db"
    first = DiskStore(path, clock=clock)
    first.write([entry(f"k{number}", size=1000) for number in range(200)])
    await first.aclose()
    damage(path)
    store = DiskStore(path, clock=clock)

    for number in range(200):
        store.read([f"k{number}"])
    store.write([entry("new", b"value")])
    store.flush()

    assert store.read(["new"])
    assert path.with_name("cache.db.damaged").exists()
    assert [line.split()[0] for line in told()] == ["cache.file_damaged"]
    stats = await store.stats()
    assert (stats.state, stats.entries) == ("up", 1)
    await store.aclose()


async def test_a_damaged_value_is_a_miss(store, tmp_path):
    store.write([entry("k", b"value")])
    store.flush()
    connection = sqlite3.connect(tmp_path / "cache.db")
    connection.execute("UPDATE entries SET record = x'ff00'")
    connection.commit()
    connection.close()

    assert store.read(["k"]) == {}
    store.flush()
    stats = await store.stats()
    assert (stats.entries, stats.errors) == (0, 1)


async def test_another_versions_file_is_emptied(tmp_path, clock):
    connection = sqlite3.connect(tmp_path / "cache.db")
    connection.execute("CREATE TABLE entries (other TEXT)")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    store = DiskStore(tmp_path / "cache.db", clock=clock)

    store.write([entry("k", b"value")])
    store.flush()

    assert store.read(["k"])
    await store.aclose()


async def test_a_deleted_file_is_begun_anew(store, tmp_path):
    store.write([entry("old", b"1")])
    store.flush()
    for path in tmp_path.glob("cache.db*"):
        path.unlink()

    store.write([entry("new", b"2")])
    store.flush()

    assert (tmp_path / "cache.db").exists()
    assert store.read(["new"])


async def test_a_folder_that_cannot_be_written_is_an_outage_that_ends(tmp_path, told):
    """A file stands where the folder should be: what root meets instead of a read-only folder."""
    clock = ManualClock()
    (tmp_path / "folder").write_text("in the way")
    store = DiskStore(tmp_path / "folder" / "cache.db", clock=clock)

    for number in range(5):
        store.write([entry(f"k{number}", b"1")])
        await store.stats()
    assert (await store.stats()).state == "down"
    (tmp_path / "folder").unlink()
    clock.advance(60)
    store.write([entry("later", b"1")])
    store.flush()

    assert store.read(["later"])
    stats = await store.stats()
    assert (stats.state, stats.dropped, stats.entries) == ("up", 5, 1)
    assert [line.split()[0] for line in told()] == ["cache.tier_down", "cache.tier_up"]
    await store.aclose()


async def test_a_cache_answers_while_its_disk_is_away(tmp_path, make_cache, clock):
    (tmp_path / "folder").write_text("in the way")
    cache = make_cache(
        MemoryStore(clock=clock), open_store(f"disk://{tmp_path}/folder/cache.db", clock=clock)
    )

    @cache.cached()
    async def double(text: str) -> str:
        return text * 2

    assert [await double(text) for text in "abab"] == ["aa", "bb", "aa", "bb"]
    assert await cache.clear() == 2
    stats = await cache.stats()
    assert stats.tiers["disk"].state == "down"
    assert "cannot be used" in stats.tiers["disk"].detail


FULL = """
import asyncio, resource, signal, sys
from penstock.cache import Cache, MemoryStore, open_store
from penstock.clock import ManualClock
from penstock.hub import LocalHub

async def main(path):
    clock = ManualClock()
    cache = Cache([MemoryStore(clock=clock), open_store(f"disk://{path}", clock=clock)],
                  hub=LocalHub(None), clock=clock)
    await cache.set("before", 1)
    await cache.stats()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    for number in range(50):
        await cache.set(f"k{number}", bytes(str(number), "ascii") * 5000)
        await cache.stats()
    full = await cache.stats()
    assert full.tiers["disk"].state == "down", full
    assert full.tiers["disk"].dropped > 0
    assert await cache.get("k49") is not None and await cache.get("before") == 1
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    clock.advance(60)
    await cache.set("after", 2)
    stats = await cache.stats()
    assert stats.tiers["disk"].state == "up", stats
    await cache.aclose()
    again = Cache([open_store(f"disk://{path}", clock=clock)], hub=LocalHub(None), clock=clock)
    assert (await again.get("before"), await again.get("after")) == (1, 2)
    await again.aclose()
    print("answered", end="")

asyncio.run(main(sys.argv[1]))
"""


async def test_a_full_disk_costs_no_answer_and_no_file(tmp_path):
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", FULL, str(tmp_path / "cache.db")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.endswith("answered"), done.stderr


async def test_two_stores_write_one_file(tmp_path, clock):
    stores = [DiskStore(tmp_path / "cache.db", clock=clock) for _ in range(2)]

    def work(number: int) -> None:
        for step in range(200):
            stores[number].write([entry(f"{number}:{step}", b"1")])
            stores[number].read([f"{1 - number}:{step}"])
        stores[number].flush()

    await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(2)))

    for store in stores:
        assert len(store.read([f"{n}:{step}" for n in range(2) for step in range(200)])) == 400
        stats = await store.stats()
        assert (stats.state, stats.dropped) == ("up", 0)
        await store.aclose()


async def test_a_forgotten_close_still_writes_everything_at_exit(tmp_path: Path):
    code = (
        "import sys; from penstock.cache import *; from penstock.hub import LocalHub\n"
        "cache = Cache([open_store('disk://' + sys.argv[1])], hub=LocalHub(None))\n"
        "print(cache.cached()(lambda text: text * 2)('a'))"
    )
    path = tmp_path / "cache.db"

    command = [sys.executable, "-c", code, str(path)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)

    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM entries").fetchone() == (1,)
    connection.close()


async def test_no_pickle_is_anywhere():
    import penstock.cache

    for path in Path(penstock.cache.__file__).parent.glob("*.py"):
        assert "import pickle" not in path.read_text()


async def test_only_its_owner_can_read_the_file_and_its_logs(tmp_path, clock):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o755)
    stores = [DiskStore(tmp_path / name / "cache.db", clock=clock) for name in ("own", "shared")]

    for store in stores:
        store.write([entry("k")])
        store.flush()

    files = [file for store in stores for file in store.path.parent.iterdir()]
    assert {file.name for file in files} == {"cache.db", "cache.db-wal", "cache.db-shm"}
    assert {_rights(file) for file in files} == {0o600}
    assert [_rights(store.path.parent) for store in stores] == [0o700, 0o755]
    for store in stores:
        await store.aclose()


def _rights(path: Path) -> int:
    return path.stat().st_mode & 0o777
