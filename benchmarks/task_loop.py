"""What jobs do to the event loop that they share with an application: H-02 and H-04."""

from __future__ import annotations

import json
import statistics
import sys

from benchmarks.report import Report, ratio, row
from benchmarks.task_throughput import last_line

CLAIM = (
    "a job that blocks or computes in a thread holds the loop <= 50 ms; enqueue p99 < 5 ms while "
    "all workers are busy"
)
JOBS = 500


def run(rounds: int = 5) -> Report:
    """The loop's longest stall, and what an enqueue takes beside four jobs that wait or compute.

    Beside computing threads an enqueue waits for the interpreter's lock, as everything does: that
    is shown, and is what `process=True` is for.
    """
    command = [sys.executable, "-m", "benchmarks.rigs.jobs", "busy", "normal", str(JOBS)]
    found = [last_line(command) for _ in range(rounds)]
    blocked = [one["block"]["stall"] for one in found]
    computed = [one["compute"]["stall"] for one in found]
    waited = [_p99(one["block"]["enqueue"]) for one in found]
    beside = [_p99(one["compute"]["enqueue"]) for one in found]
    return {
        "claim": CLAIM,
        "rows": [
            row("longest stall, jobs that block", blocked, "ms"),
            row("longest stall, jobs that compute", computed, "ms"),
            row("enqueue p99, jobs that block", waited, "ms"),
            row("enqueue p99, jobs that compute", beside, "ms"),
        ],
        "ratios": {
            "longest stall beside blocking jobs, ms": ratio(blocked, most=50),
            "longest stall beside computing jobs, ms": ratio(computed, most=50),
            "enqueue p99 beside blocking jobs, ms": ratio(waited, most=5),
        },
    }


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 5), indent=2))
