"""How many no-op jobs a second go from enqueue to a stored result, beside Celery and Huey.

All on this machine, no network between. The peers' worker is a process of its own beside Redis,
which persists nothing; Penstock runs in one process and every job is on disk. Each side enqueues
with the fastest way that it documents, then one by one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers import WORKERS
from benchmarks.report import Report, ratio, row
from benchmarks.rigs.servers import RedisServer

CLAIM = (
    "5,000 no-op jobs with results: >= 25x Celery prefork and >= 5x Huey (both on Redis) enqueued "
    "together, >= 10x and >= 1.5x one by one; synced to disk >= 15x Huey on SQLite"
)
JOBS = 5_000
SLOW_JOBS = 500  # for Huey on SQLite, which needs a second for them
ROOT = Path(__file__).parent.parent


def run(rounds: int = 5) -> Report:
    """Jobs a second, sides taking turns."""
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for how in ("all", "each"):
            rates[f"Penstock, {how}"].append(_ours(how, "normal"))
            for name, peer in (("Celery", "celery_redis"), ("Huey on Redis", "huey_redis")):
                rates[f"{name}, {how}"].append(_theirs(peer, how, JOBS))
        rates["Penstock, full"].append(_ours("all", "full"))
        rates["Huey on SQLite"].append(_theirs("huey_sqlite", "all", SLOW_JOBS))
    ours = rates["Penstock, all"]
    each = rates["Penstock, each"]
    return {
        "claim": CLAIM,
        "rows": [row(name, found, "jobs/s") for name, found in sorted(rates.items())],
        "ratios": {
            "together / Celery": ratio(ours, rates["Celery, all"], least=25),
            "together / Huey on Redis": ratio(ours, rates["Huey on Redis, all"], least=5),
            "one by one / Celery": ratio(each, rates["Celery, each"], least=10),
            "one by one / Huey on Redis": ratio(each, rates["Huey on Redis, each"], least=1.5),
            "synced / Huey on SQLite": ratio(
                rates["Penstock, full"], rates["Huey on SQLite"], least=15
            ),
        },
    }


def _ours(how: str, durability: str) -> float:
    command = [sys.executable, "-m", "benchmarks.rigs.jobs", how, durability, str(JOBS)]
    return JOBS / float(last_line(command))


def _theirs(peer: str, how: str, count: int) -> float:
    with working(peer) as env:
        command = [sys.executable, "-m", "benchmarks.peers", peer, how, str(count)]
        return count / float(last_line(command, env))


@contextmanager
def working(peer: str) -> Iterator[dict[str, str]]:
    """A peer's worker and its Redis; yields the environment of its producers."""
    with RedisServer() as redis, tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "BENCH_REDIS_PORT": str(redis.port), "BENCH_FOLDER": folder}
        with subprocess.Popen(
            WORKERS[peer], cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as worker:
            try:
                yield env
            finally:
                worker.terminate()
                worker.wait(timeout=30)


def last_line(command: list[str], env: dict[str, str] | None = None) -> Any:
    """What a command prints at the end, read as JSON."""
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]) if sys.argv[1:] else 5), indent=2))
