"""Two worker processes on one file against one: a load that mostly waits (F-29)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from benchmarks.report import Report, ratio, row
from benchmarks.task_throughput import ROOT, last_line

CLAIM = "two worker processes do >= 1.8x the jobs of one, when jobs wait for something else"
JOBS = 800
WORKER = [sys.executable, "-m", "benchmarks.rigs.jobs", "work", "normal", "0"]


def run(rounds: int = 5) -> Report:
    """Seconds for 800 jobs of 20 ms, four at a time in each process."""
    one: list[float] = []
    two: list[float] = []
    for _ in range(rounds):
        one.append(_seconds(1))
        two.append(_seconds(2))
    rates = {1: [JOBS / spent for spent in one], 2: [JOBS / spent for spent in two]}
    return {
        "claim": CLAIM,
        "rows": [row("one process", rates[1], "jobs/s"), row("two processes", rates[2], "jobs/s")],
        "ratios": {"two / one": ratio(rates[2], rates[1], least=1.8)},
    }


def _seconds(processes: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "BENCH_FOLDER": folder}
        running = [
            subprocess.Popen(
                WORKER, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(processes)
        ]
        try:
            for process in running:
                assert process.stdout is not None
                process.stdout.readline()
            command = [sys.executable, "-m", "benchmarks.rigs.jobs", "waits", "normal", str(JOBS)]
            return float(last_line(command, env))
        finally:
            for process in running:
                process.communicate("stop\n", timeout=30)


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 5), indent=2))
