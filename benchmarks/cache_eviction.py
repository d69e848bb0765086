"""Claim: the memory tier keeps what is asked for again, at least 1.15 times as well as LRU.

Six traces of 300,000 requests over 50,000 keys: Zipf with exponent 0.8 or 1.0, with or without 30 %
texts that nobody sends twice, and room for 1 % or 5 % of the keys. Counts, no timing: the same on
every machine. The subject is our `MemoryStore` itself, bounded in bytes, with entries of one size.
"""

from __future__ import annotations

import json
import random
from bisect import bisect
from collections import OrderedDict
from itertools import accumulate
from typing import Any

from benchmarks.report import ratio, row
from penstock.cache import MemoryStore
from penstock.cache.entry import KEPT, Entry

CLAIM = "Hit ratio of the memory tier against LRU"
KEYS = 50_000
REQUESTS = 300_000
SETTINGS = ((0.8, 0.0), (0.8, 0.3), (1.0, 0.3))
SHARES = (0.01, 0.05)
NEVER = 1e12


def run(rounds: int = 1) -> dict[str, Any]:
    """Replay every trace once; there is nothing to repeat."""
    rows, ratios = [], {}
    for exponent, wonders in SETTINGS:
        trace = _trace(exponent, wonders)
        for share in SHARES:
            room = int(KEYS * share)
            ours, lru = _ours(trace, room), _lru(trace, room)
            name = f"zipf {exponent:g}, {wonders:.0%} asked once, room for {share:.0%}"
            rows += [row(f"{name}, penstock", [ours], ""), row(f"{name}, LRU", [lru], "")]
            ratios[name] = ratio([ours], [lru], least=1.15)
    return {"claim": CLAIM, "rows": rows, "ratios": ratios}


def _trace(exponent: float, wonders: float) -> list[str]:
    source = random.Random(11)
    weights = list(accumulate(1 / (rank + 1) ** exponent for rank in range(KEYS)))
    total = weights[-1]
    return [
        f"o{number:06}"
        if source.random() < wonders
        else f"k{bisect(weights, source.random() * total):06}"
        for number in range(REQUESTS)
    ]


def _ours(trace: list[str], room: int) -> float:
    store = MemoryStore(room * _weight())
    hits = 0
    for key in trace:
        if store.read((key,)):
            hits += 1
        else:
            store.put(_entry(key))
    return hits / len(trace)


def _lru(trace: list[str], room: int) -> float:
    known: OrderedDict[str, None] = OrderedDict()
    hits = 0
    for key in trace:
        if key in known:
            known.move_to_end(key)
            hits += 1
            continue
        known[key] = None
        if len(known) > room:
            known.popitem(last=False)
    return hits / len(trace)


def _weight() -> int:
    store = MemoryStore()
    store.put(_entry("k000000"))
    return store.entries["k000000"].weight


def _entry(key: str) -> Entry:
    return Entry(key, "verdict", None, KEPT, 500, 0.0, NEVER, NEVER, NEVER, 0, ())


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
