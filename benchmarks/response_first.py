"""Bookkeeping on a slow line: one after the other as FilterX did it, and ours.

Redis answers every round trip after 100 ms. The baseline is FilterX's code before its phase 2: six
round trips per request (statistics and a look whether they arrived, two counters and a pipeline of
the upstream, the cached answer), begun after the answer, each awaited before the next. Ours counts,
and a window later writes statistics and the cached answer side by side. Background time is from the
last byte to the moment when all of it is in Redis, our window included. Response time is that of
the whole call beside the same core alone.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.report import Report, ratio, row
from benchmarks.rigs.servers import RedisServer
from benchmarks.rigs.slow_proxy import SlowProxy

CLAIM = "On a Redis 100 ms away, 70 % less background time, and answers take as long as their core"
ROUND_TRIP = 0.1
CORE = 0.1  # seconds of work per request
USER = "user-1"
KEY, ANSWER = "cache:answer", b'{"blocked": true, "flags": ["abusive_language"]}'


def run(rounds: int = 9) -> Report:
    """Measure; milliseconds."""
    return asyncio.run(_run(rounds))


async def _run(rounds: int) -> Report:
    from redis.asyncio import Redis

    background: dict[str, list[float]] = {"sequential": [], "penstock": []}
    response: dict[str, list[float]] = {"core": [], "penstock": []}
    with RedisServer() as server, SlowProxy(server.port, round_trip=ROUND_TRIP) as line:
        client: Any = Redis.from_url(line.url, protocol=3, socket_timeout=5)
        ours = await _Ours.open(line.url, client)
        await client.ping()
        await ours.settle()
        for _ in range(rounds):
            response["core"].append(await _timed(_core))
            response["penstock"].append(await _timed(ours.answer))
            background["penstock"].append(await _timed(ours.settle))
            await _core()
            background["sequential"].append(await _timed(lambda: _sequential(client)))
        await ours.close()
        await client.aclose()
    added = [ours - core for ours, core in zip(response["penstock"], response["core"], strict=True)]
    return {
        "claim": CLAIM,
        "rows": [
            *(row(f"background, {name}", times, "ms") for name, times in background.items()),
            *(row(f"response, {name}", times, "ms") for name, times in response.items()),
        ],
        "ratios": {
            "background / sequential": ratio(
                background["penstock"], background["sequential"], most=0.30
            ),
            "response beyond its core (ms)": ratio(added, most=5.0),
            "response / core": ratio(response["penstock"], response["core"], most=1.05),
        },
    }


async def _core() -> None:
    await asyncio.sleep(CORE)


async def _sequential(client: Any) -> None:
    """`trackFilterRequest`, `trackApiResponseTime` and `setCachedResponse`, in their order."""
    filtered = client.pipeline(transaction=False)
    filtered.incr("stats:requests:total").incr(f"stats:requests:user:{USER}")
    filtered.incr("stats:requests:blocked").incr("stats:flags:abusive_language")
    filtered.lpush("stats:latency:all", "120").ltrim("stats:latency:all", 0, 499)
    await filtered.execute()
    await client.get("stats:requests:total")
    await client.incrby("ai:api:total_time", 120)
    await client.incr("ai:api:call_count")
    called = client.pipeline(transaction=False)
    called.hincrby("api:stats:text", "calls", 1).hincrby("api:stats:text", "total_time", 120)
    await called.execute()
    await client.set(KEY, ANSWER, ex=3600)


class _Ours:
    """Core, then what the server does after it."""

    def __init__(self, hub: Any, client: Any) -> None:
        from penstock.clock import SystemClock
        from penstock.observe.effects import EffectQueue, Effects
        from penstock.usage import HubCounters, Statistics

        clock = SystemClock()
        self._hub = hub
        self._client = client
        self._effects = Effects(clock=clock)
        self._statistics = Statistics(HubCounters(hub), clock=clock, effects=self._effects)
        self._cached: EffectQueue[tuple[str, bytes]] = self._effects.queue("cache", self._write)
        self._empty = asyncio.Event()
        self._keeping = asyncio.ensure_future(self._effects.keep())

    @classmethod
    async def open(cls, url: str, client: Any) -> _Ours:
        from penstock.hub.factory import open_hub

        ours = cls(await open_hub(f"{url}/0", None), client)
        await ours.answer()
        return ours

    async def answer(self) -> None:
        await _core()
        self._statistics.answered(
            "filterx",
            user=USER,
            decision="rejected",
            flagged=["abusive_language"],
            seconds=0.12,
        )
        self._statistics.called("text", 0.12, failed=False)
        self._cached.put((KEY, ANSWER))

    async def settle(self) -> None:
        """Until Redis has all of it."""
        while self._statistics.waiting or self._cached_waiting:  # noqa: ASYNC110 - a benchmark
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        await self._hub.aclose()

    @property
    def _cached_waiting(self) -> bool:
        return bool(len(self._cached)) or self._writing

    _writing = False

    async def _write(self, items: list[tuple[str, bytes]]) -> None:
        self._writing = True
        try:
            pipeline = self._client.pipeline(transaction=False)
            for key, value in items:
                pipeline.set(key, value, ex=3600)
            await pipeline.execute()
        finally:
            self._writing = False


async def _timed(call: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await call()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 9), indent=2))
