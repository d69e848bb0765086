"""Zipf replay (F-64, F-66): 10,000 draws from 2,000 texts, exponent 1.0, fixed seed.

Through the whole service with a provider that counts its calls, and through the memory tier alone
with room for 5 % of the texts, beside an LRU of as many.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from bisect import bisect
from collections import OrderedDict
from itertools import accumulate
from pathlib import Path

from benchmarks.report import Report, ratio, row
from benchmarks.rigs.upstream import Upstream
from penstock.cache import MemoryStore
from penstock.cache.entry import OVERHEAD, Entry
from penstock.runtime import open_runtime
from penstock.settings import Settings

CLAIM = "Zipf replay: >= 0.98 of the possible hits, <= 1.02 upstream calls per distinct text"
DRAWS, TEXTS = 10_000, 2_000
AT_ONCE = 64
ROOM = TEXTS // 20


def run(rounds: int = 7) -> Report:
    """Replay once per round, each with a trace of its own."""
    possible, share, calls, bounded = [], [], [], []
    for number in range(rounds):
        trace = _trace(number)
        distinct = len(set(trace))
        best = 1 - distinct / DRAWS
        hits, asked = asyncio.run(_replay(trace, number))
        possible.append(best)
        share.append(hits / DRAWS / best)
        calls.append(asked / distinct)
        bounded.append(_hits_of_ours(trace) / _hits_of_lru(trace))
    return {
        "claim": CLAIM,
        "rows": [
            row("hit rate that is possible", possible, "of draws"),
            row("share of it reached", share, "of possible"),
            row("upstream calls per distinct text", calls, "calls"),
            row("memory of 5 % of the texts: hits / LRU hits", bounded, "x"),
        ],
        "ratios": {
            "hits / possible hits": ratio(share, least=0.98),
            "upstream calls / distinct texts": ratio(calls, most=1.02),
            "hits with 5 % of the room / LRU": ratio(bounded, least=1.15),
        },
    }


def _trace(seed: int) -> list[int]:
    pick = random.Random(seed)
    weights = list(accumulate(1 / rank for rank in range(1, TEXTS + 1)))
    return [bisect(weights, pick.random() * weights[-1]) for _ in range(DRAWS)]


async def _replay(trace: list[int], number: int) -> tuple[int, int]:
    with Upstream(latency=(0.0, 0.0)) as upstream, tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), provider=(f"{upstream.url}?api=moderations",))
        async with open_runtime(settings) as runtime:
            gate = asyncio.Semaphore(AT_ONCE)

            async def one(text: int) -> str:
                async with gate:
                    said = f"Message {number}-{text}: is the parcel on its way?"
                    verdict = await runtime.moderation.moderate(said, owner="bench")
                    return verdict.receipt.source

            sources = await asyncio.gather(*map(one, trace))
        return sum(source != "provider" for source in sources), upstream.calls


def _hits_of_ours(trace: list[int]) -> int:
    sample = _entry("k0000")
    store = MemoryStore(max_bytes=ROOM * (sample.size + OVERHEAD + sys.getsizeof(sample.key)))
    hits = 0
    for text in trace:
        key = f"k{text:04}"
        entry = store.get(key)
        if entry is None:
            store.put(_entry(key))
        else:
            entry.hits += 1
            hits += 1
    return hits


def _entry(key: str) -> Entry:
    now = time.time()  # noqa: TID251 - entries of a store that lives on the machine's clock
    return Entry(
        key=key, value="x", thaw=None, kind=0, size=600, created=now, fresh_until=now + 3600,
        stale_until=now + 3600, expires=now + 3600, sequence=0, tags=(),
    )  # fmt: skip


def _hits_of_lru(trace: list[int]) -> int:
    kept: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for text in trace:
        if text in kept:
            kept.move_to_end(text)
            hits += 1
            continue
        kept[text] = None
        if len(kept) > ROOM:
            kept.popitem(last=False)
    return hits


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 7), indent=2))
