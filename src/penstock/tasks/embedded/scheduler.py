"""Fires schedules: every tick once, however many processes look at the same clock.

    due rows ─> BEGIN IMMEDIATE: insert the jobs, note the ticks in `fired`, move next_ms ─> COMMIT

The plan is in the file, not in the processes: whoever comes first fires and moves it on, the others
find nothing due. `fired` is the second lock: a plan that goes back, because the clock was set back,
meets the ticks that it has fired. What is due is seen on the wall clock, so a machine that slept or
whose clock was set right is on time again within `LOOK_EVERY`.

A process fires the schedules of the tasks that it declares. The last to start decides what a
schedule is; one that changed is planned anew from now. Nothing is made up for time in pause.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from penstock.clock import Clock
from penstock.errors import StorageError
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.tasks.embedded.plan import Fired, Insert, Plan
from penstock.tasks.engine import Added
from penstock.tasks.job import ScheduleStatus
from penstock.tasks.schedule import IN_TIME

if TYPE_CHECKING:
    from penstock.tasks.task import Task

T = TypeVar("T")

LOOK_EVERY: Final = 10.0  # seconds between looks at the plan, at most
SET_BACK: Final = 1_000  # milliseconds that the clock must go back to be noticed

_log = get_logger(__name__)


class Writing(Protocol):
    """Runs a function in a write transaction, on the thread that writes."""

    def __call__(self, work: Callable[[sqlite3.Connection], T], /) -> Awaitable[T]:
        """What the function returned, after COMMIT. Raises StorageError."""


class Scheduler:
    """Fires the schedules of some tasks in one process.

    `call` runs a function in a write transaction; `insert` adds ready jobs in the running one,
    from the same thread; `wake` is called on the loop when jobs were added. `clock` is the
    machine's own, not a time that the engine counts: people mean the time on the wall.
    """

    def __init__(
        self,
        call: Writing,
        *,
        insert: Insert,
        wake: Callable[[], None],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._call = call
        self._plan = Plan(insert, clock)
        self._wake = wake
        self._clock = clock
        self._metrics = metrics
        self._seen = 0  # on the wall clock, by the latest look
        self._changed = asyncio.Event()
        self._firing: asyncio.Task[None] | None = None

    async def start(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        """Declare the schedules of these tasks and fire them from now on."""
        await self.declare(tasks)
        if self._plan.jobs and self._firing is None:
            self._firing = asyncio.ensure_future(self._fire_for_ever())

    async def declare(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        """Put the schedules of these tasks into the plan.

        A new or changed one ticks for the first time after now; ticks that were missed while no
        process ran are dealt with as the schedule's `misfire` says.
        """
        for task in tasks.values():
            if task.schedule is not None:
                self._plan.jobs[task.name] = (task.schedule, task.new_job((), {}))
        if self._plan.jobs:
            self._seen = self._plan.now()
            await self._call(self._plan.declare)

    async def look(self) -> int | None:
        """Fire what is due; returns when the next tick is (milliseconds since 1970)."""
        now = self._plan.now()
        if now < self._seen - SET_BACK:
            _log.warning("schedule.clock_set_back", seconds=(self._seen - now) / 1000)
            since = now - int(LOOK_EVERY * 1000)  # it was set then, at the earliest
            await self._call(lambda connection: self._plan.plan_anew(connection, since))
        self._seen = now
        done = await self._call(self._plan.fire_due)
        if done.fired:
            self._wake()
            self._tell(done.fired)
        return done.next_ms

    async def pause(self, name: str, *, paused: bool) -> ScheduleStatus:
        """Stop firing a schedule, or go on with the next tick from now. Raises NotFound."""
        status = await self._call(lambda connection: self._plan.pause(connection, name, paused))
        self._changed.set()
        return status

    async def fire(self, name: str) -> Added:
        """Run a schedule's task now, beside its ticks, paused or not. Raises NotFound."""
        added = await self._call(lambda connection: self._plan.fire_now(connection, name))
        self._wake()
        return added

    async def aclose(self) -> None:
        """Fire no more."""
        firing, self._firing = self._firing, None
        if firing is not None:
            firing.cancel()
            with suppress(asyncio.CancelledError):
                await firing

    async def _fire_for_ever(self) -> None:
        while True:
            wait = LOOK_EVERY
            self._changed.clear()
            try:
                next_ms = await self.look()
            except StorageError as error:  # the plan is as it was: nothing is lost
                _log.warning("schedule.look_failed", detail=error.detail)
            except Exception:
                _log.exception("schedule.look_failed")
            else:
                if next_ms is not None:
                    wait = min(wait, max(0, next_ms - self._plan.now()) / 1000)
            if wait > 0:
                await self._rest(wait)

    async def _rest(self, wait: float) -> None:
        """Wait, but not when the plan changes."""
        ends = [
            asyncio.ensure_future(self._clock.sleep(wait)),
            asyncio.ensure_future(self._changed.wait()),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    def _tell(self, fired: list[Fired]) -> None:
        now = self._plan.now()
        for name, tick, job in fired:
            late = max(0, now - tick) / 1000
            self._metrics.count("penstock_schedule_ticks_total", task=name)
            self._metrics.observe("penstock_schedule_delay_seconds", late)
            tell = _log.info if late > IN_TIME else _log.debug
            tell("schedule.fired", schedule=name, tick=tick, job=job, late_seconds=late)
