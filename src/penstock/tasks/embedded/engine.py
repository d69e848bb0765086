"""The engine in one file: accepts jobs, runs them, survives its processes.

    intake.py  new jobs                 lane.py     their order in memory
    core.py    commits, starts, ends    backlog.py  their order on disk
    upkeep.py  due, dead, others        settle.py   what becomes of them

Any number of processes may have the file open. Each is for local disks: see `liveness.py`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from penstock.clock import Clock, SystemClock
from penstock.errors import NotFound, QueueStopped
from penstock.hub import Hub
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.tasks.embedded import changes, settle
from penstock.tasks.embedded.attempts import Executes
from penstock.tasks.embedded.connection import WRITE_PATIENCE, Durability, Reader
from penstock.tasks.embedded.core import Core
from penstock.tasks.embedded.intake import Intake
from penstock.tasks.embedded.lane import BOUND
from penstock.tasks.embedded.pruning import prune
from penstock.tasks.embedded.scheduler import Scheduler
from penstock.tasks.embedded.states import RUNNING
from penstock.tasks.embedded.store import EmbeddedStore
from penstock.tasks.embedded.upkeep import Upkeep
from penstock.tasks.embedded.wake import wake
from penstock.tasks.engine import Added, Engine, JobStore, NewJob
from penstock.tasks.job import JobRecord, Progress, ScheduleStatus, job_number

if TYPE_CHECKING:
    from penstock.tasks.task import Task

T = TypeVar("T")
MakeExecution = Callable[[Callable[[int, Progress], None]], Executes]

_log = get_logger("penstock.tasks")


def open_embedded(path: Path, **options: Any) -> tuple[Engine, JobStore]:
    """An engine on the file at `path`, and its read side; options are those of the class."""
    engine = EmbeddedEngine(path, **options)
    return engine, engine.store


class EmbeddedEngine:
    """One process's engine on a job file, which is made if there is none. Raises StorageError.

    `workers` jobs of each queue run at once, or as many as a mapping says for a queue (of others
    none). `durability` "normal" keeps what was acknowledged through kill -9, "full" also through a
    power cut, for one fsync per commit. `execution` makes what runs the attempts; `bound` is how
    many waiting jobs of a queue are held in memory; `patience` the seconds that a write waits for
    another process.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        hub: Hub | None = None,
        workers: int | Mapping[str, int] = 4,
        durability: Durability = "normal",
        execution: MakeExecution | None = None,
        bound: int = BOUND,
        patience: float = WRITE_PATIENCE,
    ) -> None:
        self._core = core = Core(
            path,
            clock=clock or SystemClock(),
            metrics=metrics or Metrics(),
            hub=hub,
            workers=workers,
            durability=durability,
            bound=bound,
            patience=patience,
        )
        self._make_execution = execution or self._usual_execution
        self._intake = Intake(core)
        self._upkeep = Upkeep(core)
        self._sweeper = Reader(path, patience=patience)
        self._is_started = False
        self._is_stopped = False
        self._scheduler = Scheduler(
            core.call,
            insert=self._intake.insert_all,
            wake=self._ready_on_disk,
            clock=core.clock,
            metrics=core.metrics,
        )
        self.store = EmbeddedStore(
            path,
            watches=core.watches,
            live=core.attempts.live,
            is_here=core.attempts.held.__contains__,
            limits={name: lane.limit for name, lane in core.dispatcher.lanes.items()},
            declared=core.dispatcher.tasks,
            now=core.time.ms,
        )

    async def start(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        """Begin to run jobs of these tasks; again, with further ones, to run those too."""
        await self._here(self._start(tasks))

    def add(self, jobs: Sequence[NewJob]) -> Awaitable[list[Added]]:
        core = self._core
        if core.bind() is asyncio.get_running_loop():
            return self._intake.add(jobs)
        return self._here(self._add(jobs))

    async def cancel(self, job_id: str) -> JobRecord:
        return await self._here(self._cancel(_number(job_id)))

    async def retry(self, job_id: str) -> JobRecord:
        return await self._here(self._retry(_number(job_id)))

    async def reprioritise(self, job_id: str, priority: int) -> JobRecord:
        return await self._here(self._reprioritise(_number(job_id), priority))

    async def pause(self, queue: str) -> None:
        await self._here(self._set_paused(queue, True))

    async def resume(self, queue: str) -> None:
        await self._here(self._set_paused(queue, False))

    async def pause_schedule(self, name: str, *, paused: bool) -> ScheduleStatus:
        return await self._here(self._scheduler.pause(name, paused=paused))

    async def fire(self, name: str) -> Added:
        return await self._here(self._scheduler.fire(name))

    async def prune(self, *, before: int | None = None) -> int:
        self._check_open()
        return await self._here(prune(self._core, self._sweeper, before=before))

    async def stop(self, *, grace: float) -> None:
        await self._here(self._stop(grace))

    async def _here(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the engine's loop, whichever loop this is."""
        own = self._core.bind()
        if own is asyncio.get_running_loop():
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, own))

    async def _start(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        core = self._core
        self._check_open()
        core.dispatcher.declare(tasks)
        if not core.dispatcher.lanes:
            return  # it only adds jobs and looks
        if not self._is_started:
            self._is_started = True
            core.attempts.begin(self._make_execution(core.attempts.report))
            core.is_running = True
            await self._upkeep.start()
        await core.know_disk()
        await self._scheduler.start(tasks)

    async def _add(self, jobs: Sequence[NewJob]) -> list[Added]:
        return await self._intake.add(jobs)

    async def _cancel(self, number: int) -> JobRecord:
        core = self._core
        changed = await self._change(lambda c: changes.cancel(c, number, now=core.time.ms()))
        record = changed.record
        if changed.was != RUNNING:
            core.dispatcher.discard(number)
            core.dispatcher.meters(record.queue, record.task).ended("cancelled")
        elif changed.runs_in == core.registration.id:
            core.attempts.cancel(number)
        else:
            wake(core.path, [changed.runs_in])
        core.watches.changed(number)
        return record

    async def _retry(self, number: int) -> JobRecord:
        core = self._core
        core.file.check(core.time.ms())
        changed = await self._change(lambda c: changes.retry(c, number, now=core.time.ms()))
        core.ready(number)
        core.watches.changed(number)
        return changed.record

    async def _reprioritise(self, number: int, priority: int) -> JobRecord:
        core = self._core
        changed = await self._change(lambda c: changes.reprioritise(c, number, priority=priority))
        core.dispatcher.discard(number)
        core.ready(number)
        core.watches.changed(number)
        return changed.record

    async def _set_paused(self, queue: str, paused: bool) -> None:
        core = self._core
        await self._change(lambda c: changes.set_paused(c, queue, paused=paused))
        lane = core.dispatcher.lanes.get(queue)
        if lane is not None:
            lane.is_paused = paused
            core.stir(lane)
        core.peers.wake()

    async def _stop(self, grace: float) -> None:
        if self._is_stopped:
            return
        self._is_stopped = True
        core = self._core
        self._intake.is_open = False
        core.is_running = False
        await self._scheduler.aclose()
        await core.attempts.stop(grace)
        await self._upkeep.close()
        await self._leave()
        self.store.close()
        self._sweeper.close()
        await core.close()

    async def _leave(self) -> None:
        """Give back what is left, and the entry among the processes."""
        core = self._core

        def leave(connection: sqlite3.Connection) -> None:
            settle.return_all(
                connection, core.registration.id, now=core.time.ms(), keep=settle.KEEP
            )
            core.registration.leave(connection)

        try:
            await core.call(leave)
        except Exception as error:  # whoever comes next finds this process dead
            _log.warning("tasks.not_left", error=str(error))
        else:
            core.peers.wake()

    def _change(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        self._check_open()
        return self._core.call(work)

    def _check_open(self) -> None:
        if self._is_stopped:
            raise QueueStopped()

    def _ready_on_disk(self) -> None:
        self._core.look_at_disk()
        self._core.peers.wake()

    def _usual_execution(self, report: Callable[[int, Progress], None]) -> Executes:
        from penstock.tasks.execution.run import Execution

        return Execution(clock=self._core.clock, metrics=self._core.metrics, report=report)


def _number(job_id: str) -> int:
    number = job_number(job_id)
    if number is None:
        raise NotFound(f"there is no job {job_id[:80]}")
    return number
