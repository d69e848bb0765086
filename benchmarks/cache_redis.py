"""Claim: the Redis tier costs what Redis costs, and computes once for all servers.

    a hit            `cache.get` through the tier against one raw GET of redis-py
    a hundred        `cache.get_many` against one raw MGET, as it comes and with its values decoded,
                     and how many commands Redis saw
    two processes    100 callers each of one cold key: calls, and time over the function's own
    silence          what a frozen Redis costs a caller, first and once the tier is left alone

Everything goes over loopback to a server of the benchmark's own. `python -m benchmarks.cache_redis
WORK URL KEY` is one of the two processes.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.report import Report, ratio, row
from benchmarks.rigs.servers import RedisServer
from benchmarks.rigs.slow_proxy import SlowProxy
from penstock.cache import Cache, open_store
from penstock.hub import LocalHub, open_hub
from penstock.net.redis import connect

CLAIM = "a hit in Redis costs one GET, and two servers compute a key once"
CALLS = 300
MANY = 100
CALLERS = 100
WORK_SECONDS = 0.2
SILENT_CALLS = 50
VALUE = {"id": "mod_1", "decision": "review", "scores": {f"category{n}": n / 13 for n in range(12)}}
BIG_TIME_OUT = "?timeout=5s"  # where silence is not measured, a busy machine is no fault

Call = Callable[[], Awaitable[object]]


def run(rounds: int = 9) -> Report:
    """Measure; the sides of each ratio take turns within a round."""
    with RedisServer() as redis:
        url, port = redis.url, redis.port
        hits = asyncio.run(_hits(url, rounds))
        commands = asyncio.run(_commands(url))
        flights = [_two_processes(url, f"k{number}") for number in range(max(3, rounds // 3))]
        silence = [asyncio.run(_silence(port)) for _ in range(max(3, rounds // 3))]
    once = [flight["took"] / WORK_SECONDS for flight in flights]
    return {
        "claim": CLAIM,
        "rows": [
            *(row(name, [s * 1e6 for s in times], "us") for name, times in hits.items()),
            row("two processes x 100 callers, last answer", once, "x the function"),
            row("silent Redis, first call", [first * 1e3 for first, _ in silence], "ms"),
            row("silent Redis, later calls", [later * 1e3 for _, later in silence], "ms"),
        ],
        "ratios": {
            "hit / raw GET": ratio(hits["hit"], hits["raw GET"], most=1.15),
            "get_many of 100 / raw MGET": ratio(hits["get_many"], hits["raw MGET"], most=2),
            "get_many of 100 / raw MGET, decoded": ratio(
                hits["get_many"], hits["raw MGET, decoded"], most=2
            ),
            "64 hits at once / 64 raw GETs at once": ratio(hits["hits x64"], hits["GETs x64"]),
            "commands for get_many of 100": ratio([commands], most=1),
            "calls of two processes": ratio([flight["calls"] for flight in flights], most=1),
            "two processes / the function": ratio(once, most=1.2),
            "silent Redis, first call, ms": ratio([s[0] * 1e3 for s in silence], most=110),
            "silent Redis, later calls, ms": ratio([s[1] * 1e3 for s in silence], most=1),
        },
    }


async def _hits(url: str, rounds: int) -> dict[str, list[float]]:
    cache = Cache([open_store(url + BIG_TIME_OUT)], hub=LocalHub(None))
    client = connect(url, timeout=5.0)
    keys = [f"k{number}" for number in range(MANY)]
    await cache.warm(dict.fromkeys(keys, VALUE))
    names = [f"cache:penstock:{key}" for key in keys]
    packed = [f"packed:{key}" for key in keys]
    await client.mset(dict.fromkeys(packed, msgspec.msgpack.encode(VALUE)))

    async def decoded() -> list[object]:
        values: list[Any] = await client.mget(packed)
        return [msgspec.msgpack.decode(value) for value in values]

    sides: dict[str, Call] = {
        "raw GET": lambda: client.get(names[0]),
        "hit": lambda: cache.get("k0"),
        "raw MGET": lambda: client.mget(names),
        "raw MGET, decoded": decoded,
        "get_many": lambda: cache.get_many(keys),
        "GETs x64": lambda: asyncio.gather(*(client.get(name) for name in names[:64])),
        "hits x64": lambda: asyncio.gather(*(cache.get(key) for key in keys[:64])),
    }
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, call in sides.items():
            seconds = await _time(call, CALLS if "x64" not in name else CALLS // 10)
            if number:  # the first round warms up
                taken[name].append(seconds)
    await cache.aclose()
    await client.aclose()
    return taken


async def _time(call: Call, calls: int) -> float:
    """The median, because one call that the machine interrupts is as long as twenty."""
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


async def _commands(url: str) -> int:
    """How many commands one `get_many` of 100 is, by what the server says of itself."""
    cache = Cache([open_store(url)], hub=LocalHub(None))
    client = connect(url)
    keys = [f"k{number}" for number in range(MANY)]
    await cache.get_many(keys)
    before = int((await client.info("stats"))["total_commands_processed"])
    await cache.get_many(keys)
    after = int((await client.info("stats"))["total_commands_processed"])
    await cache.aclose()
    await client.aclose()
    return after - before - 1  # the question itself


def _two_processes(url: str, key: str) -> dict[str, float]:
    """Have two processes ask at the same moment; how often the function ran, how long it took."""
    command = [sys.executable, "-m", "benchmarks.cache_redis", url, key]
    parts = [
        subprocess.Popen(
            command,
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for part in parts:
        assert part.stdout is not None
        assert part.stdout.readline().strip() == "ready"
    for part in parts:
        assert part.stdin is not None
        part.stdin.write("go\n")
        part.stdin.flush()
    told = [json.loads(part.communicate(timeout=60)[0]) for part in parts]
    return {
        "calls": sum(one["calls"] for one in told),
        "took": max(one["took"] for one in told),
    }


async def _one_process(url: str, key: str) -> None:
    hub = await open_hub(url, None)
    cache = Cache([open_store("memory://"), open_store(url + BIG_TIME_OUT)], hub=hub)
    calls = 0

    async def compute() -> object:
        nonlocal calls
        calls += 1
        await asyncio.sleep(WORK_SECONDS)
        return VALUE

    # A server that has been running: its connections are there.
    await asyncio.gather(*(cache.fetch(f"{key}:{os.getpid()}:{n}", compute) for n in range(8)))
    calls = 0
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    start = time.perf_counter()
    await asyncio.gather(*(cache.fetch(key, compute) for _ in range(CALLERS)))
    print(json.dumps({"calls": calls, "took": time.perf_counter() - start}))
    await cache.aclose()
    await hub.aclose()


async def _silence(port: int) -> tuple[float, float]:
    """Seconds that a miss takes when Redis falls silent: the first, and once it is left alone."""
    with SlowProxy(port) as proxy:
        cache = Cache([open_store(f"{proxy.url}/0")], hub=LocalHub(None))
        await cache.get("connects")
        proxy.freeze()
        taken = []
        for number in range(SILENT_CALLS):
            start = time.perf_counter()
            await cache.get(f"k{number}")
            taken.append(time.perf_counter() - start)
        proxy.thaw()
        await cache.aclose()
    return taken[0], statistics.median(taken[5:])


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(_one_process(*sys.argv[1:]))
    else:
        print(json.dumps(run(), indent=1))
