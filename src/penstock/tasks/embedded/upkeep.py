"""What a process that runs jobs looks after: what comes due, who died, what others changed."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Collection, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from penstock.errors import StorageError
from penstock.observe.logging import get_logger
from penstock.tasks.embedded import changes, settle
from penstock.tasks.embedded.alarm import Alarm
from penstock.tasks.embedded.connection import fold_log
from penstock.tasks.embedded.core import Core
from penstock.tasks.embedded.faults import gone
from penstock.tasks.embedded.liveness import dead, lock_path
from penstock.tasks.embedded.wake import Ear

ROUND: Final = 1.0  # seconds
RESCUE_EVERY: Final = 2  # rounds
LOG_BYTES: Final = 4 << 20  # size of the write-ahead log from which it is folded in

_CANCELLING: Final = "SELECT id FROM job WHERE state = 1 AND worker = ? AND cancelling = 1"

_READY: Final = "SELECT 1 FROM job WHERE state = 0 AND queue = ? LIMIT 1"
_OTHERS: Final = "SELECT id FROM worker UNION SELECT worker FROM job WHERE state = 1"

_log = get_logger("penstock.tasks")


class Survey(NamedTuple):
    """What the file says that this process should know."""

    version: int  # changes when another connection writes
    cancelling: list[int]  # of the jobs that run here
    paused: set[str]
    next_due: int | None
    ready: set[str]  # queues in which jobs wait


class Upkeep:
    """The rounds of one process."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._version = -1
        self._due = Alarm(core.clock, self._ring)
        self._ear = Ear(core.path, core.registration.id, woken=self._woken)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_surveying = False
        self._is_woken = False
        self._is_gone = False
        self._unusable: set[int] = set()  # processes of which nobody can tell whether they live
        self._folding: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look at everything once, and again for as long as the process lives."""
        core = self._core
        loop = core.bind()
        await core.call(core.registration.runs_jobs)
        self._ear.open(loop)
        core.due = self.due
        core.peers.wake()  # they learn of this process
        await self._round(rescues=True)
        self._keep(self._rounds())

    async def close(self) -> None:
        """Look after nothing any more."""
        self._due.close()
        self._ear.close()
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def due(self, ms: int) -> None:
        """Something is due at `ms`, in the engine's time."""
        core = self._core
        self._due.set(core.clock.monotonic() + max(0, ms - core.time.ms()) / 1000)

    async def rescue(self) -> int:
        """Take over the jobs of processes that died; how many there were."""
        core = self._core
        rescued = 0
        for (worker,) in core.reader.rows(_OTHERS):
            if worker == core.registration.id:
                continue
            numbers = await self._take_over(worker)
            if numbers is None:
                continue
            core.peers.forget()
            for number in numbers:
                core.watches.changed(number)
            rescued += len(numbers)
            if numbers:
                core.metrics.count("penstock_jobs_rescued_total", len(numbers))
                _log.warning("tasks.jobs_rescued", worker=worker, jobs=len(numbers))
        if rescued:
            core.look_at_disk()
            core.peers.wake()
        return rescued

    async def _take_over(self, worker: int) -> list[int] | None:
        """The jobs of a process that died; None if it lives, or nobody can tell."""
        core = self._core
        try:
            with dead(core.path, worker) as is_dead:
                if not is_dead:
                    return None
                return await core.call(partial(_bury, worker=worker, now=core.time.ms()))
        except OSError as error:
            if worker not in self._unusable:
                self._unusable.add(worker)
                place = lock_path(core.path, worker)
                _log.error(
                    "tasks.worker_lock_unusable",
                    worker=worker,
                    error=str(error),
                    advice=f"nobody can tell whether it lives; if it does not, remove {place}",
                )
            return None

    async def _rounds(self) -> None:
        number = 0
        while True:
            await self._core.clock.sleep(ROUND)
            number += 1
            await self._round(rescues=number % RESCUE_EVERY == 0)

    async def _round(self, *, rescues: bool) -> None:
        try:
            self._core.time.follow()
            self._look_at_file()
            await self._survey()
            if rescues:
                await self.rescue()
            await self._look_for_elders()
            self._fold_log()
        except (StorageError, OSError) as error:
            _log.warning("tasks.upkeep_failed", error=str(error))
        except Exception:  # a process without rounds rescues nobody
            _log.exception("tasks.upkeep_failed")

    def _look_at_file(self) -> None:
        is_gone = self._core.file.is_gone()
        if is_gone and not self._is_gone:
            _log.error("tasks.file_gone", error=gone(self._core.path).detail)
        self._is_gone = is_gone

    def _woken(self) -> None:
        self._core.peers.forget()
        if self._is_surveying:
            self._is_woken = True
        else:
            self._keep(self._survey_when_woken())

    async def _survey_when_woken(self) -> None:
        try:
            await self._survey()
        except StorageError as error:
            _log.warning("tasks.upkeep_failed", error=str(error))

    async def _survey(self) -> None:
        self._is_surveying = True
        queues = list(self._core.dispatcher.lanes)
        survey = partial(_survey, worker=self._core.registration.id, queues=queues)
        try:
            self._is_woken = True
            while self._is_woken:
                self._is_woken = False
                self._heed(await self._core.outbox.look(survey))
        finally:
            self._is_surveying = False

    def _heed(self, survey: Survey) -> None:
        core = self._core
        if survey.version == self._version:
            return
        self._version = survey.version
        for number in survey.cancelling:
            core.attempts.cancel(number)
        for lane in core.dispatcher.lanes.values():
            lane.is_paused = lane.name in survey.paused
        if survey.next_due is not None:
            self.due(survey.next_due)
        core.look_at_disk(survey.ready)

    def _ring(self) -> None:
        self._keep(self._come_due())

    async def _come_due(self) -> None:
        core = self._core
        try:
            moved = await core.call(lambda c: changes.come_due(c, now=core.time.ms()))
        except StorageError as error:
            _log.warning("tasks.delayed_not_moved", error=str(error))
            self._due.set(core.clock.monotonic() + ROUND)
            return
        for number in moved.expired:
            core.dispatcher.discard(number)
            core.watches.changed(number)
        if moved.next_at is not None:
            self.due(moved.next_at)
        if moved.promoted:
            core.look_at_disk()
            core.peers.wake()

    async def _look_for_elders(self) -> None:
        core = self._core
        now = core.time.ms()
        for lane in core.dispatcher.lanes.values():
            if lane.busy >= lane.limit and (lane.horizon is not None or lane.has_elder(now)):
                await core.backlog.read_elders(lane)

    def _fold_log(self) -> None:
        log = self._core.path.with_name(self._core.path.name + "-wal")
        with suppress(OSError):
            if log.stat().st_size >= LOG_BYTES and self._folding is None:
                self._folding = asyncio.ensure_future(self._fold())
                self._keep_task(self._folding)

    async def _fold(self) -> None:
        try:
            await asyncio.to_thread(fold_log, self._core.path)
        except sqlite3.Error as error:
            _log.debug("tasks.log_not_folded", error=str(error))
        finally:
            self._folding = None

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        self._keep_task(asyncio.ensure_future(work))

    def _keep_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _survey(connection: sqlite3.Connection, *, worker: int, queues: Collection[str]) -> Survey:
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    cancelling = connection.execute(_CANCELLING, (worker,)).fetchall()
    paused = connection.execute("SELECT name FROM queue WHERE paused").fetchall()
    return Survey(
        version=version,
        cancelling=[number for (number,) in cancelling],
        paused={name for (name,) in paused},
        next_due=changes.next_due(connection),
        ready={name for name in queues if connection.execute(_READY, (name,)).fetchone()},
    )


def _bury(connection: sqlite3.Connection, *, worker: int, now: int) -> list[int]:
    numbers = settle.lost(connection, worker, now=now, keep=settle.KEEP)
    connection.execute("DELETE FROM worker WHERE id = ?", (worker,))
    return numbers
