"""Claim: a request limit over all servers costs a request no round trip, and the shared clock of
the caches no more than the local one.

Two servers (hubs with connections of their own) share one redis-server. A large limit, 6,000 a
second, is asked 20,000 times by 64 concurrent requests; a small one, 5 a second, for 200 keys. The
floor is the same question to the hub in the data folder, which locks a file; the naive form is one
round trip each.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.report import ratio, row
from benchmarks.rigs.servers import RedisServer
from penstock.hub import Hub, LocalHub
from penstock.hub.hub import Grant
from penstock.hub.redis import RedisHub

CLAIM = "A limit over all servers costs a request no round trip"
REQUESTS = 20_000
AT_ONCE = 64
LARGE = {"limit": 360_000, "window": 60.0}
SMALL = {"limit": 300, "window": 60.0}
KEYS = 200
READS = 200_000


def run(rounds: int = 9) -> dict[str, Any]:
    """Measure both hubs in turn."""
    with RedisServer() as server, TemporaryDirectory() as folder:
        return asyncio.run(_run(server.url, Path(folder), max(5, rounds)))


async def _run(url: str, folder: Path, rounds: int) -> dict[str, Any]:
    local = LocalHub(folder)
    hubs = [RedisHub(url), RedisHub(url)]
    for hub in hubs:
        await hub.start()
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    for number in range(rounds):
        note("take, data folder", await _take(local, f"large{number}"))
        trips = _trips(hubs)
        note("take, two servers on Redis", await _take(hubs[number % 2], f"large{number}"))
        note("trips per 1,000, large", (_trips(hubs) - trips) * 1000 / REQUESTS)
        note("one round trip each", await _naive(hubs[0]))
        trips = _trips(hubs)
        await asyncio.gather(*(_small(hub, number) for hub in hubs))
        note("trips per 1,000, small", (_trips(hubs) - trips) * 1000 / (2 * KEYS))
        for hub, name in ((local, "data folder"), (hubs[0], "Redis")):
            note(f"hit's look at the clock, {name}", _look(hub))
    for hub in (*hubs, local):
        await hub.aclose()
    return _report(found)


def _report(found: dict[str, list[float]]) -> dict[str, Any]:
    shared, alone = found["take, two servers on Redis"], found["take, data folder"]
    redis_look, look = (
        found["hit's look at the clock, Redis"],
        found["hit's look at the clock, data folder"],
    )
    return {
        "claim": CLAIM,
        "rows": [
            row(name, values, "trips" if name.startswith("trips") else "us")
            for name, values in found.items()
        ],
        "ratios": {
            "take on Redis / take in the data folder": ratio(shared, alone, most=2),
            "one round trip each / take on Redis": ratio(
                found["one round trip each"], shared, least=10
            ),
            "round trips per 1,000 requests, large limit": ratio(
                found["trips per 1,000, large"], most=10
            ),
            "look at the clock, Redis / data folder": ratio(redis_look, look, most=1.2),
        },
    }


def _trips(hubs: list[RedisHub]) -> int:
    return sum(hub.round_trips for hub in hubs)


async def _take(hub: Hub, name: str) -> float:
    """Microseconds of one `take` among 64 requests at once, each of which yields to the others."""
    spent = 0.0

    async def requests() -> None:
        nonlocal spent
        for _ in range(REQUESTS // AT_ONCE):
            began = time.perf_counter()
            grant = hub.take(name, at=time.monotonic(), **LARGE)
            spent += time.perf_counter() - began
            if not isinstance(grant, Grant):
                await grant
            await asyncio.sleep(0)

    await asyncio.gather(*(requests() for _ in range(AT_ONCE)))
    return spent / REQUESTS * 1e6


async def _naive(hub: RedisHub) -> float:
    """Microseconds of a request that asks Redis itself."""
    began = time.perf_counter()
    for _ in range(300):
        await hub.read("nothing")
    return (time.perf_counter() - began) / 300 * 1e6


async def _small(hub: RedisHub, number: int) -> None:
    """Each key asks once, 64 at a time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(key: int) -> None:
        async with places:
            grant = hub.take(f"small{number}:{key}", at=time.monotonic(), **SMALL)
            if not isinstance(grant, Grant):
                await grant

    await asyncio.gather(*(one(key) for key in range(KEYS)))


def _look(hub: Hub) -> float:
    """Microseconds of what a cache hit asks: has the head moved, what time is it, this name's."""
    heads, sequence, generation = hub.heads, hub.sequence, hub.generation
    began = time.perf_counter()
    for _ in range(READS):
        heads[0]
        sequence()
        generation("penstock:n/answers")
    return (time.perf_counter() - began) / READS * 1e6
