"""The queries of batches and their items; the only SQL about them.

Outcomes are written where an item still waits, so that a process that was taken for dead and comes
back changes nothing. With its outcome an item loses its body: what was asked is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from penstock.batch.records import COMPLETED, FAILED, WAITING, Batch, Done, Item, NewItem, Status
from penstock.db import Database

TOGETHER: Final = 1000  # items in one transaction, so that other writes pass between
DELETED_AT_ONCE: Final = 500

_COLUMNS = ", ".join(Batch.__struct_fields__)
_INSERT = (
    f"INSERT INTO batch_batches ({_COLUMNS}) "
    f"VALUES ({', '.join('?' * len(Batch.__struct_fields__))})"
)
_FIND = f"SELECT {_COLUMNS} FROM batch_batches WHERE id = ?"
_PAGE = f"""
SELECT {_COLUMNS} FROM batch_batches WHERE (created_at, id) < (?, ?)
ORDER BY created_at DESC, id DESC LIMIT ?
"""
_PAGE_OWNED = f"""
SELECT {_COLUMNS} FROM batch_batches WHERE owner = ? AND (created_at, id) < (?, ?)
ORDER BY created_at DESC, id DESC LIMIT ?
"""
_LIVE = f"SELECT {_COLUMNS} FROM batch_batches WHERE ended_at IS NULL ORDER BY created_at"
_ADD_ITEM = """
INSERT INTO batch_items (batch_id, number, custom_id, state, cached, body)
VALUES (?, ?, ?, 0, false, ?) ON CONFLICT DO NOTHING
"""
_ADD_DONE = """
INSERT INTO batch_items (batch_id, number, state, cached, outcome) VALUES (?, ?, ?, ?, ?)
"""
_STORED = "SELECT count(*) FROM batch_items WHERE batch_id = ?"
_SET_JOB = "UPDATE batch_batches SET job_id = ? WHERE id = ?"
_SET_TOTAL = "UPDATE batch_batches SET total = ? WHERE id = ?"
_BEGIN = """
UPDATE batch_batches SET status = 'in_progress', in_progress_at = coalesce(in_progress_at, ?)
WHERE id = ? AND status IN ('validating', 'in_progress', 'finalizing')
"""
_WAITING = """
SELECT number, body, custom_id FROM batch_items
WHERE batch_id = ? AND number >= ? AND state = 0 ORDER BY number LIMIT ?
"""
_FINISH_ITEM = """
UPDATE batch_items SET state = ?, cached = ?, outcome = ?, body = NULL
WHERE batch_id = ? AND number = ? AND state = 0
"""
_ADD_COUNTS = """
UPDATE batch_batches SET completed = completed + ?, failed = failed + ?, cached = cached + ?,
rate = ? WHERE id = ? AND ended_at IS NULL
"""
_COUNT = """
SELECT count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 2),
count(*) FILTER (WHERE cached), count(*)
FROM batch_items WHERE batch_id = ?
"""
_SET_COUNTS = "UPDATE batch_batches SET completed = ?, failed = ?, cached = ? WHERE id = ?"
_CANCEL = """
UPDATE batch_batches SET status = 'cancelling', cancelling_at = ?
WHERE id = ? AND ended_at IS NULL AND status NOT IN ('cancelling', 'finalizing')
"""
_FINALIZE = """
UPDATE batch_batches SET status = 'finalizing', finalizing_at = ?
WHERE id = ? AND status IN ('in_progress', 'finalizing')
"""
_CLOSE_ITEMS = """
UPDATE batch_items SET state = 2, outcome = ?, body = NULL
WHERE batch_id = ? AND state = 0 AND number IN (
    SELECT number FROM batch_items WHERE batch_id = ? AND state = 0 LIMIT ?
)
"""
_DROP_ITEMS = """
DELETE FROM batch_items WHERE batch_id = ? AND number IN (
    SELECT number FROM batch_items WHERE batch_id = ? LIMIT ?
)
"""
_END = """
UPDATE batch_batches SET status = ?, ended_at = ?, completed = ?, failed = ?, cached = ?, total = ?,
output_file_id = ?, error_file_id = ?, errors = ? WHERE id = ? AND ended_at IS NULL
"""
_ITEMS = """
SELECT number, custom_id, state, cached, outcome FROM batch_items
WHERE batch_id = ? AND number >= ? ORDER BY number LIMIT ?
"""
_PURGE_ITEMS = """
DELETE FROM batch_items WHERE (batch_id, number) IN (
    SELECT i.batch_id, i.number FROM batch_items i JOIN batch_batches b ON b.id = i.batch_id
    WHERE b.created_at < ? AND b.ended_at IS NOT NULL LIMIT ?
)
"""
_PURGE = """
DELETE FROM batch_batches WHERE id IN (
    SELECT id FROM batch_batches WHERE created_at < ? AND ended_at IS NOT NULL LIMIT ?
)
"""
_LAST = (1 << 62, "")  # behind every (created_at, id), and small enough for SQLite


class BatchStore:
    """Asks about and changes `batch_batches` and `batch_items`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, batch: Batch, items: Sequence[NewItem] = ()) -> None:
        """Write a batch, with its items if they are few enough for one transaction.

        Raises Conflict when its id is taken, and StorageError.
        """
        rows = [(batch.id, item.number, item.custom_id, item.body) for item in items]
        adding = (_INSERT, msgspec.structs.astuple(batch))
        await self._database.write(adding, (_ADD_ITEM, rows), serial=False)

    async def add_finished(self, batch: Batch, done: Sequence[Done]) -> None:
        """Write a batch that was answered in its request. Raises Conflict and StorageError."""
        rows = [(batch.id, one.number, one.state, one.cached, one.outcome) for one in done]
        adding = (_INSERT, msgspec.structs.astuple(batch))
        await self._database.write(adding, (_ADD_DONE, rows), serial=False)

    async def add_items(self, batch_id: str, items: Sequence[NewItem]) -> None:
        """Write further items; those that are there already stay as they are."""
        rows = [(batch_id, item.number, item.custom_id, item.body) for item in items]
        await self._database.write((_ADD_ITEM, rows))

    async def stored(self, batch_id: str) -> int:
        """How many items are there."""
        return int((await self._database.scan(_STORED, (batch_id,)))[0][0])

    async def set_total(self, batch_id: str, total: int) -> None:
        """Say how many items there are."""
        await self._database.write((_SET_TOTAL, (total, batch_id)))

    async def set_job(self, batch_id: str, job_id: str) -> None:
        """Remember which job works on the batch."""
        await self._database.write((_SET_JOB, (job_id, batch_id)))

    async def find(self, batch_id: str) -> Batch | None:
        """One batch."""
        row = await self._database.row(_FIND, (batch_id,))
        return None if row is None else _batch(row)

    async def page(
        self, *, owner: str | None, after: tuple[int, str] | None = None, limit: int
    ) -> list[Batch]:
        """Batches, newest first, older than `after` (created_at, id); `owner` None: everyone's."""
        place = (*(after or _LAST), limit)
        if owner is None:
            rows = await self._database.rows(_PAGE, place)
        else:
            rows = await self._database.rows(_PAGE_OWNED, (owner, *place))
        return [_batch(row) for row in rows]

    async def live(self) -> list[Batch]:
        """All batches that have not ended, oldest first."""
        return [_batch(row) for row in await self._database.scan(_LIVE)]

    async def begin(self, batch_id: str, *, at: int) -> bool:
        """Mark a batch as being worked on; False when it was cancelled or has ended."""
        return await self._database.write((_BEGIN, (at, batch_id))) == 1

    async def waiting(self, batch_id: str, *, start: int, limit: int) -> list[NewItem]:
        """Items without an outcome, in order, from number `start` on."""
        rows = await self._database.scan(_WAITING, (batch_id, start, limit))
        return [NewItem(number, body, custom_id) for number, body, custom_id in rows]

    async def finish(self, batch_id: str, done: Sequence[Done], *, rate: float) -> None:
        """Write outcomes and count them, in one transaction.

        In the order of the items, so that two processes that do so wait for each other, no more.
        """
        done = sorted(done, key=lambda one: one.number)
        rows = [(one.state, one.cached, one.outcome, batch_id, one.number) for one in done]
        completed = sum(one.state == COMPLETED for one in done)
        cached = sum(one.cached for one in done)
        counts = (completed, len(done) - completed, cached, rate, batch_id)
        await self._database.write((_FINISH_ITEM, rows), (_ADD_COUNTS, counts), serial=False)

    async def recount(self, batch_id: str) -> tuple[int, int, int]:
        """Count completed, failed and cached items anew: after a crash they may have drifted."""
        completed, failed, cached, _ = await self._count(batch_id)
        counts = (completed, failed, cached)
        await self._database.write((_SET_COUNTS, (*counts, batch_id)))
        return counts

    async def cancel(self, batch_id: str, *, at: int) -> bool:
        """Mark a batch to be cancelled; False when it is too late or was done already."""
        return await self._database.write((_CANCEL, (at, batch_id))) == 1

    async def finalize(self, batch_id: str, *, at: int) -> bool:
        """Mark a batch whose items are all done; False when it was cancelled or ended meanwhile."""
        return await self._database.write((_FINALIZE, (at, batch_id))) == 1

    async def close_items(self, batch_id: str, error: bytes) -> None:
        """Give every item that still waits this error."""
        while await self._database.write((_CLOSE_ITEMS, (error, batch_id, batch_id, TOGETHER))):
            pass

    async def drop_items(self, batch_id: str) -> None:
        """Forget the items of a batch that is refused."""
        while await self._database.write((_DROP_ITEMS, (batch_id, batch_id, DELETED_AT_ONCE))):
            pass

    async def end(
        self,
        batch_id: str,
        status: Status,
        *,
        at: int,
        output_file_id: str | None = None,
        error_file_id: str | None = None,
        errors: bytes | None = None,
    ) -> None:
        """Write the final state, once; counts are taken from the items, `total` too."""
        counts = await self._count(batch_id)
        files = (output_file_id, error_file_id, errors)
        await self._database.write((_END, (status, at, *counts, *files, batch_id)))

    async def items(self, batch_id: str, *, start: int, limit: int) -> list[Item]:
        """Items in order, from number `start` on."""
        rows = await self._database.scan(_ITEMS, (batch_id, start, limit))
        return [Item(number, custom, state, bool(c), out) for number, custom, state, c, out in rows]

    async def purge(self, before: int) -> int:
        """Delete batches that were made before an instant and have ended; how many."""
        while await self._database.write((_PURGE_ITEMS, (before, DELETED_AT_ONCE))):
            pass
        total = 0
        while deleted := await self._database.write((_PURGE, (before, DELETED_AT_ONCE))):
            total += deleted
        return total

    async def _count(self, batch_id: str) -> tuple[int, int, int, int]:
        """Completed, failed, cached, all."""
        completed, failed, cached, total = (await self._database.scan(_COUNT, (batch_id,)))[0]
        return completed, failed, cached, total


def _batch(row: tuple[Any, ...]) -> Batch:
    return Batch(**dict(zip(Batch.__struct_fields__, row, strict=True)))


assert (WAITING, COMPLETED, FAILED) == (0, 1, 2)  # the queries say so
