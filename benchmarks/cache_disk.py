"""Claim: the disk tier reads as SQLite reads, and writes faster than the peers on disk.

20,000 entries of 391 bytes of MessagePack are present in every store. A get is timed as the store
gives it (a row, its times, its tags, checked for expiry) beside the least that SQLite can do for a
value with an expiry; the whole `await cache.get` with memory left out is printed and compared with
cashews on disk. Sets are sustained: the clock stops when the last one is committed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import shutil
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cashews
import diskcache

from benchmarks.cache_memory import make_result
from benchmarks.report import ratio, row
from penstock.cache import Cache, open_store
from penstock.cache.disk import DiskStore
from penstock.cache.entry import PACKED, Entry
from penstock.codec import Codec
from penstock.hub import LocalHub

CLAIM = "The disk tier reads like raw SQLite and writes faster than its peers"
ENTRIES = 20_000
GETS = 3_000
SETS = 5_000
NEVER = 4e9
CODEC = Codec()


def run(rounds: int = 7) -> dict[str, Any]:
    """Every case once per round, in turn."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return asyncio.run(_run(folder, max(7, rounds)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _run(folder: Path, rounds: int) -> dict[str, Any]:
    values = [make_result(number) for number in range(1000)]
    bodies = [CODEC.pack(value).body for value in values]
    raw = _raw(folder / "raw.db", bodies)
    store = DiskStore(folder / "ours.db")
    await store.set_many([_entry(_key(n), bodies[n % 1000]) for n in range(ENTRIES)])
    store.flush()
    cache = Cache([open_store(f"disk://{folder}/cache.db")], hub=LocalHub(None))
    await cache.warm({_key(n): values[n % 1000] for n in range(ENTRIES)})
    await cache.stats()
    peer = diskcache.Cache(str(folder / "peer"), size_limit=8 << 30, eviction_policy="none")
    other = cashews.Cache()
    other.setup(f"disk://?directory={folder}/cashews")
    await other.init()
    for number in range(2000):
        await other.set(_key(number), values[number % 1000], expire=3600)

    await asyncio.sleep(2)  # both write-ahead logs are folded in, as they are after a quiet second
    samples: dict[str, list[float]] = {}
    source = random.Random(3)
    for _ in range(rounds):
        keys = [_key(source.randrange(ENTRIES)) for _ in range(GETS)]
        few = [_key(source.randrange(2000)) for _ in range(GETS // 10)]
        for name, spent in (
            ("get, raw sqlite3", _time(lambda key: _raw_get(raw, key), keys)),
            ("get, penstock store", _time(store.get, keys)),
            ("get, penstock cache", await _time_async(cache.get, keys)),
            ("get, cashews", await _time_async(other.get, few)),
        ):
            samples.setdefault(name, []).append(spent)
    for turn in range(rounds):
        for name, spent in (
            ("set, penstock store", _sustained(store, bodies, turn)),
            ("set, diskcache", _peer_sets(peer, bodies, turn)),
        ):
            samples.setdefault(name, []).append(spent)
    dropped = (await store.stats()).dropped
    await store.aclose()
    await cache.aclose()
    await other.close()
    peer.close()
    raw.close()
    return _report(samples, dropped)


def _report(samples: dict[str, list[float]], dropped: int) -> dict[str, Any]:
    get, raw = samples["get, penstock store"], samples["get, raw sqlite3"]
    whole, cashews_get = samples["get, penstock cache"], samples["get, cashews"]
    put, peer_put = samples["set, penstock store"], samples["set, diskcache"]
    return {
        "claim": CLAIM,
        "rows": [
            row(name, [seconds * 1e6 for seconds in times], "us") for name, times in samples.items()
        ],
        "ratios": {
            "get / raw sqlite3": ratio(get, raw, most=1.5),
            "cashews / whole get": ratio(cashews_get, whole, least=10),
            "diskcache / sustained set": ratio(peer_put, put, least=4),
            "writes lost": ratio([dropped], most=0),
        },
    }


def _raw(path: Path, bodies: list[bytes]) -> sqlite3.Connection:
    """The least that a cache on SQLite can be."""
    database = sqlite3.connect(path, isolation_level=None, cached_statements=64)
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "mmap_size=1073741824"):
        database.execute(f"PRAGMA {pragma}").fetchall()
    database.execute("PRAGMA cache_size=-32768")
    database.execute("CREATE TABLE entries (key TEXT PRIMARY KEY, value BLOB, expires REAL)")
    database.execute("BEGIN")
    database.executemany(
        "INSERT INTO entries VALUES (?, ?, ?)",
        ((_key(n), bodies[n % 1000], NEVER) for n in range(ENTRIES)),
    )
    database.execute("COMMIT")
    return database


def _raw_get(database: sqlite3.Connection, key: str) -> bytes | None:
    row = database.execute("SELECT value, expires FROM entries WHERE key = ?", (key,)).fetchone()
    return row[0] if row and row[1] > time.time() else None  # noqa: TID251


def _sustained(store: DiskStore, bodies: list[bytes], turn: int) -> float:
    entries = [_entry(_key(n), bodies[(n + turn + 1) % 1000]) for n in range(SETS)]
    gc.collect()
    start = time.perf_counter()
    for entry in entries:
        store.write((entry,))
    store.flush()
    return (time.perf_counter() - start) / SETS


def _peer_sets(peer: diskcache.Cache, bodies: list[bytes], turn: int) -> float:
    count = SETS // 5
    gc.collect()
    start = time.perf_counter()
    for number in range(count):
        peer.set(_key(number), bodies[(number + turn + 1) % 1000], expire=3600)
    return (time.perf_counter() - start) / count


def _time(get: Callable[[str], object], keys: list[str]) -> float:
    gc.collect()
    start = time.perf_counter()
    for key in keys:
        get(key)
    return (time.perf_counter() - start) / len(keys)


async def _time_async(get: Callable[[str], Any], keys: list[str]) -> float:
    gc.collect()
    start = time.perf_counter()
    for key in keys:
        await get(key)
    return (time.perf_counter() - start) / len(keys)


def _entry(key: str, body: bytes) -> Entry:
    times = (0.0, NEVER, NEVER, NEVER)
    return Entry(key, body, CODEC.thaw, PACKED, len(body), *times, 0, (), True, CODEC)


def _key(number: int) -> str:
    return f"moderation:{number:032x}"


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
