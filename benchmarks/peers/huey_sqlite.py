"""Huey on SQLite, every commit synced: four threads that poll as fast as it lets them."""

from __future__ import annotations

import os

from huey import SqliteHuey

huey = SqliteHuey("bench", filename=os.path.join(os.environ["BENCH_FOLDER"], "huey.db"), fsync=True)


@huey.task()
def noop(number: int) -> int:
    return number


def enqueue_each(count: int) -> None:
    """Enqueue one after the other."""
    for number in range(count):
        noop(number)


enqueue_all = enqueue_each


def finished() -> int:
    """Results so far."""
    return int(huey.result_count())
