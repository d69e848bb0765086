"""What a million waiting jobs cost: the rate of enqueueing on top of them, and memory."""

from __future__ import annotations

import json
import sys

from benchmarks.report import Report, ratio, row
from benchmarks.task_throughput import last_line

CLAIM = "1,000,000 jobs queued: enqueue >= 0.7x the empty queue's rate, <= 150 MB more memory"
JOBS = 1_000_000


def run(rounds: int = 3) -> Report:
    """Fill an empty queue; the rates of its first and last jobs are compared."""
    found = [
        last_line([sys.executable, "-m", "benchmarks.rigs.jobs", "backlog", "normal", str(JOBS)])
        for _ in range(rounds)
    ]
    empty = [one["empty"] for one in found]
    full = [one["full"] for one in found]
    grown = [one["megabytes"] for one in found]
    return {
        "claim": CLAIM,
        "rows": [
            row("enqueue, empty queue", empty, "jobs/s"),
            row("enqueue, a million waiting", full, "jobs/s"),
            row("memory more", grown, "MB"),
        ],
        "ratios": {
            "a million waiting / empty": ratio(full, empty, least=0.7),
            "memory more, MB": ratio(grown, most=150),
        },
    }


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 3), indent=2))
