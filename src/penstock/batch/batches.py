"""`Batches`: accepts batches, tells how far they are, cancels them, and sees that each one ends.

    create ─► stored with its items ─► job "batch.run" ─► work.py ─► ended
                                          └─ lost, failed or cancelled by other hands ─► settle

A batch is durable when it is accepted. Its job may be lost, its items may not: whoever keeps house
(`keep_house`) gives every live batch a job again, or an end.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.batch import output
from penstock.batch.files import FileStore
from penstock.batch.house import House
from penstock.batch.operation import Operation
from penstock.batch.records import COMPLETED, FAILED, Batch, Done, File, Item, NewItem
from penstock.batch.runner import Outcome
from penstock.batch.store import TOGETHER, BatchStore
from penstock.batch.work import BatchWork, MaySpend
from penstock.cache.keys import fingerprint
from penstock.clock import Clock
from penstock.db import Database
from penstock.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    StorageError,
)
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.tasks import Task, TaskQueue, declare

RETRIES: Final = 20  # of the job: after a crash or a failure of storage it goes on, not anew
CHANGED: Final = 0.5  # seconds between two looks of those who watch

_log = get_logger(__name__)
_encode = msgspec.json.Encoder().encode


class Batches:
    """The batches of an installation. `keep` is how long they and their files stay, seconds."""

    def __init__(
        self,
        *,
        database: Database,
        queue: TaskQueue,
        operations: Iterable[Operation],
        clock: Clock,
        metrics: Metrics,
        concurrency: int = 16,
        max_items: int = 50_000,
        keep: float = 30 * 86_400.0,
        may_spend: MaySpend | None = None,
    ) -> None:
        self.files = FileStore(database, clock=clock, keep=keep)
        self.operations: Mapping[str, Operation] = {each.endpoint: each for each in operations}
        self.max_items = max_items
        self.concurrency = concurrency
        self._store = BatchStore(database)
        self._queue = queue
        self._clock = clock
        self._work = BatchWork(
            store=self._store,
            files=self.files,
            operations=self.operations,
            clock=clock,
            metrics=metrics,
            concurrency=concurrency,
            max_items=max_items,
            keep=keep,
            may_spend=may_spend,
        )
        self._task = _declare(self._work)
        self._house = House(
            store=self._store, work=self._work, queue=queue, task=self._task, clock=clock
        )

    def tasks(self) -> list[Task[..., Any]]:
        """What a worker needs to run batches."""
        return [self._task]

    # --- in --------------------------------------------------------------------------------------

    async def create(
        self,
        items: Sequence[NewItem],
        *,
        endpoint: str,
        owner: str,
        key_id: str | None = None,
        digest: str,
        id: str | None = None,
        window: float = 86_400.0,
        window_name: str = "24h",
        time_limit: float | None = None,
        metadata: bytes | None = None,
        options: bytes = b"{}",
    ) -> Batch:
        """Accept a batch; durable when it returns.

        With an `id` (see `id_of`) that was there with the same `digest`, that batch as it is now.
        Raises InvalidInput for another digest, and StorageError.
        """
        batch = self._new(
            id,
            endpoint=endpoint,
            owner=owner,
            key_id=key_id,
            digest=digest,
            total=len(items),
            window=window,
            window_name=window_name,
            time_limit=time_limit,
            metadata=metadata,
            options=options,
        )
        known = await self.repeated(batch.id, digest=batch.digest)
        if known is not None and known.job_id is not None:
            return known
        if known is None:
            known = await self._add(batch, items[:TOGETHER])
        for start in range(TOGETHER, len(items), TOGETHER):
            await self._store.add_items(batch.id, items[start : start + TOGETHER])
        return await self._house.enqueue(known)

    async def create_from_file(
        self,
        file_id: str,
        *,
        endpoint: str,
        owner: str,
        key_id: str | None = None,
        digest: str,
        id: str | None = None,
        window: float = 86_400.0,
        window_name: str = "24h",
        metadata: bytes | None = None,
    ) -> Batch:
        """As `create`, of an uploaded file; its lines are read by the job."""
        batch = self._new(
            id,
            endpoint=endpoint,
            owner=owner,
            key_id=key_id,
            digest=digest,
            input_file_id=file_id,
            window=window,
            window_name=window_name,
            metadata=metadata,
        )
        known = await self.repeated(batch.id, digest=batch.digest)
        if known is not None and known.job_id is not None:
            return known
        return await self._house.enqueue(known or await self._add(batch, ()))

    async def repeated(self, id: str, *, digest: str) -> Batch | None:
        """The batch that this request made before. Raises InvalidInput when it was another."""
        known = await self._store.find(id)
        if known is not None and known.digest != digest:
            raise InvalidInput(
                "the Idempotency-Key was used for another request; send a new key with a new batch"
            )
        return known

    async def run_now(
        self,
        endpoint: str,
        requests: Sequence[Any],
        *,
        owner: str,
        key: str | None = None,
        time_limit: float,
    ) -> list[Outcome[Any]]:
        """Answer requests while somebody waits for them, in their order; stores nothing."""
        return await self._work.run_now(
            endpoint, requests, owner=owner, key=key, time_limit=time_limit
        )

    async def record(
        self,
        outcomes: Sequence[Outcome[Any]],
        *,
        id: str,
        endpoint: str,
        owner: str,
        key_id: str | None = None,
        digest: str,
        started_at: int,
        options: bytes = b"{}",
        expired: bool = False,
    ) -> Batch:
        """Keep a batch that was answered in its request, so that it can be asked for later."""
        done = [_done(number, outcome) for number, outcome in enumerate(outcomes)]
        failed = sum(one.state == FAILED for one in done)
        now = self._now()
        batch = Batch(
            id=id,
            owner=owner,
            key_id=key_id,
            endpoint=endpoint,
            status="expired" if expired else "completed",
            completion_window="24h",
            digest=digest,
            options=options,
            total=len(done),
            completed=len(done) - failed,
            failed=failed,
            cached=sum(one.cached for one in done),
            created_at=started_at,
            expires_at=started_at + 86_400_000,
            in_progress_at=started_at,
            finalizing_at=now,
            ended_at=now,
        )
        try:
            await self._store.add_finished(batch, done)
        except (StorageError, Conflict) as error:  # the caller has the answers all the same
            _log.warning("batch.not_recorded", batch=id, detail=error.detail)
        return batch

    def check_endpoint(self, endpoint: str) -> None:
        """Raise InvalidInput for an endpoint whose requests cannot be sent in batches."""
        known = [name for name in self.operations if name.startswith("/v1/")]
        if endpoint not in known:
            raise InvalidInput(
                f"no operation has the endpoint {endpoint[:80]!r}; known: {', '.join(known)}",
                errors=[{"pointer": "/endpoint", "detail": "is not known"}],
            )

    # --- out -------------------------------------------------------------------------------------

    async def find(self, batch_id: str, *, owner: str | None) -> Batch:
        """A batch as it is now; `owner` None may see everyone's. Raises NotFound and Forbidden."""
        batch = await self._store.find(batch_id)
        if batch is None:
            raise NotFound(f"there is no batch {batch_id[:80]!r}")
        if owner is not None and batch.owner != owner:
            raise Forbidden(f"the batch {batch.id} is someone else's")
        if not batch.is_final and not self._work.is_running(batch.id):
            return await self._house.settle(batch)
        return batch

    async def page(
        self, *, owner: str | None, after: Batch | None = None, limit: int = 20
    ) -> list[Batch]:
        """Batches, newest first, older than `after`; `owner` None: everyone's."""
        place = None if after is None else (after.created_at, after.id)
        return await self._store.page(owner=owner, after=place, limit=limit)

    async def items(self, batch: Batch, *, start: int = 0, limit: int = 100) -> list[Item]:
        """What the items came to, in order from number `start` on, up to the first that waits."""
        found = await self._store.items(batch.id, start=start, limit=limit)
        waiting = next((n for n, item in enumerate(found) if not item.state), len(found))
        return found[:waiting]

    def lines(self, batch: Batch, *, state: int | None = None) -> AsyncIterator[bytes]:
        """The outcomes as OpenAI's lines; `state` chooses those with an answer or an error."""
        return output.lines(self._store, batch.id, state=state)

    def content(self, file: File) -> AsyncIterator[bytes]:
        """The bytes of an uploaded file, or of a batch's output."""
        if file.batch_id is None:
            return self.files.pieces(file.id)
        state = COMPLETED if "-output-" in file.id else FAILED
        return output.lines(self._store, file.batch_id, state=state)

    async def watch(self, batch_id: str, *, owner: str | None) -> AsyncIterator[Batch]:
        """The batch now and after every change, ending with its final state."""
        last: Batch | None = None
        while last is None or not last.is_final:
            batch = await self.find(batch_id, owner=owner)
            if batch != last:
                yield batch
            last = batch
            if not batch.is_final:
                await self._work.bell.wait(batch_id, CHANGED)

    # --- the end ---------------------------------------------------------------------------------

    async def cancel(self, batch: Batch) -> Batch:
        """Ask a batch to end; what is done stays. Raises Conflict when it has ended already."""
        if not await self._store.cancel(batch.id, at=self._now()):
            now = await self._store.find(batch.id) or batch
            if now.status == "cancelling":
                return now
            raise Conflict(f"the batch is {now.status}: there is nothing left to cancel")
        self._work.stop(batch.id)
        if batch.job_id is not None and not self._work.is_running(batch.id):
            try:
                await self._queue.cancel(batch.job_id)
            except (NotFound, Conflict):
                _log.debug("batch.job_gone", batch=batch.id, job=batch.job_id)
        return await self.find(batch.id, owner=None)

    async def purge(self, before: int) -> int:
        """Forget batches that ended before an instant, and files whose time is over; how many."""
        return await self._store.purge(before) + await self.files.purge()

    async def keep_house(self) -> None:
        """Resume what was left, for ever; the owner cancels it."""
        await self._house.keep()

    # --- in, step by step ------------------------------------------------------------------------

    def _new(
        self, id: str | None, *, total: int = 0, window: float, window_name: str, **fields: Any
    ) -> Batch:
        now = self._now()
        return Batch(
            id=id or new_id(),
            status="validating",
            total=total,
            completion_window=window_name,
            created_at=now,
            expires_at=now + int(window * 1000),
            **fields,
        )

    async def _add(self, batch: Batch, items: Sequence[NewItem]) -> Batch:
        try:
            await self._store.add(batch, items)
        except Conflict:  # the same request, a moment earlier
            known = await self.repeated(batch.id, digest=batch.digest)
            if known is None:
                raise
            return known
        return batch

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


def _declare(work: BatchWork) -> Task[..., Any]:
    @declare(
        name="batch.run",
        priority="low",
        retries=RETRIES,
        backoff=(1.0, 60.0),
        key="{batch_id}",
        resumes=True,
    )
    async def run(batch_id: str) -> None:
        await work.run(batch_id)

    return run


def new_id() -> str:
    """An id for a batch that nobody will ask for twice."""
    return f"batch_{secrets.token_hex(16)}"


def id_of(*parts: object) -> str:
    """The id of a batch that is the same whenever these parts are."""
    return f"batch_{fingerprint(*parts)}"


def _done(number: int, outcome: Outcome[Any]) -> Done:
    if outcome.error is not None:
        return Done(number, FAILED, False, _encode(outcome.error))
    return Done(number, COMPLETED, outcome.cached, _encode(outcome.value))
