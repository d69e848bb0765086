"""Penstock's queue in a process of its own: what the task benchmarks measure.

`python -m benchmarks.rigs.jobs MODE DURABILITY COUNT` prints JSON; the modes are at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.load import rss_bytes
from penstock.clock import SystemClock
from penstock.observe.metrics import Metrics
from penstock.tasks import JobFilter, TaskQueue, declare, open_queue

WARM = 20
AT_ONCE = 64  # jobs that run at once: as many as the peers take from Redis ahead of time
PACE = 0.003  # seconds between lone jobs
POLL = 0.005
TICK = 0.001

began: dict[int, asyncio.Future[int]] = {}


@declare()
async def noop(number: int) -> int:
    return number


@declare()
async def stamp(number: int) -> int:
    began[number].set_result(time.monotonic_ns())
    return number


@declare()
async def pause(number: int) -> int:
    await asyncio.sleep(0.02)
    return number


@declare()
def block(number: int) -> int:
    """Waits in a thread, as a library does that knows no asyncio."""
    threading.Event().wait(0.02)
    return number


@declare()
def compute(number: int) -> int:
    """Holds the interpreter's lock for some milliseconds."""
    return sum(range(200_000)) + number


@asynccontextmanager
async def opened(durability: str, workers: int) -> AsyncIterator[TaskQueue]:
    """A queue on an empty file, or on the one that processes of a benchmark share."""
    shared = os.environ.get("BENCH_FOLDER")
    with nullcontext(shared) if shared else tempfile.TemporaryDirectory() as folder:
        metrics, clock = Metrics(), SystemClock()
        queue = open_queue(
            f"embedded://{Path(folder) / 'tasks.db'}",
            clock=clock,
            metrics=metrics,
            workers=workers,
            durability=durability,
        )
        queue.register([noop, stamp, pause, block, compute])
        await queue.start()
        try:
            yield queue
        finally:
            await queue.stop(grace=5.0)


async def together(durability: str, count: int) -> float:
    """Seconds from the first enqueue to the last result, enqueued in batches."""
    async with opened(durability, AT_ONCE) as queue:
        start = time.perf_counter()
        await queue.enqueue_many(noop, [(number,) for number in range(count)])
        await _finished(queue, count)
        return time.perf_counter() - start


async def each(durability: str, count: int) -> float:
    """The same, every enqueue awaited before the next."""
    async with opened(durability, AT_ONCE) as queue:
        start = time.perf_counter()
        for number in range(count):
            await queue.enqueue(noop, (number,))
        await _finished(queue, count)
        return time.perf_counter() - start


async def starts(durability: str, count: int) -> list[float]:
    """Milliseconds from enqueue to start of lone jobs."""
    async with opened(durability, AT_ONCE) as queue:
        return [await _start(queue, number) for number in range(WARM + count)][WARM:]


async def urgent(durability: str, count: int) -> dict[str, Any]:
    """Milliseconds until an urgent job starts, idle and behind `count` bulk jobs."""
    async with opened(durability, 1) as queue:
        idle = [await _start(queue, number) for number in range(WARM + 200)][WARM:]
        await queue.enqueue_many(noop, [(number,) for number in range(count)], {"priority": "bulk"})
        behind = [await _start(queue, number, priority="urgent") for number in range(100)]
        left = (await queue.store.queues())[0].queued.get(9, 0)
        return {"idle": idle, "behind": behind, "left": left}


async def backlog(durability: str, count: int) -> dict[str, float]:
    """Enqueue rates into an empty queue and on top of `count` waiting jobs, and their memory."""
    async with opened(durability, 1) as queue:
        await queue.pause("default")
        before = rss_bytes(os.getpid())
        rates = []
        for done in range(0, count, 10_000):
            start = time.perf_counter()
            await queue.enqueue_many(noop, [(done + number,) for number in range(10_000)])
            rates.append(10_000 / (time.perf_counter() - start))
        return {
            "empty": max(rates[:5]),
            "full": max(rates[-5:]),
            "megabytes": (rss_bytes(os.getpid()) - before) / 1e6,
        }


async def busy(durability: str, count: int) -> dict[str, Any]:
    """The loop's longest stall and each enqueue, ms, beside jobs that block and that compute."""
    async with opened(durability, 4) as queue:
        return {
            "block": await _beside(queue, block, count),
            "compute": await _beside(queue, compute, count),
        }


async def _beside(queue: TaskQueue, job: Any, count: int) -> dict[str, Any]:
    stalls: list[float] = []
    spent: list[float] = []
    watching = asyncio.ensure_future(_watch(stalls))
    for number in range(count):
        start = time.perf_counter()
        last = await queue.enqueue(job, (number,))
        spent.append((time.perf_counter() - start) * 1e3)
        await asyncio.sleep(PACE)
    await last.result()
    watching.cancel()
    return {"stall": max(stalls), "enqueue": spent}


async def work(durability: str, _: int) -> str:
    """Run jobs until a line comes in."""
    async with opened(durability, 4):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    return "stopped"


async def waits(durability: str, count: int) -> float:
    """Seconds until other processes have done `count` jobs that wait."""
    async with opened(durability, 0) as queue:
        await queue.pause("default")
        await queue.enqueue_many(pause, [(number,) for number in range(count)])
        start = time.perf_counter()
        await queue.resume("default")
        await _finished(queue, count)
        return time.perf_counter() - start


async def _watch(stalls: list[float]) -> None:
    while True:
        start = time.perf_counter()
        await asyncio.sleep(TICK)
        stalls.append((time.perf_counter() - start - TICK) * 1e3)


async def _start(queue: TaskQueue, number: int, **options: Any) -> float:
    started = began[number] = asyncio.get_running_loop().create_future()
    enqueued = time.monotonic_ns()
    await queue.enqueue(stamp, (number,), options=options)
    waited = (await started - enqueued) / 1e6
    await asyncio.sleep(PACE)
    return waited


async def _finished(queue: TaskQueue, count: int) -> None:
    """Return when so many results are stored: counted as the peers' are, by polling."""
    while True:
        if (await queue.store.count(JobFilter(states=("completed",)))).get("completed") == count:
            return
        await asyncio.sleep(POLL)


def main() -> None:
    """Measure once."""
    mode, durability, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    measures = {
        "all": together,
        "each": each,
        "start": starts,
        "urgent": urgent,
        "backlog": backlog,
        "busy": busy,
        "work": work,
        "waits": waits,
    }
    print(json.dumps(asyncio.run(measures[mode](durability, count))))


if __name__ == "__main__":
    main()
