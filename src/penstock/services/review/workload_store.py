"""The queries behind the numbers of `Workload`; each counts in a thread."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from penstock.db import Database
from penstock.services.review.finding_store import OWNED

DAY: Final = 86_400_000  # milliseconds
WINDOW_DAYS: Final = 30

_LIVE = f"""
SELECT category,
    count(*) FILTER (WHERE state = 'open'),
    count(*) FILTER (WHERE state = 'claimed'),
    count(*) FILTER (WHERE state = 'escalated'),
    count(*) FILTER (WHERE due_at <= :now),
    min(created_at)
FROM review_cases WHERE decided_at IS NULL AND {OWNED}
GROUP BY category
"""
_OPENED = f"""
SELECT category, count(*), count(*) FILTER (WHERE created_at >= :week)
FROM review_cases WHERE created_at >= :month AND {OWNED}
GROUP BY category
"""
_FIRST = f"SELECT min(created_at) FROM review_cases WHERE {OWNED}"
# The nearest rank: the smallest duration that at least half (95 %) are not above.
_DECIDED = """
WITH decided AS (
    SELECT {group} AS grp, CASE WHEN decided_at >= :week THEN 1 ELSE 0 END AS fresh,
        decided_at - created_at AS took,
        row_number() OVER (PARTITION BY {group} ORDER BY decided_at - created_at) AS place,
        count(*) OVER (PARTITION BY {group}) AS number
    FROM review_cases WHERE decided_at >= :month AND {owned}
)
SELECT grp, count(*), sum(fresh),
    max(took) FILTER (WHERE place = (number + 1) / 2),
    max(took) FILTER (WHERE place = (number * 95 + 99) / 100)
FROM decided GROUP BY grp
"""
_BY_CATEGORY = _DECIDED.format(group="category", owned=OWNED)
_OVERALL = _DECIDED.format(group="''", owned=OWNED)


class Live(NamedTuple):
    """Cases of one category that are not decided."""

    category: str | None
    open: int
    claimed: int
    escalated: int
    overdue: int
    oldest: int


class Decided(NamedTuple):
    """Decisions of the last 30 days; times in milliseconds."""

    category: str | None
    month: int
    week: int
    median: int | None
    p95: int | None


class Opened(NamedTuple):
    """Cases of one category that came up in the last 30 days."""

    category: str | None
    month: int
    week: int


class WorkloadStore:
    """Counts cases; with an `owner` only that owner's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def live(self, *, owner: str | None, now: int) -> list[Live]:
        """What waits, by category."""
        return [Live(*row) for row in await self._ask(_LIVE, owner, now)]

    async def opened(self, *, owner: str | None, now: int) -> list[Opened]:
        """What came up, by category."""
        return [Opened(*row) for row in await self._ask(_OPENED, owner, now)]

    async def decided(self, *, owner: str | None, now: int) -> list[Decided]:
        """What was decided and how long it took, by category."""
        return [Decided(*row) for row in await self._ask(_BY_CATEGORY, owner, now)]

    async def overall(self, *, owner: str | None, now: int) -> Decided:
        """The same for all categories together."""
        rows = await self._ask(_OVERALL, owner, now)
        return Decided(*rows[0]) if rows else Decided("", 0, 0, None, None)

    async def first(self, *, owner: str | None, now: int) -> int | None:
        """When the first case came up."""
        found: int | None = (await self._ask(_FIRST, owner, now))[0][0]
        return found

    async def _ask(self, sql: str, owner: str | None, now: int) -> list[tuple[Any, ...]]:
        params = {
            "owner": owner,
            "now": now,
            "week": now - 7 * DAY,
            "month": now - WINDOW_DAYS * DAY,
        }
        return await self._database.scan(sql, params)
