"""The queries by which a verdict, or what is alike, is found in cases: while somebody waits.

They run on the loop, so each is answered by keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from penstock.db import Database
from penstock.services.review.schemas import Case

MOST_LOOKED_AT: Final = 500  # that share a band
MOST_CANDIDATES: Final = 100  # of these, that are compared in full

_CASE_COLUMNS = ", ".join(f"c.{name}" for name in Case.__struct_fields__)

# CROSS JOIN: from left to right, by the keys; the planner would look through all cases.
_WAITS = """
SELECT 1 FROM review_items i CROSS JOIN review_cases c ON c.id = i.case_id
WHERE i.verdict_id = ? AND i.key_id = ?
AND (c.decided_at IS NULL OR (c.settled_at IS NULL AND c.decided_at > ?)) LIMIT 1
"""
_LIVE = f"""
SELECT {_CASE_COLUMNS} FROM review_items i CROSS JOIN review_cases c ON c.id = i.case_id
WHERE i.verdict_id = :verdict_id AND (:key_id IS NULL OR i.key_id = :key_id)
AND c.decided_at IS NULL LIMIT 1
"""
_HEARD = f"""
SELECT {_CASE_COLUMNS} FROM review_items i CROSS JOIN review_cases c ON c.id = i.case_id
WHERE i.verdict_id = ? AND i.appealed_at IS NOT NULL AND c.decided_at IS NOT NULL LIMIT 1
"""
_APPEALS = """
SELECT count(*) FROM (
    SELECT 1 FROM review_cases WHERE decided_at IS NULL AND kind = 'appeal' AND owner = ? LIMIT ?
)
"""
_SAME = f"""
SELECT {_CASE_COLUMNS} FROM review_items i JOIN review_cases c ON c.id = i.case_id
WHERE i.content_hash = ? AND i.owner = ? GROUP BY c.id
ORDER BY c.decided_at IS NOT NULL, c.created_at DESC LIMIT 20
"""
_NEAR = f"""
SELECT {_CASE_COLUMNS} FROM (
    SELECT DISTINCT b.case_id FROM json_each(?) p CROSS JOIN review_bands b ON b.band = p.value
    LIMIT {MOST_LOOKED_AT}
) found CROSS JOIN review_cases c ON c.id = found.case_id AND c.owner = ?
ORDER BY c.decided_at IS NOT NULL, c.created_at DESC LIMIT {MOST_CANDIDATES}
"""


class FindingStore:
    """Asks which cases an item is in, or could be."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waits(self, verdict_id: str, *, key_id: str, since: int) -> bool:
        """Whether people are to decide on a verdict for a key, or did since and it is being done.

        Reads by primary key: every answer `review` asks this.
        """
        return self._database.get(_WAITS, (verdict_id, key_id, since)) is not None

    def live(self, verdict_id: str, *, key_id: str | None = None) -> Case | None:
        """The case in which a verdict (for a key) waits for people."""
        row = self._database.get(_LIVE, {"verdict_id": verdict_id, "key_id": key_id})
        return None if row is None else Case(**named(Case, row))

    def heard(self, verdict_id: str) -> Case | None:
        """The case in which people decided on an appeal against a verdict."""
        row = self._database.get(_HEARD, (verdict_id,))
        return None if row is None else Case(**named(Case, row))

    def appeals(self, owner: str, *, most: int) -> int:
        """How many live cases of appeals an owner has; does not count further than `most`."""
        found = self._database.get(_APPEALS, (owner, most))
        return int(found[0]) if found else 0

    def same(self, content_hash: str, *, owner: str) -> list[Case]:
        """Cases of an owner with exactly this content, live ones first."""
        return cases(self._database.get_all(_SAME, (content_hash, owner)))

    def near(self, probes: Sequence[int], *, owner: str) -> list[Case]:
        """Cases of an owner that share a band, live ones first, each kind latest first."""
        if not probes:
            return []
        return cases(self._database.get_all(_NEAR, (msgspec.json.encode(probes).decode(), owner)))


def cases(rows: Sequence[tuple[Any, ...]]) -> list[Case]:
    """Rows of `review_cases`."""
    return [Case(**named(Case, row)) for row in rows]


def named(kind: type[msgspec.Struct], row: Sequence[Any]) -> Mapping[str, Any]:
    """A row with the columns of a struct, by their names."""
    return dict(zip(kind.__struct_fields__, row, strict=True))
