"""The queries of the queue: which cases to work on, and in which order.

Overdue ones come first, then those of highest risk, then those that are due first.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from penstock.db import Database
from penstock.services.review.finding_store import OWNED, cases
from penstock.services.review.schemas import Case, Filter

_COLUMNS = ", ".join(Case.__struct_fields__)
_IN_TIME = "CASE WHEN due_at > :now THEN 1 ELSE 0 END"
_URGENT = f"""
SELECT {_COLUMNS} FROM review_cases
WHERE decided_at IS NULL {{conditions}}
AND ({_IN_TIME}, -risk, due_at, id) > (:after_overdue, :after_risk, :after_due, :after_id)
ORDER BY {_IN_TIME}, -risk, due_at, id LIMIT :limit
"""
_LATEST = f"""
SELECT {_COLUMNS} FROM review_cases
WHERE (decided_at, id) < (:after_at, :after_id) {{conditions}}
ORDER BY decided_at DESC, id DESC LIMIT :limit
"""
_NEXT = f"""
SELECT {_COLUMNS} FROM review_cases
WHERE decided_at IS NULL AND {OWNED} AND (CAST(:owner AS TEXT) IS NULL OR state <> 'escalated')
AND (assignee IS NULL OR assignee = :actor OR claimed_at <= :stale)
ORDER BY CASE WHEN assignee = :actor THEN 0 ELSE 1 END, {_IN_TIME}, -risk, due_at, id LIMIT 1
"""
_CONDITIONS: Final[dict[str, str]] = {
    "state": "state = :state",
    "kind": "kind = :kind",
    "assignee": "assignee = :assignee",
    "category": "category = :category",
    "owner": "owner = :owner",
}
_BEFORE_ALL = (-1, -2.0, 0, "")
_AFTER_ALL = (1 << 62, "")

Place = tuple[int, float, int, str]
"""Where a page ended: whether it was overdue by then (0) or not (1), -risk, due_at, id."""


class QueueStore:
    """Asks for cases in an order; with an `owner` only that owner's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, which: Filter, *, owner: str | None, now: int, after: Place | None, limit: int
    ) -> list[Case]:
        """Live cases, the most urgent first: overdue ones, then those of highest risk."""
        wanted, conditions = _wanted(which, owner)
        if which.overdue is not None:
            conditions += " AND due_at <= :now" if which.overdue else " AND due_at > :now"
        place = dict(
            zip(
                ("after_overdue", "after_risk", "after_due", "after_id"),
                after or _BEFORE_ALL,
                strict=True,
            )
        )
        params = {**wanted, **place, "now": now, "limit": limit}
        return cases(await self._database.scan(_URGENT.format(conditions=conditions), params))

    async def decided(
        self, which: Filter, *, owner: str | None, after: tuple[int, str] | None, limit: int
    ) -> list[Case]:
        """Decided cases, the latest first."""
        wanted, conditions = _wanted(which, owner)
        at, id = after or _AFTER_ALL
        params = {**wanted, "after_at": at, "after_id": id, "limit": limit}
        return cases(await self._database.scan(_LATEST.format(conditions=conditions), params))

    async def next(self, *, actor: str, owner: str | None, now: int, stale: int) -> Case | None:
        """The most urgent case that `actor` may claim; first of all one that is theirs already."""
        params = {"actor": actor, "owner": owner, "now": now, "stale": stale}
        found = cases(await self._database.scan(_NEXT, params))
        return found[0] if found else None


def _wanted(which: Filter, owner: str | None) -> tuple[dict[str, Any], str]:
    values = {**msgspec.structs.asdict(which), "owner": owner}
    wanted = {name: values[name] for name in _CONDITIONS if values[name] is not None}
    return wanted, "".join(f" AND {_CONDITIONS[name]}" for name in wanted)
