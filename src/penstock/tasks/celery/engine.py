"""The engine of a process that enqueues and looks; `celery worker` processes run the jobs.

It speaks to Redis by itself, without Celery or kombu: a ticket is written in the same step as the
job's record, on the event loop, a thousand at a time. Nothing here blocks, so no thread publishes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import msgspec

from penstock.clock import Clock, SystemClock
from penstock.errors import (
    Conflict,
    NotFound,
    QueueStopped,
    StorageError,
    StorageUnavailable,
)
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.tasks.celery.address import Address, parse
from penstock.tasks.celery.intake import REDRAWN, TAKEN, Ids, Intake, words_of
from penstock.tasks.celery.plan import DECLARE_EVERY, declaration, status_of
from penstock.tasks.celery.records import record_of
from penstock.tasks.celery.remote import Remote
from penstock.tasks.celery.store import CeleryStore
from penstock.tasks.engine import Added, Engine, JobStore, NewJob
from penstock.tasks.job import JobRecord, ScheduleStatus, job_number
from penstock.tasks.numbers import EngineTime
from penstock.tasks.schedule import parse_schedule

if TYPE_CHECKING:
    from penstock.tasks.task import Task

T = TypeVar("T")

LEVELS: Final = range(10)
AT_ONCE: Final = 500  # jobs that one script resumes or forgets
RETRY: Final = 5.0  # seconds until schedules are declared again after a fault
CLOSING: Final = 5.0  # seconds that the last adds may take

_log = get_logger("penstock.tasks")


def open_celery(url: str, **options: Any) -> tuple[Engine, JobStore]:
    """An engine on the broker at `url`, and its read side. Raises ConfigurationError."""
    engine = CeleryEngine(parse(url), **options)
    return engine, engine.store


class CeleryEngine:
    """One process's engine. `workers` is what Celery's own workers decide, so it is ignored here.

    It belongs to the loop that uses it first.
    """

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        **_: object,
    ) -> None:
        self.address = address
        self.clock = clock or SystemClock()
        self.metrics = metrics or Metrics()
        self.time = EngineTime(self.clock)
        self.ids = Ids(self.time)
        self.tasks: dict[str, Task[..., Any]] = {}
        self.remote = Remote(address)
        self.store = CeleryStore(address, self.remote, declared=self.tasks.keys(), clock=self.clock)
        self._intake = Intake(self.remote, self.ids)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopped = False
        self._is_cut_off = False
        self._declaring: asyncio.Task[None] | None = None

    async def start(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        """Know these tasks, and let their schedules be fired; again, with further ones.

        A broker that cannot be reached is no reason not to start: it is tried again.
        """
        await self._here(self._start(tasks))

    def add(self, jobs: Sequence[NewJob]) -> Awaitable[list[Added]]:
        if self._is_stopped:
            raise QueueStopped
        if self._bind() is asyncio.get_running_loop():
            return self._intake.add(jobs)
        return self._here(self._add(jobs))

    async def cancel(self, job_id: str) -> JobRecord:
        return await self._change("cancel", job_id, "{id} has ended: it is {state}")

    async def retry(self, job_id: str) -> JobRecord:
        return await self._change(
            "retry",
            job_id,
            "{id} is {state}; only a failed, cancelled or expired job can be tried again",
        )

    async def reprioritise(self, job_id: str, priority: int) -> JobRecord:
        return await self._change(
            "reprioritise", job_id, "{id} is {state}; only a queued job can be moved", priority
        )

    async def pause(self, queue: str) -> None:
        await self._asked("changes", "pause", queue)

    async def resume(self, queue: str) -> None:
        newest = await self._asked("changes", "newest_ticket")
        for level in LEVELS:
            while await self._asked("changes", "resume", queue, level, newest, AT_ONCE) == AT_ONCE:
                continue

    async def pause_schedule(self, name: str, *, paused: bool) -> ScheduleStatus:
        rows = dict(await self._asked("intake", "schedules"))
        row = rows.get(name.encode())
        if row is None:
            _no_schedule(name)
        schedule = parse_schedule(row[1].decode(), tz=row[2].decode())
        planned = schedule.next_after(int(self.clock.now() * 1000))
        told = await self._asked("intake", "pause_schedule", name, int(paused), planned)
        if not told:
            _no_schedule(name)
        return status_of(name, told, self.tasks.keys())

    async def fire(self, name: str) -> Added:
        rows = dict(await self._asked("intake", "schedules"))
        row = rows.get(name.encode())
        if row is None:
            _no_schedule(name)
        now = int(self.clock.now() * 1000)
        for attempt in range(REDRAWN):
            await self._here(self.ids.begin(self.remote, anew=attempt > 0))
            words = words_of(self.ids.draw(), msgspec.json.decode(row[9], type=NewJob))
            told = await self._asked("intake", "fire_now", self.ids.origin, name, now, *words)
            if not told:
                _no_schedule(name)
            if told[1] != TAKEN:
                return Added(told[0].decode(), existed=told[1] == 1)
        raise StorageUnavailable("no id is free for a job; the clocks of the servers disagree")

    async def prune(self, *, before: int | None = None) -> int:
        which, until = ("expiring", "") if before is None else ("ended", str(before))
        pruned = 0
        while count := await self._asked("changes", "forget", which, until, AT_ONCE):
            pruned += count
        return pruned

    async def stop(self, *, grace: float) -> None:
        """Take no more jobs. Those that run are the workers' business."""
        await self._here(self._stop())

    def bind(self) -> asyncio.AbstractEventLoop:
        """The loop that it belongs to."""
        return self._bind()

    def _bind(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    async def _here(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the engine's loop, whichever loop this is."""
        own = self._bind()
        if own is asyncio.get_running_loop():
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, own))

    async def _asked(self, group: Any, command: str, *words: Any) -> Any:
        if self._is_stopped:
            raise QueueStopped
        return await self._here(self.remote.ask(group, command, *words))

    async def _add(self, jobs: Sequence[NewJob]) -> list[Added]:
        return await self._intake.add(jobs)

    async def _start(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        if self._is_stopped:
            raise QueueStopped
        new = [task for name, task in tasks.items() if self.tasks.get(name) is not task]
        self.tasks.update(tasks)
        if not any(task.schedule is not None for task in new):
            return
        await self._declare()
        if self._declaring is None:
            self._declaring = asyncio.ensure_future(self._declare_for_ever())

    async def _declare(self) -> None:
        words = declaration(self.tasks, int(self.clock.now() * 1000))
        try:
            await self.remote.ask("intake", "declare", *words)
        except StorageError as error:
            if not self._is_cut_off:
                _log.warning("schedule.not_declared", detail=error.detail)
            self._is_cut_off = True
        else:
            self._is_cut_off = False

    async def _declare_for_ever(self) -> None:
        while True:
            await self.clock.sleep(RETRY if self._is_cut_off else DECLARE_EVERY)
            await self._declare()

    async def _change(self, command: str, job_id: str, conflict: str, *words: Any) -> JobRecord:
        if job_number(job_id) is None:
            raise NotFound(f"there is no job {job_id[:80]}")
        word, told = await self._asked("changes", command, job_id, *words)
        if word == b"absent":
            raise NotFound(f"there is no job {job_id}")
        if word == b"key":
            raise Conflict(f"another live job has the key of {job_id}")
        if word == b"state":
            state = told.decode()
            raise Conflict(conflict.format(id=job_id, state=state), state=state)
        record = record_of(job_id, told)
        if record is None:
            raise NotFound(f"there is no job {job_id}")
        return record

    async def _stop(self) -> None:
        if self._is_stopped:
            return
        self._is_stopped = True
        if self._declaring is not None:
            self._declaring.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                await self._intake.aclose()
        await self.store.aclose()
        with suppress(OSError):
            await self.remote.aclose()


def _no_schedule(name: str) -> NoReturn:
    raise NotFound(f"there is no schedule {name[:80]!r}")
