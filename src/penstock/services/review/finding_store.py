"""The queries by which a verdict, or what is alike, is found in cases: while somebody waits.

SQLite answers them on the loop, so each is answered by keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.db import Database
from penstock.db.dialect import each
from penstock.services.review.schemas import Case

MOST_LOOKED_AT: Final = 500  # that share a band
MOST_CANDIDATES: Final = 100  # of these, that are compared in full

OWNED: Final = "(CAST(:owner AS TEXT) IS NULL OR owner = :owner)"
"""A condition: what belongs to an owner, or to anybody."""

_CASE_COLUMNS = ", ".join(f"c.{name}" for name in Case.__struct_fields__)

# A plus keeps SQLite from looking through all live cases instead of going by the keys.
_WAITS = """
SELECT 1 FROM review_items i JOIN review_cases c ON c.id = i.case_id
WHERE i.verdict_id = ? AND i.key_id = ?
AND (+c.decided_at IS NULL OR (c.settled_at IS NULL AND +c.decided_at > ?)) LIMIT 1
"""
_LIVE = f"""
SELECT {_CASE_COLUMNS} FROM review_items i JOIN review_cases c ON c.id = i.case_id
WHERE i.verdict_id = :verdict_id AND (CAST(:key_id AS TEXT) IS NULL OR i.key_id = :key_id)
AND +c.decided_at IS NULL LIMIT 1
"""
_HEARD = f"""
SELECT {_CASE_COLUMNS} FROM review_items i JOIN review_cases c ON c.id = i.case_id
WHERE i.verdict_id = ? AND i.appealed_at IS NOT NULL AND +c.decided_at IS NOT NULL LIMIT 1
"""
_APPEALS = """
SELECT count(*) FROM (
    SELECT 1 FROM review_cases WHERE decided_at IS NULL AND kind = 'appeal' AND owner = ? LIMIT ?
) counted
"""
_SAME = f"""
SELECT {_CASE_COLUMNS} FROM review_items i JOIN review_cases c ON c.id = i.case_id
WHERE i.content_hash = ? AND i.owner = ? GROUP BY c.id
ORDER BY c.decided_at IS NOT NULL, c.created_at DESC LIMIT 20
"""
_NEAR = f"""
SELECT {_CASE_COLUMNS} FROM (
    SELECT DISTINCT b.case_id FROM {{probes}} p JOIN review_bands b ON b.band = p.value
    LIMIT {MOST_LOOKED_AT}
) found JOIN review_cases c ON c.id = found.case_id AND c.owner = ?
ORDER BY c.decided_at IS NOT NULL, c.created_at DESC LIMIT {MOST_CANDIDATES}
"""


class FindingStore:
    """Asks which cases an item is in, or could be."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._near = _NEAR.format(probes=each(database.dialect, "?", "bigint"))

    async def waits(self, verdict_id: str, *, key_id: str, since: int) -> bool:
        """Whether people are to decide on a verdict for a key, or did since and it is being done.

        Reads by primary key: every answer `review` asks this.
        """
        return await self._database.row(_WAITS, (verdict_id, key_id, since)) is not None

    async def live(self, verdict_id: str, *, key_id: str | None = None) -> Case | None:
        """The case in which a verdict (for a key) waits for people."""
        row = await self._database.row(_LIVE, {"verdict_id": verdict_id, "key_id": key_id})
        return None if row is None else Case(**named(Case, row))

    async def heard(self, verdict_id: str) -> Case | None:
        """The case in which people decided on an appeal against a verdict."""
        row = await self._database.row(_HEARD, (verdict_id,))
        return None if row is None else Case(**named(Case, row))

    async def appeals(self, owner: str, *, most: int) -> int:
        """How many live cases of appeals an owner has; does not count further than `most`."""
        found = await self._database.row(_APPEALS, (owner, most))
        return int(found[0]) if found else 0

    async def same(self, content_hash: str, *, owner: str) -> list[Case]:
        """Cases of an owner with exactly this content, live ones first."""
        return cases(await self._database.rows(_SAME, (content_hash, owner)))

    async def near(self, probes: Sequence[int], *, owner: str) -> list[Case]:
        """Cases of an owner that share a band, live ones first, each kind latest first."""
        if not probes:
            return []
        looked_under = msgspec.json.encode(probes).decode()
        return cases(await self._database.rows(self._near, (looked_under, owner)))


def cases(rows: Sequence[tuple[Any, ...]]) -> list[Case]:
    """Rows of `review_cases`."""
    return [Case(**named(Case, row)) for row in rows]


def named(kind: type[msgspec.Struct], row: Sequence[Any]) -> Mapping[str, Any]:
    """A row with the columns of a struct, by their names."""
    return dict(zip(kind.__struct_fields__, row, strict=True))
