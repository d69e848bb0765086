"""Huey on Redis: four threads that wait in a blocking pop."""

from __future__ import annotations

import os
import time

from huey import RedisHuey

PORT = int(os.environ.get("BENCH_REDIS_PORT", "0"))
huey = RedisHuey("bench", host="127.0.0.1", port=PORT)


@huey.task()
def noop(number: int) -> int:
    return number


@huey.task()
def stamp() -> int:
    return time.monotonic_ns()


def enqueue_each(count: int) -> None:
    """Enqueue one after the other: Huey has no other way."""
    for number in range(count):
        noop(number)


enqueue_all = enqueue_each


def finished() -> int:
    """Results so far."""
    return int(huey.result_count())


def started() -> int:
    """When a task enqueued now began to run, ns."""
    return int(stamp().get(blocking=True, timeout=20, backoff=1, max_delay=0.001))
