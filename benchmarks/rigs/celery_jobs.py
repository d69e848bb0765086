"""Our engine on Celery, for benchmarks: a Redis, workers as processes, tasks, and producers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from redis import Redis

from benchmarks.rigs.servers import RedisServer
from penstock.tasks import declare, open_queue

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 120.0
NAP = 0.05
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")


@declare(name="bench.noop")
async def noop(number: int) -> int:
    """Do nothing."""
    return number


@declare(name="bench.nap")
def nap(number: int) -> int:
    """Wait, as for another service."""
    time.sleep(NAP)  # noqa: TID251 - that is the load
    return number


@contextmanager
def worker(redis: RedisServer, *, name: str, processes: int) -> Iterator[None]:
    """One `celery worker` of ours."""
    with tempfile.TemporaryDirectory() as home:
        env = {
            **os.environ,
            "CELERY_BROKER_URL": redis.database(1),
            "CELERY_RESULT_BACKEND": redis.database(2),
            "PENSTOCK_HOME": home,
            "PENSTOCK_INCLUDE": "benchmarks.rigs.celery_jobs",
        }
        with running("penstock.celery_app", env, name=name, processes=processes):
            yield


@contextmanager
def running(app: str, env: dict[str, str], *, name: str, processes: int) -> Iterator[None]:
    """Celery's worker of an application, as its own command starts it."""
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-c", str(processes)]
    command += ["-l", "ERROR", "-n", f"{name}@bench", *QUIET]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


def enqueue(redis: RedisServer, task: str, count: int) -> float:
    """Enqueue so many in one call; the seconds that took."""

    async def work() -> float:
        async with open_queue(url_of(redis), workers=0) as queue:
            began = time.perf_counter()
            await queue.enqueue_many({"noop": noop, "nap": nap}[task], range(count))
            return time.perf_counter() - began

    return asyncio.run(work())


def url_of(redis: RedisServer) -> str:
    """The address of the engine."""
    return f"celery+{redis.database(1)}?backend={redis.database(2)}"


def wait_for(redis: RedisServer, count: int) -> None:
    """Return when so many results are in Celery's backend, where both sides put them."""
    with Redis.from_url(redis.database(2)) as results:
        deadline = time.monotonic() + PATIENCE
        while int(results.dbsize()) < count:  # type: ignore[arg-type]
            assert time.monotonic() < deadline, f"{results.dbsize()} of {count} in time"
            time.sleep(0.005)  # noqa: TID251 - a poll


def forget(redis: RedisServer) -> None:
    """Begin a round without the results of the one before."""
    with Redis.from_url(redis.database(2)) as results:
        results.flushdb()


@contextmanager
def workers(redis: RedisServer, count: int, *, processes: int) -> Iterator[None]:
    """So many workers, warm."""
    with ExitStack() as stack:
        for number in range(count):
            stack.enter_context(worker(redis, name=f"w{number}", processes=processes))
        warm = 40 * count * processes
        enqueue(redis, "nap", warm)
        wait_for(redis, warm)
        forget(redis)
        yield
