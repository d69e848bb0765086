"""What our promises cost on Celery: the same no-op jobs on plain Celery with `acks_late`.

Both sides: prefork workers with two processes, Redis without persistence as broker and backend,
results in the backend; from the first enqueue until the last result is there.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

from benchmarks.report import Report, ratio, row
from benchmarks.rigs import celery_jobs
from benchmarks.rigs.servers import RedisServer

CLAIM = "the engine on Celery does >= 0.85x the jobs of plain Celery with acks_late"
JOBS = 2_000


def run(rounds: int = 5) -> Report:
    """Jobs a second, sides taking turns."""
    ours: list[float] = []
    theirs: list[float] = []
    our_adds: list[float] = []
    their_adds: list[float] = []
    with RedisServer() as mine, RedisServer() as other:
        env = {**os.environ, "BENCH_REDIS_PORT": str(other.port)}
        plain = celery_jobs.running(
            "benchmarks.peers.celery_late:app", env, name="plain", processes=2
        )
        with celery_jobs.workers(mine, 1, processes=2), plain:
            noop = _plain(other.port)
            _round_of(other, lambda count: _delay(noop, count), 200)
            for _ in range(rounds):
                rate, add = _round_of(mine, lambda n: celery_jobs.enqueue(mine, "noop", n), JOBS)
                ours.append(rate)
                our_adds.append(add)
                rate, add = _round_of(other, lambda count: _delay(noop, count), JOBS)
                theirs.append(rate)
                their_adds.append(add)
    return {
        "claim": CLAIM,
        "rows": [
            row("Penstock on Celery", ours, "jobs/s"),
            row("plain Celery", theirs, "jobs/s"),
            row("Penstock on Celery, enqueue", our_adds, "jobs/s"),
            row("plain Celery, enqueue", their_adds, "jobs/s"),
        ],
        "ratios": {
            "end to end / plain Celery": ratio(ours, theirs, least=0.85),
            "enqueue / plain Celery": ratio(our_adds, their_adds, least=1.0),
        },
    }


def _round_of(redis: RedisServer, enqueue: Any, count: int) -> tuple[float, float]:
    celery_jobs.forget(redis)
    began = time.perf_counter()
    spent = enqueue(count)
    celery_jobs.wait_for(redis, count)
    return count / (time.perf_counter() - began), count / spent


def _plain(port: int) -> Any:
    os.environ["BENCH_REDIS_PORT"] = str(port)
    return importlib.import_module("benchmarks.peers.celery_late").noop


def _delay(noop: Any, count: int) -> float:
    began = time.perf_counter()
    with noop.app.producer_pool.acquire(block=True) as producer:
        for number in range(count):
            noop.apply_async((number,), producer=producer)
    return time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 5), indent=2))
