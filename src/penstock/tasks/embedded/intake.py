"""Turns new jobs into rows, and starts at once what there is room for.

A job that meets a free place and nobody before it is stored as running in the very commit that
accepts it, so that from `enqueue` to its start there is one commit, not two.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Sequence
from typing import Final

from penstock.errors import QueueStopped, StorageUnavailable
from penstock.tasks.embedded import changes, statements
from penstock.tasks.embedded.backlog import HEAVY
from penstock.tasks.embedded.candidate import Candidate
from penstock.tasks.embedded.core import Core
from penstock.tasks.embedded.statements import INSERT_KEYED, NewRow
from penstock.tasks.embedded.states import DELAYED, READY, RUNNING
from penstock.tasks.embedded.writer import Insert
from penstock.tasks.engine import Added, NewJob
from penstock.tasks.job import job_id

MAX_OUTSTANDING: Final = 10_000  # adds that wait to be written


class Intake:
    """Accepts jobs for one process."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.is_open = True

    def add(self, jobs: Sequence[NewJob]) -> Awaitable[list[Added]]:
        """Accept jobs in one transaction. Raises QueueStopped, StorageError."""
        core = self._core
        if not self.is_open:
            raise QueueStopped("the queue takes no more jobs: its process is about to end")
        if core.outstanding >= MAX_OUTSTANDING:
            raise StorageUnavailable(
                f"{MAX_OUTSTANDING} enqueues wait to be written already; "
                "the disk is too slow for them"
            )
        now = core.time.ms()
        core.file.check(now)
        op = Insert(asyncio.get_running_loop().create_future())
        for job in jobs:
            self._take(op, job, now)
        core.outstanding += 1
        core.outbox.insert(op)
        return op.future

    def insert_all(self, connection: sqlite3.Connection, jobs: Sequence[NewJob]) -> list[Added]:
        """Add ready jobs in the running transaction, on the thread that writes."""
        now = self._core.time.ms()
        self._core.file.check(now)
        return [self._insert(connection, job, now) for job in jobs]

    def _insert(self, connection: sqlite3.Connection, job: NewJob, now: int) -> Added:
        number = self._core.numbers.next(now)
        row = _row(job, (number, now, now, _times(job, now)[1]))
        if job.key is None:
            statements.insert(connection, [row])
        elif not connection.execute(INSERT_KEYED, (*row, job.key)).rowcount:
            twin = changes.twin(connection, job.task, job.key, again=job.again)
            return Added(job_id(twin or 0), existed=True)
        return Added(job_id(number))

    def _take(self, op: Insert, job: NewJob, now: int) -> None:
        core = self._core
        number = core.numbers.next(now)
        public = job_id(number)
        run_at, deadline = _times(job, now)
        state, worker, once = READY if run_at == now else DELAYED, 0, 0
        candidate = None
        if state == READY:
            candidate = self._candidate(job, number, public, run_at, deadline)
        if candidate is None:
            op.wakes = True
        else:
            op.candidates.append(candidate)
            if self._claim(candidate):
                state, worker, once = RUNNING, core.registration.id, int(candidate.once)
            else:
                self._let_wait(candidate)
                op.wakes = True
        for due in (deadline, run_at if state == DELAYED else 0):
            if due:
                op.due = min(op.due or due, due)
        row = _row(job, (number, now, run_at, deadline), state=state, worker=worker, once=once)
        op.added.append(Added(public))
        if job.key is None:
            op.rows.append(row)
        else:
            self._take_keyed(op, job, row, len(op.added) - 1)

    def _claim(self, candidate: Candidate) -> bool:
        """Whether it starts with the commit that accepts it; its place is taken then."""
        lane = candidate.lane
        if candidate.task.rate is not None or not lane.is_idle or not self._core.is_running:
            return False
        lane.busy += 1
        candidate.attempt = 1
        self._core.attempts.held[candidate.number] = candidate
        return True

    def _let_wait(self, candidate: Candidate) -> None:
        candidate.lane.inserting += 1
        if len(candidate.arguments) > HEAVY:
            candidate.arguments = b""
            candidate.is_heavy = True

    def _take_keyed(self, op: Insert, job: NewJob, row: NewRow, index: int) -> None:
        number, key = row[0], job.key or ""

        def work(connection: sqlite3.Connection) -> None:
            op.twins.discard(number)
            op.added[index] = Added(job_id(number))
            if connection.execute(INSERT_KEYED, (*row, key)).rowcount:
                return
            twin = changes.twin(connection, job.task, key, again=job.again)
            if twin is not None:
                op.twins.add(number)
                op.added[index] = Added(job_id(twin), existed=True)

        op.keyed.append(work)

    def _candidate(
        self, job: NewJob, number: int, public: str, run_at: int, deadline: int
    ) -> Candidate | None:
        """The job as one that may run here; None if it may not."""
        core = self._core
        dispatcher = core.dispatcher
        lane = dispatcher.lanes.get(job.queue)
        task = dispatcher.task(job.task)
        if lane is None or task is None:
            return None
        return Candidate(
            number=number,
            job_id=public,
            task=task,
            arguments=job.arguments,
            attempt=0,
            done=core.attempts.done,
            owner=job.owner,
            request_id=job.request_id,
            trace_id=job.trace_id,
            lane=lane,
            meters=dispatcher.meters(job.queue, job.task),
            priority=job.priority,
            max_attempts=job.max_attempts,
            run_at=run_at,
            deadline=deadline,
            is_keyed=job.key is not None,
            once=task.at_most_once,
        )


def _times(job: NewJob, now: int) -> tuple[int, int]:
    """When it may start, and the deadline for that, 0 for none."""
    run_at = now
    if job.run_at is not None:
        run_at = max(now, job.run_at)
    elif job.delay > 0:
        run_at = now + int(job.delay * 1000)
    return run_at, 0 if job.expires is None else now + int(job.expires * 1000)


def _row(
    job: NewJob,
    times: tuple[int, int, int, int],
    *,
    state: int = READY,
    worker: int = 0,
    once: int = 0,
) -> NewRow:
    number, now, run_at, deadline = times
    runs = state == RUNNING
    # fmt: off
    return (
        number, job.task, job.queue, job.priority, state, int(runs), job.max_attempts,
        run_at, now, now if runs else 0, deadline, worker, once,
        job.owner or "", job.batch_id or "", job.request_id or "", job.trace_id or "",
        job.arguments.decode(),
    )
    # fmt: on
