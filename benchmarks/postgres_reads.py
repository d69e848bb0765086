"""Claim: reads by key through the pool are at least 10 times as fast as connecting for each.

A table of 10,000 rows on a PostgreSQL of our own. A read is `PostgresDatabase.row` with everything
that belongs to it: translation, pool, time limit, tuple. Beside it the least there is, asyncpg on
one connection, and asyncpg's own pool. At 32 callers at once figures are of the whole, per read.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.report import ratio, row
from benchmarks.rigs.servers import PostgresServer
from penstock.db import open_database

CLAIM = "Pooled reads by key are >= 10 times as fast as a connection for each, by one caller"
ROWS = 10_000
READS = 2_000
CONNECTS = 60
CALLERS = 32
OURS = "SELECT id, name, value FROM items WHERE id = ?"
THEIRS = "SELECT id, name, value FROM items WHERE id = $1"

Read = Callable[[int], Awaitable[object]]


def run(rounds: int = 9) -> dict[str, Any]:
    """Every case once per round, in turn."""
    with PostgresServer() as server:
        return asyncio.run(_run(server.database(), max(5, rounds)))


async def _run(url: str, rounds: int) -> dict[str, Any]:
    database = open_database(url, folder=Path())
    await database.write("CREATE TABLE items (id BIGINT PRIMARY KEY, name TEXT, value FLOAT)")
    await database.bulk(
        "items", ("id", "name", "value"), [(n, f"item {n}", n / 7) for n in range(ROWS)]
    )
    await database.write("ANALYZE items")
    alone = await asyncpg.connect(url)
    pool = await asyncpg.create_pool(url, min_size=10, max_size=30)

    async def connecting(key: int) -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchrow(THEIRS, key)
        finally:
            await connection.close()

    cases: dict[str, tuple[Read, int, int]] = {
        "pooled, 1 caller": (lambda key: database.row(OURS, (key,)), 1, READS),
        "one connection, raw asyncpg, 1 caller": (
            lambda key: alone.fetchrow(THEIRS, key),
            1,
            READS,
        ),
        "asyncpg's pool, 1 caller": (lambda key: pool.fetchrow(THEIRS, key), 1, READS),
        "a connection for each, 1 caller": (connecting, 1, CONNECTS),
        "pooled, 32 callers": (lambda key: database.row(OURS, (key,)), CALLERS, READS),
        "asyncpg's pool, 32 callers": (lambda key: pool.fetchrow(THEIRS, key), CALLERS, READS),
        "a connection for each, 32 callers": (connecting, CALLERS, CONNECTS * 4),
    }
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, (read, callers, reads) in cases.items():
            spent = await _time(read, callers, reads)
            if turn:  # the first one warms up
                samples[name].append(spent)
    await alone.close()
    await pool.close()
    await database.aclose()
    return _report(samples)


def _report(samples: dict[str, list[float]]) -> dict[str, Any]:
    pooled, crowd = samples["pooled, 1 caller"], samples["pooled, 32 callers"]
    return {
        "claim": CLAIM,
        "rows": [row(name, [one * 1e6 for one in times], "us") for name, times in samples.items()],
        "ratios": {
            "a connection for each / pooled, 1 caller": ratio(
                samples["a connection for each, 1 caller"], pooled, least=10
            ),
            "a connection for each / pooled, 32 callers": ratio(
                samples["a connection for each, 32 callers"], crowd, least=2
            ),
            "pooled / raw asyncpg, 1 caller": ratio(
                pooled, samples["one connection, raw asyncpg, 1 caller"], most=2
            ),
            "pooled / asyncpg's pool, 32 callers": ratio(
                crowd, samples["asyncpg's pool, 32 callers"], most=1
            ),
        },
    }


async def _time(read: Read, callers: int, reads: int) -> float:
    """Seconds per read, with that many at once."""
    keys = [random.randrange(ROWS) for _ in range(reads)]

    async def work() -> None:
        while keys:
            await read(keys.pop())

    gc.collect()
    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(callers)))
    return (time.perf_counter() - start) / reads


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
