"""An engine without workers, for tests and serverless: `enqueue` returns when the job has ended.

Jobs go through the whole of another engine, records and retries included, so that what a test sees
is what will happen. A delay is not waited for: the job runs at once. Jobs that a job enqueues run
beside it, and whoever enqueued the first one waits for all of them.

Not waited for, though they run while the process lives: an attempt that is due in more than
`PATIENCE`, a job enqueued for later whose task is among those that led to it, and what a paused
queue holds. A request must not hang for a webhook's seven hours.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from penstock.clock import Clock
from penstock.tasks.context import ctx
from penstock.tasks.engine import Added, Engine, JobStore, NewJob
from penstock.tasks.job import JobRecord, ScheduleStatus
from penstock.tasks.task import Task

PATIENCE: Final = 3.0  # seconds until a further attempt that is waited for
KNOWN: Final = 10_000  # jobs of which it is known what led to them


class _Tree:
    """A job that somebody waits for, and all that it led to."""

    __slots__ = ("ends", "ids")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.ends: set[asyncio.Task[None]] = set()


class InlineEngine:
    """Another engine whose `add` waits for the jobs."""

    def __init__(
        self, engine: Engine, store: JobStore, *, clock: Clock, discard: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._discard = discard
        self._trees: dict[str, _Tree] = {}  # by job
        self._waits: dict[asyncio.Task[None], str] = {}  # until the end of which job
        self._paused: set[str] = set()
        self._lines: OrderedDict[str, frozenset[str]] = OrderedDict()  # by job: see `_line_of`
        self._adding: set[asyncio.Future[None]] = set()

    async def start(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        await self._engine.start(tasks)

    def add(self, jobs: Sequence[NewJob]) -> Awaitable[list[Added]]:
        return self._add(jobs, parent=ctx.job_id)

    async def _add(self, jobs: Sequence[NewJob], *, parent: str | None) -> list[Added]:
        line = await self._line_of(parent)
        late = _hurry(jobs, line)
        adding = asyncio.get_running_loop().create_future()
        self._adding.add(adding)
        try:
            added = await self._engine.add(jobs)
            for n, one in enumerate(added):
                if n not in late and not one.existed:
                    self._lines[one.id] = line | {jobs[n].task}
        finally:
            self._adding.discard(adding)
            adding.set_result(None)
        while len(self._lines) > KNOWN:
            self._lines.popitem(last=False)
        await self._wait([one.id for n, one in enumerate(added) if n not in late], parent)
        return added

    async def _line_of(self, job_id: str | None) -> frozenset[str]:
        """Its task, and those of the jobs that led to it."""
        if job_id is None:
            return frozenset()
        if job_id not in self._lines and self._adding:
            await asyncio.wait(set(self._adding))  # a job may begin before it is known to be added
        if job_id not in self._lines:
            record = await self._store.get(job_id)
            return frozenset(() if record is None else (record.task,))
        return self._lines[job_id]

    async def _wait(self, ids: Iterable[str], parent: str | None) -> None:
        """Until these jobs have ended, or with the parent where that is waited for."""
        tree = _Tree() if parent is None else self._trees.get(parent)
        if tree is None:
            return
        for id in ids:
            if self._trees.setdefault(id, tree) is tree:
                tree.ids.append(id)
            end = asyncio.ensure_future(self._end_of(id))
            self._waits[end] = id
            tree.ends.add(end)
            end.add_done_callback(self._ended)
            end.add_done_callback(tree.ends.discard)
        if parent is not None:
            return
        try:
            while tree.ends:
                await asyncio.wait(set(tree.ends))
        finally:
            for id in tree.ids:
                self._trees.pop(id, None)

    def _ended(self, end: asyncio.Task[None]) -> None:
        del self._waits[end]
        if not end.cancelled():
            end.exception()  # that nobody can look is not the fault of who enqueued

    async def _end_of(self, job_id: str) -> None:
        async for record in self._store.watch(job_id):
            if record.is_final or self._rests(record):
                return

    def _rests(self, record: JobRecord) -> bool:
        """Whether it will not run for a while."""
        if record.state != "queued":
            return False
        due = self._clock.now() + PATIENCE
        return record.queue in self._paused or record.run_at > due * 1000

    async def cancel(self, job_id: str) -> JobRecord:
        return await self._engine.cancel(job_id)

    async def retry(self, job_id: str) -> JobRecord:
        record = await self._engine.retry(job_id)
        await self._wait([job_id], ctx.job_id)
        return await self._store.get(job_id) or record

    async def reprioritise(self, job_id: str, priority: int) -> JobRecord:
        return await self._engine.reprioritise(job_id, priority)

    async def pause(self, queue: str) -> None:
        await self._engine.pause(queue)
        self._paused.add(queue)
        for end, job_id in list(self._waits.items()):
            record = await self._store.get(job_id)
            if record is not None and self._rests(record):
                end.cancel()

    async def resume(self, queue: str) -> None:
        self._paused.discard(queue)
        await self._engine.resume(queue)

    async def pause_schedule(self, name: str, *, paused: bool) -> ScheduleStatus:
        return await self._engine.pause_schedule(name, paused=paused)

    async def fire(self, name: str) -> Added:
        added = await self._engine.fire(name)
        await self._wait([added.id], ctx.job_id)
        return added

    async def prune(self, *, before: int | None = None) -> int:
        return await self._engine.prune(before=before)

    async def stop(self, *, grace: float) -> None:
        for end in list(self._waits):
            end.cancel()
        await self._engine.stop(grace=grace)
        self._discard()


def _hurry(jobs: Sequence[NewJob], line: frozenset[str]) -> set[int]:
    """Take delays away; which keep theirs: tasks that come back would never rest."""
    late: set[int] = set()
    for n, job in enumerate(jobs):
        if job.delay > 0 or job.run_at is not None:
            if job.task in line:
                late.add(n)
            else:
                job.delay, job.run_at = 0.0, None
    return late
