"""Sees that every batch that was accepted ends: a job may be lost, its items may not."""

from __future__ import annotations

from typing import Any, Final

from penstock.batch.operation import CANCELLED, ItemError
from penstock.batch.records import Batch
from penstock.batch.store import BatchStore
from penstock.batch.work import BatchWork
from penstock.clock import Clock
from penstock.errors import PenstockError, QueueStopped, StorageError
from penstock.observe.logging import get_logger
from penstock.tasks import JobRecord, Task, TaskQueue

BROKEN_OFF: Final = 600.0  # seconds after which a batch that never came in whole is given up
LOOK: Final = 30.0  # seconds between two looks at what is live

_log = get_logger(__name__)


class House:
    """Gives every live batch a job, or an end."""

    def __init__(
        self,
        *,
        store: BatchStore,
        work: BatchWork,
        queue: TaskQueue,
        task: Task[..., Any],
        clock: Clock,
    ) -> None:
        self._store = store
        self._work = work
        self._queue = queue
        self._task = task
        self._clock = clock

    async def keep(self) -> None:
        """Settle what is live, for ever; the owner cancels it."""
        while True:
            try:
                for batch in await self._store.live():
                    if not self._work.is_running(batch.id):
                        await self.settle(batch)
            except PenstockError as error:
                _log.warning("batch.house_not_kept", detail=error.detail)
            await self._clock.sleep(LOOK)

    async def settle(self, batch: Batch) -> Batch:
        """See that a live batch which nobody here works on is worked on, or ends."""
        job = None if batch.job_id is None else await self._queue.store.get(batch.job_id)
        if job is not None and not job.is_final:
            return batch
        fresh = await self._store.find(batch.id)  # it may have ended before its job did
        if fresh is None or fresh.is_final:
            return fresh or batch
        if fresh.status == "cancelling" or (job is not None and job.state == "cancelled"):
            error = ItemError(CANCELLED, "the batch was cancelled before this item was done")
            await self._work.end(fresh, "cancelled", error=error)
        elif job is not None and job.state == "failed":
            await self._work.end(fresh, "failed", error=_broken(job))
        elif fresh.job_id is None and not await self._is_whole(fresh):
            if self._clock.now() * 1000 - fresh.created_at < BROKEN_OFF * 1000:
                return fresh
            error = ItemError("incomplete", "the batch broke off while it came in; send it again")
            await self._work.end(fresh, "failed", error=error)
        else:
            return await self.enqueue(fresh)
        return await self._store.find(batch.id) or batch

    async def enqueue(self, batch: Batch) -> Batch:
        """Give a batch a job, or the one that it has already."""
        try:
            job = await self._queue.enqueue(
                self._task, (batch.id,), options={"owner": batch.owner, "batch_id": batch.id}
            )
        except (StorageError, QueueStopped) as error:  # it is on record: it will be settled
            _log.warning("batch.not_enqueued", batch=batch.id, detail=error.detail)
            return batch
        if job.id != batch.job_id:
            await self._store.set_job(batch.id, job.id)
        return await self._store.find(batch.id) or batch

    async def _is_whole(self, batch: Batch) -> bool:
        if batch.input_file_id is not None:
            return True
        return await self._store.stored(batch.id) >= batch.total > 0


def _broken(job: JobRecord) -> ItemError:
    why = f": {job.error.type}" if job.error is not None else ""
    return ItemError("internal", f"the job {job.id} of this batch failed{why}", 500)
