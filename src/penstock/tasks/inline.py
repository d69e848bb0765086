"""An engine for users' own tests: `enqueue` returns when the job has ended.

Jobs go through the whole of another engine, records and retries included, so that what a test sees
is what will happen. A delay is not waited for. Jobs that a job enqueues run beside it, and whoever
enqueued the first one waits for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from penstock.tasks.context import ctx
from penstock.tasks.engine import Added, Engine, JobStore, NewJob
from penstock.tasks.job import JobRecord, ScheduleStatus
from penstock.tasks.task import Task


class InlineEngine:
    """Another engine whose `add` waits for the jobs."""

    def __init__(self, engine: Engine, store: JobStore, *, discard: Callable[[], None]) -> None:
        self._engine = engine
        self._store = store
        self._discard = discard
        self._ended: set[asyncio.Task[None]] = set()

    async def start(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        await self._engine.start(tasks)

    def add(self, jobs: Sequence[NewJob]) -> Awaitable[list[Added]]:
        for job in jobs:
            job.delay, job.run_at = 0.0, None
        return self._add(jobs, nested=ctx.job_id is not None)

    async def _add(self, jobs: Sequence[NewJob], *, nested: bool) -> list[Added]:
        added = await self._engine.add(jobs)
        for one in added:
            ended = asyncio.ensure_future(self._end_of(one.id))
            self._ended.add(ended)
            ended.add_done_callback(self._ended.discard)
        while self._ended and not nested:
            await asyncio.wait(set(self._ended))
        return added

    async def _end_of(self, job_id: str) -> None:
        async for record in self._store.watch(job_id):
            if record.is_final:
                return

    async def cancel(self, job_id: str) -> JobRecord:
        return await self._engine.cancel(job_id)

    async def retry(self, job_id: str) -> JobRecord:
        record = await self._engine.retry(job_id)
        await self._end_of(job_id)
        return await self._store.get(job_id) or record

    async def reprioritise(self, job_id: str, priority: int) -> JobRecord:
        return await self._engine.reprioritise(job_id, priority)

    async def pause(self, queue: str) -> None:
        await self._engine.pause(queue)

    async def resume(self, queue: str) -> None:
        await self._engine.resume(queue)

    async def pause_schedule(self, name: str, *, paused: bool) -> ScheduleStatus:
        return await self._engine.pause_schedule(name, paused=paused)

    async def fire(self, name: str) -> Added:
        added = await self._engine.fire(name)
        await self._end_of(added.id)
        return added

    async def prune(self, *, before: int | None = None) -> int:
        return await self._engine.prune(before=before)

    async def stop(self, *, grace: float) -> None:
        for ended in set(self._ended):
            ended.cancel()
        await self._engine.stop(grace=grace)
        self._discard()
