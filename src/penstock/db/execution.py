"""Runs statements on one SQLite connection, and says which are slow."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics

SLOW_SECONDS = 0.1

_log = get_logger("penstock.db")


class Execution:
    """One connection, and a look at the clock."""

    def __init__(self, raw: sqlite3.Connection, *, metrics: Metrics | None = None) -> None:
        self.raw = raw
        self._metrics = metrics

    def run(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Run one plain statement."""
        began = perf_counter()
        cursor = self.raw.execute(sql, params)
        look(sql, began, self._metrics)
        return cursor

    def change(self, sql: str, params: Any = None) -> int:
        """Run a writing statement, for each of a list of `params`; the number of changed rows."""
        began = perf_counter()
        if isinstance(params, list):
            count = self.raw.executemany(sql, params).rowcount
        else:
            count = self.raw.execute(sql, params or ()).rowcount
        look(sql, began, self._metrics)
        return max(count, 0)  # -1 where the driver does not count

    def fetch(self, sql: str, params: Any = None) -> list[tuple[Any, ...]]:
        """All rows of a reading statement."""
        began = perf_counter()
        rows = self.raw.execute(sql, params or ()).fetchall()
        look(sql, began, self._metrics)
        return rows

    def close(self) -> None:
        """Close the connection."""
        self.raw.close()


def look(sql: str, began: float, metrics: Metrics | None) -> None:
    """Count and log a statement slower than `SLOW_SECONDS`.

    With its SQL and without its parameters, which may be a user's text.
    """
    seconds = perf_counter() - began
    if seconds < SLOW_SECONDS:
        return
    _log.warning("db.slow_statement", sql=sql, duration_seconds=round(seconds, 3))
    if metrics is not None:
        metrics.count("penstock_db_slow_statements_total")
