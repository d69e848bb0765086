"""Claim: a hit of `@cached` in memory costs at most 4 bare dict wrappers, and far less than its peers.

500 texts of 500 characters, all cached; one call after the other, as a request does. The result is a
frozen text for the plain cases ("the value as it is") and a dict of 454 bytes of JSON for the isolated
ones, where a changed result must not change the next hit.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import random
import statistics
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import cachebox
import cachetools
import cashews

from penstock.cache import Cache, MemoryStore
from penstock.hub import LocalHub

CLAIM = "A memory hit of @cached costs a few dict look-ups"
CALLS = 10_000
WORDS = "refund order late parcel driver rude angry happy support agent please help broken".split()

Run = Callable[[int], Awaitable[None]]


def run(rounds: int = 11) -> dict[str, Any]:
    """Time every case once per round, in turn, so that the machine's moods fall on all alike."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return asyncio.run(_run(max(7, rounds)))


async def _run(rounds: int) -> dict[str, Any]:
    texts = [_text(500, seed) for seed in range(500)]
    results = {text: _result(number) for number, text in enumerate(texts)}
    cases = await _async_cases(texts, results)
    sync_cases = _sync_cases(texts, results)
    samples: dict[str, list[float]] = {name: [] for name in (*cases, *sync_cases)}
    for _ in range(rounds):
        for name, (call, calls) in cases.items():
            samples[name].append(await _time_async(call, texts, calls))
        for name, call in sync_cases.items():
            samples[name].append(_time_sync(call, texts, CALLS))
    return _report(samples)


async def _async_cases(
    texts: list[str], results: dict[str, dict[str, Any]]
) -> dict[str, tuple[Any, int]]:
    async def verdict(text: str) -> str:
        return results[text]["decision"]

    async def result(text: str) -> dict[str, Any]:
        return results[text]

    def ours() -> Cache:
        return Cache([MemoryStore()], hub=LocalHub(None))

    peers = cashews.Cache()
    peers.setup("mem://?size=10000&check_interval=10")
    cases: dict[str, tuple[Any, int]] = {
        "async bare dict wrapper": (_bare_async(verdict), CALLS),
        "async penstock": (ours().cached(ttl=3600)(verdict), CALLS),
        "async penstock, isolated dict": (ours().cached(ttl=3600)(result), CALLS),
        "async cachebox": (cachebox.cached(cachebox.TTLCache(1000, 3600))(verdict), CALLS),
        "async cashews": (peers(ttl="1h")(verdict), CALLS // 10),
        "async cashews, dict": (peers(ttl="1h", prefix="dict")(result), CALLS // 10),
    }
    for call, _ in cases.values():
        for text in texts:
            await call(text)
    return cases


def _sync_cases(texts: list[str], results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    def verdict(text: str) -> str:
        return results[text]["decision"]

    cache = Cache([MemoryStore()], hub=LocalHub(None))
    locked = cachetools.cached(cachetools.TTLCache(1000, 3600), lock=threading.RLock())
    cases: dict[str, Any] = {
        "sync bare dict wrapper": _bare_sync(verdict),
        "sync penstock": cache.cached(ttl=3600)(verdict),
        "sync functools.lru_cache (no expiry)": functools.lru_cache(1000)(verdict),
        "sync cachetools TTLCache + RLock": locked(verdict),
    }
    for call in cases.values():
        for text in texts:
            call(text)
    return cases


def _report(samples: dict[str, list[float]]) -> dict[str, Any]:
    def over(top: str, bottom: str, *, most: float = 0, least: float = 0) -> dict[str, Any]:
        ratios = [a / b for a, b in zip(samples[top], samples[bottom], strict=True)]
        middle = statistics.median(ratios)
        target = f"<= {most:g}" if most else f">= {least:g}"
        ok = middle <= most if most else middle >= least
        return {
            "median": middle,
            "min": min(ratios),
            "max": max(ratios),
            "target": target,
            "ok": ok,
        }

    rows = [
        {"case": name, "nanoseconds": statistics.median(times) * 1e9}
        for name, times in samples.items()
    ]
    isolated = "async penstock, isolated dict"
    return {
        "claim": CLAIM,
        "rows": rows,
        "ratios": {
            "async hit / bare dict wrapper": over(
                "async penstock", "async bare dict wrapper", most=4
            ),
            "cashews / async hit": over("async cashews", "async penstock", least=50),
            "cachebox / async hit": over("async cachebox", "async penstock", least=2),
            "cashews dict / isolated hit": over("async cashews, dict", isolated, least=15),
            "sync hit / bare dict wrapper": over("sync penstock", "sync bare dict wrapper", most=5),
            "cachetools TTL + RLock / sync hit": over(
                "sync cachetools TTLCache + RLock", "sync penstock", least=3
            ),
        },
    }


async def _time_async(call: Any, texts: list[str], calls: int) -> float:
    count = len(texts)
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for number in range(calls):
        await call(texts[number % count])
    spent = time.perf_counter() - start
    gc.enable()
    return spent / calls


def _time_sync(call: Any, texts: list[str], calls: int) -> float:
    count = len(texts)
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for number in range(calls):
        call(texts[number % count])
    spent = time.perf_counter() - start
    gc.enable()
    return spent / calls


def _bare_async(function: Any) -> Any:
    known: dict[str, Any] = {}

    @functools.wraps(function)
    async def call(text: str) -> Any:
        try:
            return known[text]
        except KeyError:
            result = known[text] = await function(text)
            return result

    return call


def _bare_sync(function: Any) -> Any:
    known: dict[str, Any] = {}

    @functools.wraps(function)
    def call(text: str) -> Any:
        try:
            return known[text]
        except KeyError:
            result = known[text] = function(text)
            return result

    return call


def _text(length: int, seed: int) -> str:
    source = random.Random(seed)
    words = " ".join(source.choice(WORDS) for _ in range(length // 3))
    return words[:length]


def _result(number: int) -> dict[str, Any]:
    return {
        "id": f"mod_{number:08d}",
        "decision": "review" if number % 3 else "approve",
        "confidence": 0.8731 + number % 100 / 1000,
        "categories": {
            "hate": 0.013,
            "harassment": 0.42 + number % 7 / 100,
            "self_harm": 0.0004,
            "sexual": 0.0211,
            "violence": 0.087,
            "spam": 0.61,
            "pii": 0.002,
        },
        "reasons": ["matched lexicon: harassment.mild", "model score above review threshold"],
        "language": "en",
        "model": "text-moderation-small-q8",
        "policy": {"id": "default", "version": 14},
        "latency_ms": 184.2,
        "flagged_spans": [[12, 27], [90, 104]],
        "created_at": 1733000000.25 + number,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
