"""One thread that writes, for any number of callers, in as few commits as the callers' pace allows.

    callers ── submit ──> queue ── all that waits ──> BEGIN, each caller's part, COMMIT ──> futures

There is no timer: a commit takes what came in while the one before it ran, so a lone write never
waits and a thousand share one. Each caller's statements are atomic and fail alone.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NamedTuple

from penstock.db.database import Call
from penstock.db.execution import Execution
from penstock.errors import StorageUnavailable
from penstock.observe.logging import get_logger

Outcome = int | Exception
Loop = asyncio.AbstractEventLoop

PATIENCE = 5.0  # seconds to wait for another process's lock
MAX_GROUP = 500  # callers per commit: bounds how long the first of them waits for the last

_log = get_logger("penstock.db")


class Job(NamedTuple):
    """What one caller wants written, and where to tell it; without a future nobody waits."""

    calls: Sequence[Call]
    loop: Loop | None = None
    future: asyncio.Future[int] | None = None
    probes: bool = False  # written only to see whether it can be


class Writer:
    """Owns `execution` and its connection: nothing else may touch them while the thread runs."""

    def __init__(
        self,
        execution: Execution,
        *,
        fault: Callable[[BaseException], Exception],
        on_outcome: Callable[[Sequence[Job], Sequence[Outcome]], None],
        max_waiting: int = 10_000,
    ) -> None:
        self._execution = execution
        self._raw = execution.raw
        self._fault = fault
        self._on_outcome = on_outcome
        self._max_waiting = max_waiting
        self._closing = False
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="penstock-db-writer", daemon=True)
        self._thread.start()

    def submit(self, calls: Sequence[Call], *, probes: bool = False) -> asyncio.Future[int]:
        """A future of the running loop, done after COMMIT with the number of changed rows.

        Raises StorageUnavailable when too many writes wait already.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._put(Job(calls, loop, future, probes))
        return future

    def submit_later(self, calls: Sequence[Call]) -> None:
        """Write without telling anybody; a failure is logged."""
        self._put(Job(calls))

    def close(self, timeout: float) -> bool:
        """Write what waits and end the thread; False when it is still busy after `timeout`."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _put(self, job: Job) -> None:
        if self._closing:
            raise StorageUnavailable("the database is closed")
        if self._queue.qsize() >= self._max_waiting:
            raise StorageUnavailable(
                f"{self._max_waiting} writes are waiting already; the disk is too slow for them"
            )
        self._queue.put(job)

    def _run(self) -> None:
        while True:
            group, last = self._wait()
            if group:
                try:
                    outcomes = self._commit(group)
                except Exception as error:  # nobody may be left waiting, whatever went wrong
                    _log.exception("db.writer_failed")
                    self._abandon()
                    outcomes = [self._fault(error)] * len(group)
                self._on_outcome(group, outcomes)
                _deliver(group, outcomes)
            if last:
                return

    def _wait(self) -> tuple[list[Job], bool]:
        """Everything that waits, at least one; and whether that is the end."""
        group: list[Job] = []
        job = self._queue.get()
        try:
            while job is not None:
                group.append(job)
                if len(group) == MAX_GROUP:
                    return group, False
                job = self._queue.get_nowait()
        except Empty:
            return group, False
        return group, True

    def _commit(self, group: Sequence[Job]) -> list[Outcome]:
        try:
            self._execution.run("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return [self._fault(error) for _ in group]
        outcomes: list[Outcome] = []
        for job in group:
            outcomes.append(self._attempt(job))
            if not self._raw.in_transaction:
                return self._one_by_one(group, outcomes)
        try:
            self._execution.run("COMMIT")
        except sqlite3.Error as error:
            self._abandon()
            return self._one_by_one(group, [self._fault(error)])
        return outcomes

    def _one_by_one(self, group: Sequence[Job], outcomes: list[Outcome]) -> list[Outcome]:
        """SQLite gave up the whole transaction (no space, bad disk): find out who can be served."""
        if len(group) == 1:
            return outcomes
        return [outcome for job in group for outcome in self._commit([job])]

    def _abandon(self) -> None:
        with suppress(sqlite3.Error):  # there is nothing left to abandon then
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")

    def _attempt(self, job: Job) -> Outcome:
        # A single statement that fails undoes itself; several need a mark to go back to.
        nested = len(job.calls) > 1 or any(isinstance(params, list) for _, params in job.calls)
        try:
            if nested:
                self._raw.execute("SAVEPOINT job")
            changed = sum(self._execution.change(*call) for call in job.calls)
            if nested:
                self._raw.execute("RELEASE job")
        except Exception as error:  # the caller's own: what it raises goes back to it
            if nested and self._raw.in_transaction:
                self._raw.execute("ROLLBACK TO job")
                self._raw.execute("RELEASE job")
            return self._fault(error)
        return changed


def _deliver(group: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
    """Tell every caller on its own loop, with one wake-up per loop."""
    told: defaultdict[Loop, list[tuple[asyncio.Future[int], Outcome]]] = defaultdict(list)
    for job, outcome in zip(group, outcomes, strict=True):
        if job.loop is not None and job.future is not None:
            told[job.loop].append((job.future, outcome))
        elif isinstance(outcome, Exception):
            _log.warning("db.unattended_write_failed", error=str(outcome))
    for loop, settled in told.items():
        try:
            loop.call_soon_threadsafe(_settle, settled)
        except RuntimeError:
            _log.debug("db.caller_gone", writes=len(settled))  # its loop is closed


def _settle(settled: Sequence[tuple[asyncio.Future[int], Outcome]]) -> None:
    for future, outcome in settled:
        if future.done():
            continue  # its caller was cancelled
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
