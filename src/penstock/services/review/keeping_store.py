"""The queries of what is kept after a decision and for how long: examples, purging, erasure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from penstock.db import Database
from penstock.db.database import Call
from penstock.services.review.alone_store import Alone
from penstock.services.review.schemas import Decision, Example
from penstock.services.review.similar import bands

AT_ONCE: Final = 500  # rows per transaction, so that other writes pass between

_EXAMPLE_COLUMNS = ", ".join(Example.__struct_fields__)
_LEARN = f"""
INSERT INTO review_examples ({_EXAMPLE_COLUMNS})
SELECT 'ex_' || substr(i.content_hash, 1, 32), c.id, k.content, i.content_hash, k.category,
    min(i.decision), CAST(:decision AS TEXT), min(i.user_id), CAST(:at AS BIGINT)
FROM review_items i JOIN review_cases c ON c.id = i.case_id
LEFT JOIN review_contents k ON k.case_id = i.case_id AND k.content_hash = i.content_hash
WHERE i.case_id = :id AND c.kind = 'appeal'
AND i.decision IN ('approved', 'rejected') AND i.decision <> :decision
GROUP BY i.content_hash, c.id, k.content, k.category
ON CONFLICT (content_hash) DO UPDATE SET
    case_id = excluded.case_id,
    content = coalesce(excluded.content, review_examples.content),
    was = excluded.was,
    decision = excluded.decision,
    created_at = excluded.created_at
"""
_EXAMPLES = f"""
SELECT {_EXAMPLE_COLUMNS} FROM review_examples
WHERE (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?
"""
_OLD = """
SELECT id, owner, signature FROM review_cases
WHERE decided_at < ? AND settled_at IS NOT NULL LIMIT ?
"""
_OLD_EXAMPLES = """
DELETE FROM review_examples WHERE id IN (
    SELECT id FROM review_examples WHERE created_at < ? LIMIT ?
)
"""
_DROP_ITEMS = "DELETE FROM review_items WHERE case_id = ?"
_DROP_CONTENTS = "DELETE FROM review_contents WHERE case_id = ?"
_DROP_EVENTS = "DELETE FROM review_events WHERE case_id = ?"
_DROP_BAND = "DELETE FROM review_bands WHERE band = ? AND case_id = ?"
_DROP_CASE = "DELETE FROM review_cases WHERE id = ?"
_ABOUT = """
SELECT DISTINCT case_id FROM review_items WHERE user_id = ? ORDER BY case_id LIMIT ?
"""
_ERASE_CONTENT = """
UPDATE review_contents SET content = NULL WHERE case_id = :id
AND content_hash IN (
    SELECT content_hash FROM review_items WHERE case_id = :id AND user_id = :user_id
)
"""
_ERASE_ITEMS = "DELETE FROM review_items WHERE case_id = ? AND user_id = ?"
_ERASE_WORDS = "UPDATE review_events SET detail = '' WHERE case_id = ? AND action = 'appealed'"
_ERASE_CONTENTS = """
DELETE FROM review_contents WHERE case_id = :id
AND content_hash NOT IN (SELECT content_hash FROM review_items WHERE case_id = :id)
"""
_SHRINK = """
UPDATE review_cases SET
    items = (SELECT count(*) FROM review_items WHERE case_id = review_cases.id),
    contents = (SELECT count(*) FROM review_contents WHERE case_id = review_cases.id)
WHERE id = ?
"""
_EMPTY = "SELECT id, owner, signature FROM review_cases WHERE items = 0 AND id IN ({places})"
_ERASE_EXAMPLES = "DELETE FROM review_examples WHERE user_id = ?"


class KeepingStore:
    """Asks about and changes `review_examples`, and removes what is over."""

    def __init__(self, database: Database, alone: Alone) -> None:
        self._database = database
        self._alone = alone

    def learn(self, case_id: str, *, decision: Decision, at: int) -> Call:
        """The statement that remembers what is being overturned.

        It belongs before the decision of an appeal, which takes the content away.
        """
        return _LEARN, {"id": case_id, "decision": decision, "at": at}

    async def examples(self, *, after: tuple[int, str] | None, limit: int) -> list[Example]:
        """What people overturned, oldest first, later than `after` (created_at, id)."""
        rows = await self._database.scan(_EXAMPLES, (*(after or (-1, "")), limit))
        return [Example(**dict(zip(Example.__struct_fields__, row, strict=True))) for row in rows]

    async def purge(self, before: int) -> int:
        """Delete cases decided and examples made before an instant; how many."""
        total = await self._repeat(_OLD_EXAMPLES, before)
        while old := await self._database.scan(_OLD, (before, AT_ONCE)):
            await self._drop(old)
            total += len(old)
        return total

    async def erase(self, user_id: str) -> int:
        """Delete what is about a user, and cases that are about nobody else; how much that was.

        A case that others are in as well loses what the user said, and what appeals said.
        """
        total = 0
        while found := await self._database.scan(_ABOUT, (user_id, AT_ONCE)):
            ids = [row[0] for row in found]
            about = [{"id": id, "user_id": user_id} for id in ids]
            await self._alone.write(
                (_ERASE_CONTENT, about),
                (_ERASE_ITEMS, [(id, user_id) for id in ids]),
                (_ERASE_CONTENTS, about),
                (_ERASE_WORDS, [(id,) for id in ids]),
                (_SHRINK, [(id,) for id in ids]),
            )
            total += len(ids)
            sql = _EMPTY.format(places=", ".join("?" * len(ids)))
            await self._drop(await self._database.scan(sql, ids))
        return total + await self._database.write((_ERASE_EXAMPLES, (user_id,)))

    async def _drop(self, cases: Sequence[tuple[Any, ...]]) -> None:
        ids = [(id,) for id, _, _ in cases]
        placed = [
            (band, id)
            for id, owner, signature in cases
            if signature
            for band in bands(signature, owner=owner)
        ]
        if not ids:
            return
        await self._alone.write(
            (_DROP_BAND, placed),
            (_DROP_ITEMS, ids),
            (_DROP_CONTENTS, ids),
            (_DROP_EVENTS, ids),
            (_DROP_CASE, ids),
        )

    async def _repeat(self, sql: str, until: int) -> int:
        total = 0
        while changed := await self._database.write((sql, (until, AT_ONCE))):
            total += changed
        return total
