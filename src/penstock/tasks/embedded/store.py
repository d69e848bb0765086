"""Reads about jobs: by key inline, about many in a thread."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from penstock.errors import NotFound, QueueStopped, StorageError
from penstock.tasks.embedded import liveness
from penstock.tasks.embedded.connection import WRITE_PATIENCE, OpenFile, Reader
from penstock.tasks.embedded.faults import gone
from penstock.tasks.embedded.plan import read_schedules
from penstock.tasks.embedded.rows import COLUMNS, progress_of, record_of, worker_name
from penstock.tasks.embedded.states import CODES, NAMES
from penstock.tasks.embedded.watch import Poll, Watches
from penstock.tasks.job import (
    QUEUES,
    JobFilter,
    JobRecord,
    Progress,
    QueueStatus,
    ScheduleStatus,
    WorkerStatus,
    job_id,
    job_number,
)

MAX_PAGE: Final = 1_000
LONG: Final = 65_536  # characters of a result

_GET: Final = f"SELECT {COLUMNS}, result FROM job WHERE id = ?"
_RESULT: Final = "SELECT result FROM job WHERE id = ? AND state = 2"
_PROGRESS: Final = "SELECT progress FROM job WHERE id = ?"
# Of several at once, as one JSON text: see `backlog.py`. Long results are read one by one.
_SOME: Final = (
    f"SELECT json_group_array(json_array({COLUMNS}, result IS NULL, "
    f"CASE WHEN length(result) <= {LONG} THEN result END)) FROM job "
    "WHERE id IN (SELECT value FROM json_each(?))"
)
# From the index alone: a million waiting jobs are counted in 50 ms. The first of a priority is the
# oldest of it, but for those that were delayed.
_DEPTHS: Final = (
    "SELECT queue, priority, count, (SELECT run_at FROM job WHERE id = first) FROM (SELECT queue, "
    "priority, count(*) AS count, min(id) AS first FROM job WHERE state = 0 GROUP BY 1, 2)"
)
_DELAYED: Final = "SELECT queue, count(*) FROM job WHERE state = 6 GROUP BY 1"
_RUNNING: Final = "SELECT queue, count(*) FROM job WHERE state = 1 GROUP BY 1"
_HELD: Final = "SELECT worker, id FROM job WHERE state = 1 ORDER BY id"


class EmbeddedStore:
    """The read side of a job file.

    `live` tells the latest progress of a job that runs in this process, `is_here` whether a job
    runs in it.
    """

    def __init__(
        self,
        path: Path,
        *,
        watches: Watches,
        live: Callable[[int], Progress | None],
        is_here: Callable[[int], bool],
        limits: Mapping[str, int],
        declared: Container[str],
        now: Callable[[], int],
    ) -> None:
        self._path = path
        self._watches = watches
        self._live = live
        self._limits = limits
        self._declared = declared
        self._now = now
        self._file = OpenFile(path)
        self._near = Reader(path)
        self._far = Reader(path, patience=WRITE_PATIENCE)
        self._is_here = is_here
        self._poll = Poll(self._far, watches, is_here=is_here)
        watches.read = self._records
        self._is_closed = False

    async def get(self, job_id: str) -> JobRecord | None:
        number = job_number(job_id)
        return None if number is None else self._record(number)

    async def result(self, job_id: str) -> bytes | None:
        found = self._near.row(_RESULT, (job_number(job_id) or 0,))
        return None if found is None else str(found[0]).encode()

    async def page(
        self, filter: JobFilter, *, before: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        where, params = _condition(filter)
        if before is not None:
            where.append("id < ?")
            params.append(job_number(before) or 0)
        sql = f"SELECT {COLUMNS} FROM job {_where(where)} ORDER BY id DESC LIMIT ?"
        rows = await self._scan(sql, [*params, min(limit, MAX_PAGE)])
        return [self._fresh(record_of(row), row[0]) for row in rows]

    async def count(self, filter: JobFilter) -> dict[str, int]:
        where, params = _condition(filter)
        rows = await self._scan(
            f"SELECT state, count(*) FROM job {_where(where)} GROUP BY state", params
        )
        counts: dict[str, int] = {}
        for state, count in rows:
            counts[NAMES[state]] = counts.get(NAMES[state], 0) + count
        return counts

    async def health(self) -> str:
        if self._file.is_gone():
            return gone(self._path).detail
        try:
            await self._scan("SELECT 1 FROM worker LIMIT 1", [])
        except StorageError as error:
            return error.detail
        return ""

    async def queues(self) -> list[QueueStatus]:
        return await asyncio.to_thread(self._queues)

    async def workers(self) -> list[WorkerStatus]:
        return await asyncio.to_thread(self._workers)

    async def schedules(self) -> list[ScheduleStatus]:
        found: list[ScheduleStatus] = await asyncio.to_thread(
            self._far.run, lambda connection: read_schedules(connection, self._declared)
        )
        return found

    async def watch(self, job_id: str) -> AsyncIterator[JobRecord]:
        number = job_number(job_id)
        last: JobRecord | None = None
        with self._watches.on(number or 0) as watch:
            self._poll.start()
            while True:
                self._refuse_when_closed()
                record = None if number is None else self._record(number)
                if record is None:
                    if last is not None:
                        return  # it was forgotten meanwhile
                    raise NotFound(f"there is no job {job_id[:80]}")
                if record != last:
                    last = record
                    yield record
                if record.is_final:
                    return
                await watch.change()

    async def ended(self, job_id: str) -> JobRecord:
        number = job_number(job_id)
        if number is None:
            raise NotFound(f"there is no job {job_id[:80]}")
        self._refuse_when_closed()
        with self._watches.on_end(number) as end:
            self._poll.start()
            if not self._is_here(number):
                record = self._record(number)
                if record is None:
                    raise NotFound(f"there is no job {job_id[:80]}")
                if record.is_final:
                    return record
            return await end

    def progress(self, job_id: str) -> Progress:
        number = job_number(job_id) or 0
        live = self._live(number)
        if live is not None:
            return live
        found = self._near.row(_PROGRESS, (number,))
        return progress_of(found[0] if found else "")

    def close(self) -> None:
        """Read no more; who waits for a job is told."""
        self._is_closed = True
        self._poll.stop()
        self._near.close()
        self._far.close()
        self._watches.close(_stopped())

    def _refuse_when_closed(self) -> None:
        if self._is_closed:
            raise _stopped()

    def _record(self, number: int) -> JobRecord | None:
        row = self._near.row(_GET, (number,))
        if row is None:
            return None
        result = None if row[-1] is None else msgspec.json.decode(row[-1])
        return self._fresh(record_of(row, result=result), number)

    def _records(self, numbers: Sequence[int]) -> dict[int, JobRecord]:
        if len(numbers) == 1:
            record = self._record(numbers[0])
            return {} if record is None else {numbers[0]: record}
        wanted = msgspec.json.encode(numbers).decode()
        records = {}
        for row in msgspec.json.decode(self._near.rows(_SOME, (wanted,))[0][0]):
            *columns, is_null, result = row
            number = columns[0]
            if result is not None:
                records[number] = record_of(columns, result=msgspec.json.decode(result))
            elif is_null:
                records[number] = record_of(columns)
            else:
                found = self._record(number)
                if found is not None:
                    records[number] = found
        return records

    def _fresh(self, record: JobRecord, number: int) -> JobRecord:
        if record.state == "running":
            live = self._live(number)
            if live is not None:
                return msgspec.structs.replace(record, progress=live)
        return record

    async def _scan(self, sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
        return await asyncio.to_thread(self._far.rows, sql, params)

    def _queues(self) -> list[QueueStatus]:
        depths: dict[str, dict[int, int]] = {}
        oldest: dict[str, int] = {}
        for queue, priority, count, run_at in self._far.rows(_DEPTHS):
            depths.setdefault(queue, {})[priority] = count
            oldest[queue] = min(run_at, oldest.get(queue, run_at))
        delayed = dict(self._far.rows(_DELAYED))
        running = dict(self._far.rows(_RUNNING))
        paused = dict(self._far.rows("SELECT name, paused FROM queue"))
        now = self._now()
        others = sorted({*depths, *delayed, *running, *paused} - set(QUEUES))
        return [
            QueueStatus(
                name=name,
                paused=bool(paused.get(name)),
                queued=depths.get(name, {}),
                delayed=delayed.get(name, 0),
                running=running.get(name, 0),
                oldest_age_seconds=(max(0, now - oldest[name]) / 1000 if name in oldest else None),
                workers=self._limits.get(name, 0),
            )
            for name in (*QUEUES, *others)
        ]

    def _workers(self) -> list[WorkerStatus]:
        held: dict[int, list[str]] = {}
        for worker, number in self._far.rows(_HELD):
            held.setdefault(worker, []).append(job_id(number))
        rows = self._far.rows("SELECT id, pid, host, started_at FROM worker WHERE runs ORDER BY id")
        return [
            WorkerStatus(
                id=worker_name(number),
                pid=pid,
                host=host,
                started_at=started_at,
                alive=pid == os.getpid() or liveness.is_alive(self._path, number),
                running=tuple(held.get(number, ())),
            )
            for number, pid, host, started_at in rows
        ]


def _stopped() -> QueueStopped:
    return QueueStopped("the queue has stopped: who runs its jobs next will know")


def _condition(filter: JobFilter) -> tuple[list[str], list[Any]]:
    where: list[str] = []
    params: list[Any] = []
    if filter.states is not None:
        codes = [code for state in filter.states for code in CODES[state]]
        where.append(f"state IN ({', '.join(map(str, codes))})")
    for column, value in (
        ("queue", filter.queue),
        ("task", filter.task),
        ("owner", filter.owner),
        ("batch_id", filter.batch_id),
    ):
        if value is not None:
            where.append(f"{column} = ?")
            params.append(value)
            if column in ("owner", "batch_id"):
                where.append(f"{column} <> ''")
    if filter.created_before is not None:
        where.append("created_at < ?")
        params.append(filter.created_before)
    if filter.created_after is not None:
        where.append("created_at > ?")
        params.append(filter.created_after)
    return where, params


def _where(conditions: list[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""
