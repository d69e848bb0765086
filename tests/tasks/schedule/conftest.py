"""A plan in a file, and as many schedulers on it as a test wants."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest

import penstock.tasks.embedded
from penstock.clock import ManualClock
from penstock.observe.metrics import Metrics
from penstock.tasks.embedded.plan import read_schedules
from penstock.tasks.embedded.scheduler import Scheduler
from penstock.tasks.engine import Added, NewJob
from penstock.tasks.job import ScheduleStatus, job_id
from penstock.tasks.schedule import Schedule
from penstock.tasks.task import Task

T = TypeVar("T")
PLAN = Path(penstock.tasks.embedded.__file__).with_name("schedule.sql")
JOBS = "CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY, task TEXT NOT NULL)"


def at(text: str, tz: str = "UTC", *, fold: int = 0) -> int:
    """Milliseconds since 1970 of a local time."""
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz), fold=fold)
    return int(local.timestamp() * 1000)


class WallClock(ManualClock):
    """A clock that can be set, and that can wait until somebody sleeps by it."""

    def __init__(self) -> None:
        super().__init__()
        self._asleep = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self._asleep.set()
        await super().sleep(seconds)

    async def pass_while_asleep(self, seconds: float) -> None:
        """Let time go by as soon as somebody sleeps, and wake them."""
        await asyncio.wait_for(self._asleep.wait(), 30)
        self._asleep.clear()
        self.advance(seconds)

    def set(self, text: str) -> None:
        """Set it, without any time going by."""
        self._start = at(text) / 1000 - self._elapsed


class Process:
    """One scheduler with a connection and a writing thread of its own, as a process has them."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        self.connection.execute("PRAGMA journal_mode = wal")
        self.connection.execute("PRAGMA synchronous = off")
        self.connection.executescript(PLAN.read_text() + JOBS)
        self.metrics = Metrics()
        self.woken = asyncio.Event()
        self.asked = False  # whether it ever wrote
        self.fails: list[Exception] = []  # what the next calls raise
        self._turn = asyncio.Lock()
        self.scheduler = Scheduler(
            self.call, insert=_insert, wake=self.woken.set, clock=clock, metrics=self.metrics
        )

    async def call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a write transaction, in a thread."""
        self.asked = True
        if self.fails:
            raise self.fails.pop()
        async with self._turn:
            return await asyncio.to_thread(self._transact, work)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            done = work(self.connection)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        return done

    async def aclose(self) -> None:
        await self.scheduler.aclose()
        async with self._turn:
            self.connection.close()


class Plan:
    """What is in the file, and the processes that work on it."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self.path = path
        self.clock = WallClock()
        self.clock.set("2026-01-05T08:00")
        self._stack = stack

    def process(self) -> Process:
        """Start a process."""
        process = Process(self.path, self.clock)
        self._stack.push_async_callback(process.aclose)
        return process

    async def declared(self, *tasks: Task) -> Process:
        """Start a process that has these tasks; its loop does not run."""
        process = self.process()
        await process.scheduler.declare({task.name: task for task in tasks})
        return process

    def ticks(self, name: str) -> list[str]:
        """The ticks that were fired, as times of the day, in the order of the jobs."""
        rows = self._rows("SELECT tick_ms FROM fired WHERE name = ? ORDER BY job", name)
        return [f"{datetime.fromtimestamp(tick / 1000, ZoneInfo('UTC')):%H:%M}" for (tick,) in rows]

    def fired(self) -> dict[str, list[int]]:
        """All ticks that were fired, of each schedule."""
        found: dict[str, list[int]] = {}
        for name, tick in self._rows("SELECT name, tick_ms FROM fired ORDER BY name, tick_ms"):
            found.setdefault(name, []).append(tick)
        return found

    def jobs(self) -> Counter[str]:
        """How many jobs each task got."""
        return Counter(task for (task,) in self._rows("SELECT task FROM jobs"))

    def status(self, name: str, declared: tuple[str, ...] = ()) -> ScheduleStatus:
        """One schedule as everybody sees it."""
        with closing(sqlite3.connect(self.path)) as connection:
            found = read_schedules(connection, declared)
        return next(status for status in found if status.name == name)

    def write(self, sql: str) -> None:
        """Change the file by hand."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute(sql)

    def _rows(self, sql: str, *values: object) -> list[tuple]:
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(sql, values).fetchall()


@pytest.fixture
async def plan(tmp_path: Path) -> AsyncIterator[Plan]:
    """A plan in a file of its own, at eight on a Monday."""
    async with AsyncExitStack() as stack:
        yield Plan(tmp_path / "tasks.db", stack)


@pytest.fixture
def scheduled() -> Callable[..., Task]:
    """`scheduled("report", "every 1h")` is a task that does nothing."""

    def make(name: str, schedule: str | Schedule, **options: object) -> Task:
        return Task(_nothing, name=name, schedule=schedule, **options)

    return make


async def _nothing() -> None:
    return


def _insert(connection: sqlite3.Connection, jobs: Sequence[NewJob]) -> list[Added]:
    done = [connection.execute("INSERT INTO jobs (task) VALUES (?)", (job.task,)) for job in jobs]
    return [Added(job_id(one.lastrowid or 0)) for one in done]
