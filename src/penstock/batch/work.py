"""Works through a stored batch: the body of its job.

    validating (a file's lines become items) ─► in_progress (what has no outcome yet) ─► end

Everything is written as it comes, so a process that takes over after a crash, a restart or a
failure of storage goes on where the last one stopped: what is finished never runs again, and what
was in flight is mostly in the cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Literal

import msgspec

from penstock.batch import output
from penstock.batch.bell import Bell
from penstock.batch.files import FileStore, lines_of
from penstock.batch.lines import Reading
from penstock.batch.operation import CANCELLED, EXPIRED, TIMEOUT, Answer, ItemError, Operation
from penstock.batch.operation import failure as failure_of
from penstock.batch.pace import AWAITED, Pace
from penstock.batch.progress import Meter
from penstock.batch.recorder import Recorder
from penstock.batch.records import (
    COMPLETED,
    FAILED,
    OUTPUT,
    Batch,
    File,
    FileError,
    NewItem,
    Status,
)
from penstock.batch.runner import Limits, Outcome, Run, run_batch
from penstock.batch.store import TOGETHER, BatchStore
from penstock.clock import Clock
from penstock.errors import BudgetExhausted, InvalidInput, PenstockError
from penstock.observe.metrics import Metrics
from penstock.tasks.context import ctx

PAGE: Final = 256  # items that are read at once
LOOK: Final = 1.0  # seconds between two looks whether to stop
ITEM_TIMEOUT: Final = 300.0  # seconds for one attempt at one item
RETRIES: Final = 5  # a batch has the time to wait for a provider
RETRIES_NOW: Final = 2  # somebody waits

BATCHES: Final = "penstock_batches_total"
ITEMS: Final = "penstock_batch_items_total"

Ending = Literal["done", "late", "cancelled"]
MaySpend = Callable[[str | None], Awaitable[None]]
"""Raises BudgetExhausted when the key with this id has spent what it may; StorageError."""

_encode = msgspec.json.Encoder().encode


class BatchWork:
    """Runs batches, one call of `run` at a time for each."""

    def __init__(
        self,
        *,
        store: BatchStore,
        files: FileStore,
        operations: Mapping[str, Operation],
        clock: Clock,
        metrics: Metrics,
        concurrency: int,
        max_items: int,
        keep: float,
        may_spend: MaySpend | None = None,
    ) -> None:
        self._store = store
        self._files = files
        self._operations = operations
        self._clock = clock
        self._metrics = metrics
        self._concurrency = concurrency
        self._max_items = max_items
        self._keep = keep
        self._may_spend = may_spend
        self.bell = Bell()
        self._stops: dict[str, asyncio.Event] = {}

    def is_running(self, batch_id: str) -> bool:
        """Whether this process works on it."""
        return batch_id in self._stops

    def stop(self, batch_id: str) -> None:
        """Look at once whether the batch was cancelled, if it runs here."""
        if batch_id in self._stops:
            self._stops[batch_id].set()

    async def run(self, batch_id: str) -> None:
        """Bring a batch to its end. Raises StorageError; then it can be called again."""
        batch = await self._store.find(batch_id)
        if batch is None or batch.is_final:
            return
        self._stops[batch_id] = asyncio.Event()
        try:
            await self._run(batch)
        finally:
            del self._stops[batch_id]
            self.bell.ring(batch_id)

    async def run_now(
        self,
        endpoint: str,
        requests: Sequence[Any],
        *,
        owner: str,
        key: str | None,
        time_limit: float,
    ) -> list[Outcome[Any]]:
        """Answer requests while somebody waits for them, in their order; stores nothing."""
        operation = self._operation(endpoint)

        async def answer(request: Any) -> Answer[Any]:
            if self._may_spend is not None:
                await self._may_spend(key)
            return await operation.run(request, owner=owner, key=key)

        outcomes = await run_batch(
            requests,
            answer,
            timeout=time_limit,
            key=operation.key,
            limits=self._limits(operation, retries=RETRIES_NOW),
            pace=Pace(self._clock, patience=AWAITED),
            clock=self._clock,
        )
        failed = sum(outcome.error is not None for outcome in outcomes)
        cached = sum(outcome.cached for outcome in outcomes)
        self._count(
            endpoint, computed=len(outcomes) - failed - cached, failed=failed, cached=cached
        )
        self._metrics.count(BATCHES, endpoint=endpoint, status="completed")
        return outcomes

    async def end(self, batch: Batch, status: Status, *, error: ItemError | None = None) -> None:
        """Give what still waits this error, make the outputs known, write the final state."""
        if error is not None:
            await self._store.close_items(batch.id, _encode(error))
        outputs = {state: await self._output(batch, state) for state in (COMPLETED, FAILED)}
        await self._store.end(
            batch.id,
            status,
            at=self._now(),
            output_file_id=outputs[COMPLETED],
            error_file_id=outputs[FAILED],
        )
        self._metrics.count(BATCHES, endpoint=batch.endpoint, status=status)

    async def _run(self, batch: Batch) -> None:
        if batch.status == "validating" and batch.input_file_id is not None:
            errors = await self._validate(batch, batch.input_file_id)
            if errors:
                await self._refuse(batch, errors)
                return
        if not await self._store.begin(batch.id, at=self._now()):
            await self._cancelled(batch)
            return
        match await self._work(batch):
            case "done" if await self._store.finalize(batch.id, at=self._now()):
                await self.end(batch, "completed")
            case "late":
                await self.end(batch, "expired", error=_late(batch))
            case _:
                await self._cancelled(batch)

    async def _cancelled(self, batch: Batch) -> None:
        error = ItemError(CANCELLED, "the batch was cancelled before this item was done")
        await self.end(batch, "cancelled", error=error)

    # --- validating ----------------------------------------------------------------------------

    async def _validate(self, batch: Batch, file_id: str) -> list[FileError]:
        """Make items of the lines; what is wrong with the file."""
        if await self._files.find(file_id) is None:
            return [FileError("file_not_found", f"there is no file {file_id!r}")]
        reading = Reading(endpoint=batch.endpoint, most=self._max_items)
        group: list[NewItem] = []
        async for item in reading.items(lines_of(self._files.pieces(file_id))):
            group.append(item)
            if len(group) == TOGETHER:
                await self._store.add_items(batch.id, group)
                group = []
        if not reading.errors:
            await self._store.add_items(batch.id, group)
            await self._store.set_total(batch.id, reading.total)
        return reading.errors

    async def _refuse(self, batch: Batch, errors: list[FileError]) -> None:
        await self._store.drop_items(batch.id)
        await self._store.end(batch.id, "failed", at=self._now(), errors=_encode(errors))
        self._metrics.count(BATCHES, endpoint=batch.endpoint, status="failed")

    # --- in progress ---------------------------------------------------------------------------

    async def _work(self, batch: Batch) -> Ending:
        completed, failed, cached = await self._store.recount(batch.id)
        fresh = await self._store.find(batch.id) or batch
        meter = Meter(
            self._clock,
            total=fresh.total,
            done=completed + failed,
            failed=failed,
            cached=cached,
        )
        ring = partial(self.bell.ring, batch.id)
        recorder = Recorder(self._store, batch.id, meter, on_written=ring)
        left = (batch.expires_at - self._now()) / 1000
        time = left if batch.time_limit is None else min(left, batch.time_limit)
        if time <= 0:
            return "late"
        draining = asyncio.ensure_future(self._drain(batch, recorder, time=time))
        recording = asyncio.ensure_future(recorder.record())
        watching = asyncio.ensure_future(self._watch(batch.id, meter))
        works = (draining, recording, watching)
        try:
            await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for work in works:
                work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            await recorder.flush()
            _tell(meter)
            new_failed, new_cached = meter.failed - failed, meter.cached - cached
            new = meter.done - completed - failed - new_failed - new_cached
            self._count(batch.endpoint, computed=new, failed=new_failed, cached=new_cached)
        for work in works:
            if not work.cancelled():
                work.result()  # raises what ended it, storage above all
        if draining.cancelled():
            return "cancelled"
        return "done" if draining.result() else "late"

    async def _drain(self, batch: Batch, recorder: Recorder, *, time: float) -> bool:
        operation = self._operation(batch.endpoint)

        async def answer(request: Any) -> Answer[Any]:
            return await operation.run(request, owner=batch.owner, key=batch.key_id)

        run: Run[Any, Any] = Run(
            answer,
            limits=self._limits(operation, retries=RETRIES),
            key=operation.key,
            on_outcome=recorder.add,
            clock=self._clock,
            pace=Pace(self._clock),
        )
        return await run.drain(self._requests(batch, operation, recorder), timeout=time)

    async def _requests(
        self, batch: Batch, operation: Operation, recorder: Recorder
    ) -> AsyncIterator[tuple[int, Any]]:
        """What has no outcome yet, read and checked.

        What cannot be read fails on the spot, and so does all that comes after the key's budget is
        used up. Raises StorageError while nobody can say whether it is.
        """
        start = 0
        while page := await self._store.waiting(batch.id, start=start, limit=PAGE):
            start = page[-1].number + 1
            for item in page:
                try:
                    request = operation.check(item.body)
                except PenstockError as error:
                    recorder.add(item.number, Outcome(error=failure_of(error)))
                    continue
                refusal = await self._refusal(batch.key_id)
                if refusal is None:
                    yield item.number, request
                else:
                    recorder.add(item.number, Outcome(error=refusal))
                    await asyncio.sleep(0)  # thousands of them may follow

    async def _refusal(self, key: str | None) -> ItemError | None:
        """Why the key may spend nothing now."""
        try:
            if self._may_spend is not None:
                await self._may_spend(key)
        except BudgetExhausted as error:
            return failure_of(error)
        return None

    async def _watch(self, batch_id: str, meter: Meter) -> None:
        """Return when the batch is to be cancelled, here or by another process."""
        stop = self._stops[batch_id]
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await stop.wait()
            stop.clear()
            _tell(meter)
            batch = await self._store.find(batch_id)
            if batch is None or batch.is_final or batch.status == "cancelling":
                return

    def _operation(self, endpoint: str) -> Operation:
        found = self._operations.get(endpoint)
        if found is None:  # another version accepted the batch: trying again would not help
            raise InvalidInput(f"no operation has the endpoint {endpoint!r} in this process")
        return found

    def _limits(self, operation: Operation, *, retries: int) -> Limits:
        # What computes here does so one at a time, and after requests.
        concurrency = self._concurrency if operation.waits else 1
        return Limits(concurrency=concurrency, item_timeout=ITEM_TIMEOUT, retries=retries)

    def _count(self, endpoint: str, **items: int) -> None:
        for outcome, number in items.items():
            self._metrics.count(ITEMS, number, endpoint=endpoint, outcome=outcome)

    # --- the end -------------------------------------------------------------------------------

    async def _output(self, batch: Batch, state: int) -> str | None:
        """Announce one of the two files, if anything is in it."""
        size = await output.size(self._store, batch.id, state=state)
        if not size:
            return None
        name = "output" if state == COMPLETED else "error"
        id = f"file-{name}-{batch.id.removeprefix('batch_')}"
        now = self._now()
        await self._files.add_output(
            File(
                id=id,
                owner=batch.owner,
                purpose=OUTPUT,
                name=f"{batch.id}_{name}.jsonl",
                size=size,
                batch_id=batch.id,
                created_at=now,
                expires_at=now + int(self._keep * 1000),
            )
        )
        return id

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


def _late(batch: Batch) -> ItemError:
    if batch.time_limit is not None:
        return ItemError(TIMEOUT, f"the batch ran out of its {batch.time_limit:g} s")
    window = batch.completion_window
    return ItemError(EXPIRED, f"the batch was not done within its window of {window}")


def _tell(meter: Meter) -> None:
    ctx.progress(meter.done, meter.total, failed=meter.failed, cached=meter.cached)
