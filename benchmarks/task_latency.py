"""How soon a lone job starts, beside Huey on Redis, and an urgent one behind 50,000 others.

All on this machine, no network; Redis persists nothing, Penstock has written the job, and that it
started, to disk before it runs. The disk's own fsync stands beside it.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time

from benchmarks.report import Report, ratio, row
from benchmarks.task_throughput import last_line, working

CLAIM = (
    "enqueue to start, idle: p50 <= 0.6x and p99 <= 1.0x Huey on Redis; an urgent job behind "
    "50,000 bulk jobs starts within the idle p99 and one job"
)
JOBS = 500
BULK = 50_000
NOOP_MS = 1.0  # one job that does nothing, generously


def run(rounds: int = 5) -> Report:
    """Milliseconds, sides taking turns."""
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    idle: list[float] = []
    behind: list[float] = []
    left: list[float] = []
    synced: list[float] = []
    for _ in range(rounds):
        ours.append(last_line([*_RIG, "start", "normal", str(JOBS)]))
        with working("huey_redis") as env:
            command = [sys.executable, "-m", "benchmarks.peers", "huey_redis", "start", str(JOBS)]
            theirs.append(last_line(command, env))
        synced.append(_fsync())
    for _ in range(rounds):  # apart: the disk is busy for a while after so many jobs
        found = last_line([*_RIG, "urgent", "normal", str(BULK)])
        idle.append(_percentile(found["idle"], 99))
        behind.append(_percentile(found["behind"], 50))
        left.append(found["left"])
    p50 = [_percentile(waits, 50) for waits in ours]
    p99 = [_percentile(waits, 99) for waits in ours]
    their_p50 = [_percentile(waits, 50) for waits in theirs]
    their_p99 = [_percentile(waits, 99) for waits in theirs]
    return {
        "claim": CLAIM,
        "rows": [
            row("Penstock p50", p50, "ms"),
            row("Penstock p99", p99, "ms"),
            row("Huey on Redis p50", their_p50, "ms"),
            row("Huey on Redis p99", their_p99, "ms"),
            row("urgent behind 50,000 bulk jobs, p50", behind, "ms"),
            row("urgent jobs alone, p99", idle, "ms"),
            row("bulk jobs left when the last urgent one had run", left, "jobs"),
            row("fsync of 4 kB, p50", synced, "ms"),
        ],
        "ratios": {
            "p50 / Huey on Redis": ratio(p50, their_p50, most=0.6),
            "p99 / Huey on Redis": ratio(p99, their_p99, most=1.0),
            "urgent behind bulk / idle p99 and one job": ratio(
                behind, [alone + NOOP_MS for alone in idle], most=1.0
            ),
        },
    }


_RIG = [sys.executable, "-m", "benchmarks.rigs.jobs"]


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1]


def _fsync() -> float:
    spent = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 4096)
            start = time.perf_counter()
            os.fsync(file.fileno())
            spent.append((time.perf_counter() - start) * 1e3)
    return statistics.median(spent)


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 5), indent=2))
