"""Celery: Redis as broker and backend, prefork workers, prefetch raised as its guide advises.

https://docs.celeryq.dev/en/stable/userguide/optimizing.html
"""

from __future__ import annotations

import os
import time

from celery import Celery
from redis import Redis

PORT = int(os.environ.get("BENCH_REDIS_PORT", "0"))
url = f"redis://127.0.0.1:{PORT}"
app = Celery("bench", broker=f"{url}/0", backend=f"{url}/1")
app.conf.update(worker_prefetch_multiplier=64, worker_hijack_root_logger=False)
results = Redis(port=PORT, db=1)


@app.task
def noop(number: int) -> int:
    return number


@app.task
def stamp() -> int:
    return time.monotonic_ns()


def enqueue_all(count: int) -> None:
    """Enqueue on one connection."""
    with app.producer_pool.acquire(block=True) as producer:
        for number in range(count):
            noop.apply_async((number,), producer=producer)


def enqueue_each(count: int) -> None:
    """Enqueue as an application does, one after the other."""
    for number in range(count):
        noop.delay(number)


def finished() -> int:
    """Results so far."""
    return int(results.dbsize())


def started() -> int:
    """When a task enqueued now began to run, ns."""
    return int(stamp.delay().get(timeout=20, interval=0.001))
