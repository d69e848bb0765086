"""Claim: upkeep of 100,000 keys never holds up the event loop for more than 2 ms.

A coroutine asks in every turn of the loop how long it was kept waiting, while the cache sweeps
expired keys, clears by pattern, scans and counts. Held to the limit is the processor time of this
thread between two turns, so that other programs on the machine do not count as our stall; the wall
time is printed beside it. cashews' sweep of as many keys is measured the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import cashews

from benchmarks.report import ratio, row
from penstock.cache import Cache, MemoryStore
from penstock.clock import ManualClock
from penstock.hub import LocalHub

CLAIM = "Upkeep of 100,000 keys never stalls the loop for 2 ms"
KEYS = 100_000


def run(rounds: int = 7) -> dict[str, Any]:
    """The longest stall of each kind of upkeep, per round."""
    return asyncio.run(_run(max(7, rounds)))


async def _run(rounds: int) -> dict[str, Any]:
    stalls: dict[str, list[float]] = {}
    walls: dict[str, list[float]] = {}
    for _ in range(rounds):
        clock = ManualClock()
        cache = Cache([MemoryStore(1 << 30, clock=clock)], hub=LocalHub(None), clock=clock)
        await cache.warm({f"half:{number % 2}:{number}": number for number in range(KEYS)}, ttl=60)
        for name, work in (
            ("sweep with nothing expired", cache.sweep),
            ("statistics", cache.stats),
            ("scan by pattern", lambda c=cache: c.scan("nothing*")),
            ("clear half by pattern", lambda c=cache: c.clear(pattern="half:1:*")),
            ("sweep with the rest expired", lambda c=cache, t=clock: _expire(c, t)),
        ):
            stall, wall = await _longest(work)
            stalls.setdefault(name, []).append(stall)
            walls.setdefault(name, []).append(wall)
        await cache.aclose()
    rows = [row(name, found, "ms") for name, found in stalls.items()]
    rows += [row(f"{name}, wall time", found, "ms") for name, found in walls.items()]
    rows.append(row("cashews, sweep", [await _cashews()], "ms"))
    ratios = {
        f"longest stall in ms: {name}": ratio(found, most=2) for name, found in stalls.items()
    }
    return {"claim": CLAIM, "rows": rows, "ratios": ratios}


async def _expire(cache: Cache, clock: ManualClock) -> None:
    clock.advance(61)
    await cache.sweep()


async def _longest(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """The longest time between two turns of the loop while `work` runs, in milliseconds."""
    worst = wall_worst = 0.0

    async def watch() -> None:
        nonlocal worst, wall_worst
        while True:
            start, wall = time.thread_time(), time.perf_counter()
            await asyncio.sleep(0)
            worst = max(worst, time.thread_time() - start)
            wall_worst = max(wall_worst, time.perf_counter() - wall)

    gc.collect()
    watcher = asyncio.ensure_future(watch())
    await asyncio.sleep(0)
    await work()
    await asyncio.sleep(0)
    watcher.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watcher
    return worst * 1e3, wall_worst * 1e3


async def _cashews() -> float:
    peer = cashews.Cache()
    peer.setup(f"mem://?size={KEYS * 2}&check_interval=1")
    for number in range(KEYS):
        await peer.set(f"k{number}", number, expire=3600)
    worst, _ = await _longest(lambda: asyncio.sleep(2.5))
    await peer.close()
    return worst


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
