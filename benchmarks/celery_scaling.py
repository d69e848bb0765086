"""More workers, more jobs: a load that waits, on one, two and four Celery worker processes."""

from __future__ import annotations

import json
import sys
import time

from benchmarks.report import Report, ratio, row
from benchmarks.rigs import celery_jobs
from benchmarks.rigs.servers import RedisServer

CLAIM = "two Celery workers do >= 1.8x the jobs of one, when jobs wait for something else (F-29)"
JOBS = 200  # of 50 ms: ten seconds for one process
WORKERS = (1, 2, 4)


def run(rounds: int = 3) -> Report:
    """Jobs a second by number of workers, each with one process."""
    rates: dict[int, list[float]] = {count: [] for count in WORKERS}
    for _ in range(rounds):
        for count in WORKERS:
            rates[count].append(_rate(count))
    return {
        "claim": CLAIM,
        "rows": [row(f"{count} workers", rates[count], "jobs/s") for count in WORKERS],
        "ratios": {
            "two / one": ratio(rates[2], rates[1], least=1.8),
            "four / one": ratio(rates[4], rates[1]),
        },
    }


def _rate(count: int) -> float:
    with RedisServer() as redis, celery_jobs.workers(redis, count, processes=1):
        began = time.perf_counter()
        celery_jobs.enqueue(redis, "nap", JOBS)
        celery_jobs.wait_for(redis, JOBS)
        return JOBS / (time.perf_counter() - began)


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 3), indent=2))
