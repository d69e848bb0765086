"""The queries of what the items of a case say: each distinct content once.

The words are kept only where the policy wants it, and as long as it says.
"""

from __future__ import annotations

from typing import Any, Final

from penstock.db import Database
from penstock.db.database import Call
from penstock.services.review.schemas import Content

AT_ONCE: Final = 500  # rows per transaction, so that other writes pass between

_KEPT = """content_until = CASE
        WHEN review_contents.content IS NULL
        THEN coalesce({source}content_until, review_contents.content_until)
        ELSE review_contents.content_until END,
    content = coalesce(review_contents.content, {source}content)"""
_ADD = f"""
INSERT INTO review_contents
    (case_id, content_hash, risk, category, content, content_until, created_at)
SELECT :case_id, :content_hash, CAST(:risk AS DOUBLE PRECISION), :category, :content,
    CAST(:content_until AS BIGINT), CAST(:created_at AS BIGINT)
WHERE changes() = 1
ON CONFLICT (case_id, content_hash) DO UPDATE SET
    category = CASE WHEN excluded.risk > review_contents.risk
        THEN excluded.category ELSE review_contents.category END,
    risk = CASE WHEN excluded.risk > review_contents.risk
        THEN excluded.risk ELSE review_contents.risk END,
    {_KEPT.format(source="excluded.")}
"""
_GIVE = f"""
UPDATE review_contents SET {_KEPT.format(source=":")}
WHERE case_id = :case_id AND content_hash = :content_hash AND changes() = 1
"""
_SEAL = """
UPDATE review_contents SET content = NULL WHERE case_id = :id AND (
    content_until <= :at OR (SELECT kind FROM review_cases WHERE id = :id) <> 'review'
)
"""
_OF = """
SELECT k.content_hash, found.verdict_id, found.items, k.risk, k.category, k.content, k.content_until
FROM review_contents k JOIN (
    SELECT content_hash, min(verdict_id) AS verdict_id, count(*) AS items
    FROM review_items WHERE case_id = :id GROUP BY content_hash
) found ON found.content_hash = k.content_hash
WHERE k.case_id = :id ORDER BY k.created_at, found.verdict_id LIMIT :limit
"""
_DROP_OLD = """
UPDATE review_contents SET content = NULL WHERE (case_id, content_hash) IN (
    SELECT case_id, content_hash FROM review_contents
    WHERE content IS NOT NULL AND content_until <= ? LIMIT ?
)
"""


class ContentStore:
    """Asks about and changes `review_contents`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, content: Content, *, case_id: str, at: int) -> Call:
        """The statement that notes what an item says, if the one before it changed a case."""
        return _ADD, _params(content, case_id, at)

    def give(self, content: Content, *, case_id: str, at: int) -> Call:
        """The statement that adds the words of what a case has, likewise."""
        return _GIVE, _params(content, case_id, at)

    def seal(self, case_id: str, *, at: int) -> Call:
        """The statement that takes words away as a case is decided, unless they may stay longer.

        Those that came with an appeal were for who decides it.
        """
        return _SEAL, {"id": case_id, "at": at}

    async def of(self, case_id: str, *, limit: int) -> list[Content]:
        """What the items of a case say, in order of arrival."""
        rows = await self._database.scan(_OF, {"id": case_id, "limit": limit})
        fields = Content.__struct_fields__
        return [Content(**dict(zip(fields, row, strict=False))) for row in rows]

    async def purge(self, now: int) -> int:
        """Take words away that are not to be kept any longer; of how many contents."""
        total = 0
        while changed := await self._database.write((_DROP_OLD, (now, AT_ONCE))):
            total += changed
        return total


def _params(content: Content, case_id: str, at: int) -> dict[str, Any]:
    return {
        "case_id": case_id,
        "content_hash": content.content_hash,
        "risk": content.risk,
        "category": content.category,
        "content": content.content,
        "content_until": content.content_until,
        "created_at": at,
    }
