"""The queries of statistics; the only SQL about them.

A batch and the mark that it was added are one transaction. Where nobody can tell whether that was
committed (the connection broke), the same batch comes again, finds its mark and adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from penstock.db import Database
from penstock.usage.counters import Batch, Place, Top

MARK: Final = "batch"  # the kind of what is no number but the last batch of a process

# The casts are for PostgreSQL, which takes a parameter in SELECT for text.
_ADD: Final = f"""
INSERT INTO usage_counters (day, kind, name, value)
SELECT CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT)
WHERE NOT EXISTS (
    SELECT 1 FROM usage_counters AS mark
    WHERE mark.day = ? AND mark.kind = '{MARK}' AND mark.name = ? AND mark.value >= ?
)
ON CONFLICT (day, kind, name) DO UPDATE SET value = usage_counters.value + excluded.value
"""
_MARK: Final = f"""
INSERT INTO usage_counters (day, kind, name, value) VALUES (?, '{MARK}', ?, ?)
ON CONFLICT (day, kind, name) DO UPDATE SET value = excluded.value
"""
_ROWS: Final = """
SELECT day, kind, name, value FROM usage_counters
WHERE day BETWEEN ? AND ? AND kind IN ({kinds}){names}
"""
_TOP: Final = """
SELECT name, CAST(sum(value) AS BIGINT) AS total FROM usage_counters
WHERE day BETWEEN ? AND ? AND kind = ? GROUP BY name ORDER BY total DESC, name LIMIT ?
"""
_NAMES: Final = """
SELECT count(DISTINCT name) FROM usage_counters WHERE day BETWEEN ? AND ? AND kind = ?
"""
_PURGE: Final = "DELETE FROM usage_counters WHERE day < ?"


class CounterStore:
    """Adds to and reads the table `usage_counters`."""

    kept_in: Final = "database"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, batch: Batch) -> int:
        """See Counters. In the order of the key, so that two servers never wait for each other."""
        mark = (batch.since, batch.source, batch.number)
        rows = [(*place, value, *mark) for place, value in sorted(batch.counts.items())]
        await self._database.write((_ADD, rows), (_MARK, mark))
        return 0

    async def rows(
        self, kinds: Sequence[str], first: int, last: int, *, names: Sequence[str] | None = None
    ) -> dict[Place, int]:
        asked: list[Any] = [first, last, *kinds, *(names or ())]
        named = "" if names is None else f" AND name IN ({_marks(names)})"
        sql = _ROWS.format(kinds=_marks(kinds), names=named)
        found = await self._database.scan(sql, asked)
        return {Place(day, kind, name): value for day, kind, name, value in found}

    async def top(self, kind: str, first: int, last: int, *, limit: int) -> Top:
        rows = await self._database.scan(_TOP, (first, last, kind, limit))
        [(names,)] = await self._database.scan(_NAMES, (first, last, kind))
        return Top(names, [(name, total) for name, total in rows])

    async def purge(self, before: int) -> int:
        """Forget days before an instant in milliseconds; how many numbers."""
        return await self._database.write((_PURGE, (before,)))


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values)) or "NULL"
