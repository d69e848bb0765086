"""What is known about jobs, read from Redis: the same in processes that run jobs and in others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from typing import Any, Final, get_args

import msgspec

from penstock.clock import Clock
from penstock.errors import NotFound, QueueStopped, StorageUnavailable
from penstock.tasks.celery.address import Address
from penstock.tasks.celery.health import ALIVE, Described, QueueHealth
from penstock.tasks.celery.plan import status_of
from penstock.tasks.celery.records import NO_PROGRESS, progress_of, record_of
from penstock.tasks.celery.remote import Remote
from penstock.tasks.celery.scripts import RECORD
from penstock.tasks.celery.watch import Watches
from penstock.tasks.job import (
    JobFilter,
    JobRecord,
    Progress,
    QueueStatus,
    ScheduleStatus,
    State,
    WorkerStatus,
    job_id,
    job_number,
)
from penstock.tasks.numbers import EPOCH

STATES: Final[tuple[State, ...]] = get_args(State)
MAX_PAGE: Final = 1000
CHUNK: Final = 500  # jobs that are looked at in one round trip
OUTAGE: Final = 60.0  # seconds without Redis that who waits for a job does not hear of
KNOWN: Final = 10_000  # jobs whose latest progress is remembered here
SKEW: Final = 60_000  # milliseconds that the clocks of processes may differ


class CeleryStore:
    """The read side; `declared` are the tasks of this process."""

    def __init__(
        self, address: Address, remote: Remote, *, declared: Collection[str], clock: Clock
    ) -> None:
        self._address = address
        self._remote = remote
        self._declared = declared
        self._health = QueueHealth(address, remote, clock=clock)
        self._progress: OrderedDict[str, Progress] = OrderedDict()
        self._watches: Watches | None = None
        self._is_closed = False

    async def get(self, job_id: str) -> JobRecord | None:
        if job_number(job_id) is None:
            return None
        *row, result = await self._remote.fields(job_id, (*RECORD, "result"))
        decoded = None if result is None else msgspec.json.decode(result)
        return self._noted(record_of(job_id, row, result=decoded))

    async def result(self, job_id: str) -> bytes | None:
        state, result = await self._remote.fields(job_id, ("state", "result"))
        return result if state == b"completed" else None

    async def page(
        self, filter: JobFilter, *, before: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        limit = min(limit, MAX_PAGE)
        found: list[JobRecord] = []
        async for record in self._walk(filter, before=before, chunk=min(limit, CHUNK)):
            found.append(record)
            if len(found) >= limit:
                break
        return found

    async def count(self, filter: JobFilter) -> dict[str, int]:
        by = _indexes(filter)
        states = filter.states or STATES
        if len(by) == 1 and filter.created_before is None and filter.created_after is None:
            keys = [self._index(state, by[0]) for state in states]
            counts = await self._remote.pipe([("ZCARD", key) for key in keys])
            return {state: count for state, count in zip(states, counts, strict=True) if count}
        told: dict[str, int] = {}
        async for record in self._walk(filter):
            told[record.state] = told.get(record.state, 0) + 1
        return told

    async def health(self) -> str:
        """Why no job can be added, or nobody takes any; one round trip."""
        return await self._health.told()

    async def queues(self) -> list[QueueStatus]:
        workers = [told for _, told, age in (await self._workers())[0] if age < ALIVE]
        return [
            QueueStatus(
                name=name.decode(),
                paused=bool(paused),
                queued=dict(zip(counts[::2], counts[1::2], strict=True)),
                delayed=delayed,
                running=running,
                oldest_age_seconds=None if age < 0 else age / 1000,
                workers=sum(one.concurrency for one in workers if name.decode() in one.queues),
                unknown={
                    task.decode(): count
                    for task, count in zip(lacking[::2], lacking[1::2], strict=True)
                },
            )
            for name, paused, delayed, running, age, counts, lacking in await self._remote.ask(
                "rounds", "queues"
            )
        ]

    async def workers(self) -> list[WorkerStatus]:
        known, running = await self._workers()
        return [
            WorkerStatus(
                id=node,
                pid=told.pid,
                host=told.host,
                started_at=told.started_at,
                alive=age < ALIVE,
                running=tuple(sorted(job.decode() for job, at in running if at.decode() == node)),
            )
            for node, told, age in known
        ]

    async def schedules(self) -> list[ScheduleStatus]:
        found = [
            status_of(name.decode(), row, self._declared)
            for name, row in await self._remote.ask("intake", "schedules")
        ]
        return sorted(found, key=lambda status: status.name)

    async def watch(self, job_id: str) -> AsyncIterator[JobRecord]:
        watches = self._open()
        last: JobRecord | None = None
        async with watches.on(job_id) as watch:
            while True:
                self._open()
                try:
                    record = await self.get(job_id)
                except StorageUnavailable:
                    if last is None or not await watches.is_back(OUTAGE):
                        raise
                    continue
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
        self._open()
        record = await self.get(job_id)  # most that are asked for one by one have ended
        if record is not None and record.is_final:
            return record
        async for record in self.watch(job_id):
            if record.is_final:
                return record
        raise NotFound(f"there is no job {job_id[:80]}; its record may have expired")

    def progress(self, job_id: str) -> Progress:
        return self._progress.get(job_id, NO_PROGRESS)

    def _heard(self, job_id: str, said: str) -> None:
        """Something was said about a job: a state, or how far it is."""
        if said.startswith("{"):
            self.note(job_id, progress_of(said))

    def note(self, job_id: str, progress: Progress) -> None:
        """Remember how far a job is."""
        known = self._progress
        known[job_id] = progress
        known.move_to_end(job_id)
        if len(known) > KNOWN:
            known.popitem(last=False)

    def _noted(self, record: JobRecord | None) -> JobRecord | None:
        if record is not None and (record.progress != NO_PROGRESS or record.id in self._progress):
            self.note(record.id, record.progress)
        return record

    async def aclose(self) -> None:
        """Read no more; who waits for a job is told."""
        self._is_closed = True
        if self._watches is not None:
            await self._watches.aclose()

    def _open(self) -> Watches:
        if self._is_closed:
            raise QueueStopped("the queue has stopped: who runs its jobs next will know")
        if self._watches is None:
            self._watches = Watches(self._address, self._remote, heard=self._heard)
        return self._watches

    async def _workers(self) -> tuple[list[tuple[str, Described, int]], list[Any]]:
        known, running = await self._remote.ask("rounds", "workers")
        told = []
        for node, text, age in known:
            with suppress(msgspec.MsgspecError):  # a newer version wrote it
                told.append((node.decode(), msgspec.json.decode(text, type=Described), age))
        return told, running

    def _index(self, state: str, by: str) -> str:
        return f"{self._remote.prefix}jobs:{state}:{by}"

    async def _walk(
        self, filter: JobFilter, *, before: str | None = None, chunk: int = CHUNK
    ) -> AsyncIterator[JobRecord]:
        """What the filter means, newest first; many are looked at where it names several things."""
        by = await self._narrowest(filter)
        below = f"({before}" if before else "+"
        if filter.created_before is not None and not before:
            below = f"({_id_at(filter.created_before + SKEW)}"
        above = "-" if filter.created_after is None else f"[{_id_at(filter.created_after - SKEW)}"
        while True:
            ids = await self._ids(by, filter.states or STATES, below, above, chunk)
            rows = await self._remote.fields_of(ids, RECORD)
            for one, row in zip(ids, rows, strict=True):
                record = record_of(one, row)
                if record is not None and _is_meant(record, filter):
                    yield record
            if len(ids) < chunk:
                return
            below = f"({ids[-1]}"

    async def _ids(
        self, by: str, states: Collection[State], below: str, above: str, limit: int
    ) -> list[str]:
        keys = [self._index(state, by) for state in states]
        ranges = await self._remote.pipe(
            [("ZREVRANGEBYLEX", key, below, above, "LIMIT", 0, limit) for key in keys]
        )
        found = sorted({one.decode() for part in ranges for one in part}, reverse=True)
        return found[:limit]

    async def _narrowest(self, filter: JobFilter) -> str:
        by = _indexes(filter)
        if len(by) == 1:
            return by[0]
        states = filter.states or STATES
        counts = await self._remote.pipe(
            [("ZCARD", self._index(state, one)) for one in by for state in states]
        )
        sizes = [sum(counts[at : at + len(states)]) for at in range(0, len(counts), len(states))]
        return by[sizes.index(min(sizes))]


def _indexes(filter: JobFilter) -> list[str]:
    """The indexes that a filter could be answered from."""
    named = (
        ("queue", filter.queue),
        ("task", filter.task),
        ("owner", filter.owner),
        ("batch", filter.batch_id),
    )
    return [f"{name}:{value}" for name, value in named if value is not None] or [""]


def _is_meant(record: JobRecord, filter: JobFilter) -> bool:
    """Whether a record is; it may have changed since its id was read."""
    wanted = (
        (filter.queue, record.queue),
        (filter.task, record.task),
        (filter.owner, record.owner),
        (filter.batch_id, record.batch_id),
    )
    return (
        all(asked is None or asked == has for asked, has in wanted)
        and (filter.states is None or record.state in filter.states)
        and (filter.created_before is None or record.created_at < filter.created_before)
        and (filter.created_after is None or record.created_at > filter.created_after)
    )


def _id_at(ms: int) -> str:
    return job_id(max(0, ms - EPOCH) << 22)
