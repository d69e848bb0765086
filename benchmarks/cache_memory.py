"""Claim: a hit of `@cached` in memory costs at most 4 bare dict wrappers, far less than its peers.

500 texts of 500 characters, all cached, asked one after the other, as requests do. The result is a
text for the plain cases (given as it is) and a dict of 454 bytes of JSON for the isolated ones,
where a changed result must not change the next hit.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import random
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import cachebox
import cachetools
import cashews

from benchmarks.report import ratio, row
from penstock.cache import Cache, MemoryStore
from penstock.hub import LocalHub

CLAIM = "A memory hit of @cached costs a few dict look-ups"
CALLS = 10_000
WORDS = ["refund", "order", "late", "parcel", "driver", "rude", "angry", "happy", "please", "help"]

Run = Callable[[int], Awaitable[None]]


def run(rounds: int = 11) -> dict[str, Any]:
    """Time every case once per round, in turn, so that the machine's moods fall on all alike."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return asyncio.run(_run(max(7, rounds)))


async def _run(rounds: int) -> dict[str, Any]:
    texts = [_text(500, seed) for seed in range(500)]
    results = {text: make_result(number) for number, text in enumerate(texts)}
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
    hit, sync_hit = samples["async penstock"], samples["sync penstock"]
    bare, sync_bare = samples["async bare dict wrapper"], samples["sync bare dict wrapper"]
    isolated = samples["async penstock, isolated dict"]
    locked = samples["sync cachetools TTLCache + RLock"]
    return {
        "claim": CLAIM,
        "rows": [
            row(name, [seconds * 1e9 for seconds in times], "ns") for name, times in samples.items()
        ],
        "ratios": {
            "async hit / bare dict wrapper": ratio(hit, bare, most=4),
            "cashews / async hit": ratio(samples["async cashews"], hit, least=50),
            "cachebox / async hit": ratio(samples["async cachebox"], hit, least=2),
            "cashews dict / isolated hit": ratio(
                samples["async cashews, dict"], isolated, least=15
            ),
            "sync hit / bare dict wrapper": ratio(sync_hit, sync_bare, most=5),
            "cachetools TTL + RLock / sync hit": ratio(locked, sync_hit, least=3),
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


def make_result(number: int) -> dict[str, Any]:
    """A moderation result of 454 bytes of JSON."""
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
