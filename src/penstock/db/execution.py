"""Runs statements on one SQLite connection: plain SQL as it is, Core through SQLAlchemy."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Executable

SLOW_SECONDS = 0.1

_log = get_logger("penstock.db")


class Execution:
    """One connection with both ways in, and a look at the clock.

    Statements slower than `SLOW_SECONDS` are counted and logged, with their SQL and without their
    parameters, which may be a user's text.
    """

    def __init__(self, raw: sqlite3.Connection, *, metrics: Metrics | None = None) -> None:
        self.raw = raw
        self._metrics = metrics
        self._core: Connection | None = None

    def run(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Run one plain statement."""
        began = perf_counter()
        cursor = self.raw.execute(sql, params)
        self._look(sql, began)
        return cursor

    def change(self, statement: str | Executable, params: Any = None) -> int:
        """Run a writing statement, for each of a list of `params`; the number of changed rows."""
        began = perf_counter()
        if not isinstance(statement, str):
            count = self._execute(statement, params).rowcount
        elif isinstance(params, list):
            count = self.raw.executemany(statement, params).rowcount
        else:
            count = self.raw.execute(statement, params or ()).rowcount
        self._look(statement, began)
        return max(count, 0)  # -1 where the driver does not count

    def fetch(self, statement: str | Executable, params: Any = None) -> list[Any]:
        """All rows of a reading statement: tuples for plain SQL, SQLAlchemy's rows otherwise."""
        began = perf_counter()
        rows: list[Any]
        if isinstance(statement, str):
            rows = self.raw.execute(statement, params or ()).fetchall()
        else:
            rows = list(self._execute(statement, params).all())
        self._look(statement, began)
        return rows

    def prepare(self, calls: Iterable[tuple[str | Executable, Any]]) -> None:
        """Make SQLAlchemy's connection now if one of `calls` needs it.

        Making it ends an open transaction, so it cannot wait until one is open.
        """
        if self._core is None and any(not isinstance(statement, str) for statement, _ in calls):
            self._connect()

    def close(self) -> None:
        """Close the connection."""
        if self._core is not None:
            self._core.close()
            self._core.engine.dispose()
        self.raw.close()

    def _execute(self, statement: Executable, params: Any) -> CursorResult[Any]:
        return (self._core or self._connect()).execute(statement, params)

    def _connect(self) -> Connection:
        from sqlalchemy import StaticPool, create_engine  # 0.5 s: only where Core is used

        engine = create_engine(
            "sqlite://",
            creator=lambda: self.raw,
            poolclass=StaticPool,
            isolation_level="AUTOCOMMIT",
        )
        self._core = engine.connect()
        return self._core

    def _look(self, statement: str | Executable, began: float) -> None:
        seconds = perf_counter() - began
        if seconds < SLOW_SECONDS:
            return
        _log.warning("db.slow_statement", sql=str(statement), duration_seconds=round(seconds, 3))
        if self._metrics is not None:
            self._metrics.count("penstock_db_slow_statements_total")
