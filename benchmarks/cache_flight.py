"""Claim: 200 callers of one cold key make one call, whoever of them goes away, whatever it raises.

Counts, no timing. cashews is asked the same, as the best of the peers.
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import cashews

from benchmarks.report import ratio, row
from penstock.cache import Cache, MemoryStore
from penstock.hub import LocalHub

CLAIM = "200 concurrent callers of one cold key make one call"
CALLERS = 200
Decorator = Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]


class Work:
    """A slow function that counts its calls."""

    def __init__(self, *, fails: bool = False) -> None:
        self.calls = 0
        self.fails = fails

    async def __call__(self, text: str) -> dict[str, str]:
        self.calls += 1
        await asyncio.sleep(0.2)
        if self.fails:
            raise RuntimeError("upstream 503")
        return {"text": text}


def run(rounds: int = 1) -> dict[str, Any]:
    """Count once; more rounds count the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return asyncio.run(_run())


async def _run() -> dict[str, Any]:
    cache = Cache([MemoryStore()], hub=LocalHub(None))
    ours = await _count(lambda function: cache.cached(ttl=60)(function))
    peer = cashews.Cache()
    peer.setup("mem://")
    theirs = await _count(lambda function: peer(ttl="1m")(function))
    await cache.aclose()
    await peer.close()
    ratios = {
        "calls for 200 callers": ratio([ours["calls"]], most=1),
        "served after the first was cancelled": ratio([ours["served"]], least=CALLERS - 1),
        "calls when the first was cancelled": ratio([ours["calls_cancelled"]], most=1),
        "calls of a failing function": ratio([ours["calls_failing"]], most=1),
    }
    rows = [
        row(f"{who}: {what}", [count], "")
        for who, counts in (("penstock", ours), ("cashews", theirs))
        for what, count in counts.items()
    ]
    return {"claim": CLAIM, "rows": rows, "ratios": ratios}


async def _count(decorate: Decorator) -> dict[str, int]:
    plain, _ = await _callers(decorate, Work(), name="plain")
    cancelled, served = await _callers(decorate, Work(), name="cancelled", cancel=True)
    failing, _ = await _callers(decorate, Work(fails=True), name="failing")
    return {
        "calls": plain,
        "served": served,
        "calls_cancelled": cancelled,
        "calls_failing": failing,
    }


async def _callers(
    decorate: Decorator, work: Work, *, name: str, cancel: bool = False
) -> tuple[int, int]:
    async def function(text: str) -> dict[str, str]:
        return await work(text)

    function.__qualname__ = name
    call = decorate(function)

    async def ask() -> dict[str, str]:
        return await call("a text")

    tasks = [asyncio.ensure_future(ask()) for _ in range(CALLERS)]
    await asyncio.sleep(0.05)
    if cancel:
        tasks[0].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    return work.calls, sum(isinstance(answer, dict) for answer in answers)


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
