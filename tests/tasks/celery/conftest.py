"""Real Celery workers as processes, on a Redis of the test's."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from benchmarks.rigs.servers import RedisServer
from penstock.tasks import TaskQueue, open_queue
from penstock.tasks.celery.address import parse
from penstock.tasks.celery.app import JobApp, make_app
from tests.tasks.celery.celery_jobs import TASKS

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0


class Celery:
    """The command line of Celery on `celery_jobs`, and what its processes have noted."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.notes = folder / "notes"
        self.log = folder / "log"
        self.env = {**os.environ, "JOBS_URL": url, "JOBS_LOG": str(self.notes)}
        self.processes: list[subprocess.Popen[bytes]] = []

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "tests.tasks.celery.celery_jobs", *words]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command(*words),
                cwd=ROOT,
                env=self.env,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        self.processes.append(process)
        return process

    def worker(self, name: str = "one", *words: str, processes: int = 2) -> subprocess.Popen[bytes]:
        """Start a worker."""
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        return self.start(
            *("worker", "-n", f"{name}@test", "-c", str(processes), "-l", "INFO", *quiet, *words)
        )

    def run(self, *words: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            self.command(*words), cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    def noted(self, what: str = "") -> list[str]:
        """The lines that jobs have written."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [line for line in lines if line.startswith(what)]

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a process and all its children as kill -9 does."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)

    def close(self) -> None:
        for process in self.processes:
            self.kill(process)


class Nowhere:
    """The place of an application that runs no jobs."""

    def bench(self) -> Any:
        raise AssertionError

    def close(self) -> None: ...


async def until(condition: Callable[[], Any]) -> Any:
    """What a condition gives once it is true, looked at from a thread: it may block."""

    def look() -> Any:
        pause, deadline = threading.Event(), time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < deadline, "not in time"
            pause.wait(0.02)
        return found

    return await asyncio.to_thread(look)


def address(redis: RedisServer, **options: object) -> str:
    """An engine's address."""
    more = "".join(f"&{name}={value}" for name, value in options.items())
    broker, backend = redis.database(1), quote(redis.database(2), safe="")
    return f"celery+{broker}{'&' if '?' in broker else '?'}backend={backend}{more}"


@pytest.fixture
def celery_on(tmp_path: Path) -> Iterator[Callable[..., Celery]]:
    """`celery_on(redis, lease=2)` is Celery's command line on that Redis."""
    with ExitStack() as stack:

        def made(redis: RedisServer, **options: object) -> Celery:
            made = Celery(address(redis, **options), tmp_path)
            stack.callback(made.close)
            return made

        yield made


@pytest.fixture
async def asking() -> AsyncIterator[Callable[[str], Any]]:
    """`await asking(url)` is a queue that only enqueues and looks."""
    queues: list[TaskQueue] = []

    async def opened(url: str) -> TaskQueue:
        queue = open_queue(url, workers=0)
        queue.register(TASKS)
        await queue.start()
        queues.append(queue)
        return queue

    yield opened
    for queue in queues:
        await queue.stop()


@pytest.fixture
def app(redis: RedisServer) -> JobApp:
    return make_app(parse(address(redis)), place=Nowhere())


@pytest.fixture
async def queue(redis: RedisServer, asking: Any) -> TaskQueue:
    return await asking(address(redis))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Celery]:
    """One worker with two processes, for all tests of a module that do not harm it."""
    with RedisServer() as redis:
        celery = Celery(address(redis), tmp_path_factory.mktemp("celery"))
        celery.worker()
        yield celery
        celery.close()
