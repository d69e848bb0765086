"""Claim: adding 10,000 rows costs what COPY costs, a fifth of an ORM, a tenth of row by row.

The same rows of five columns into an empty table: through `Database.bulk` on both databases, by
asyncpg's COPY alone, by SQLAlchemy's `session.add_all`, and one write after the other. A text of
the same sort as our records. PostgreSQL is our own, with its defaults.
"""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import BigInteger, Boolean, Float, Text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.report import ratio, row
from benchmarks.rigs.servers import PostgresServer
from penstock.db import Database, open_database

CLAIM = "10,000 rows at once: <= 1.2 of COPY, >= 5 times add_all, >= 10 times row by row"
ROWS = 10_000
FEW = 1_000  # of what is slow; its time is multiplied
COLUMNS = ("id", "name", "flagged", "risk", "content")
TABLE = """
CREATE TABLE items (
    id BIGINT PRIMARY KEY, name TEXT, flagged BOOLEAN, risk DOUBLE PRECISION, content TEXT
)
"""
ADD = "INSERT INTO items (id, name, flagged, risk, content) VALUES (?, ?, ?, ?, ?)"

Rows = list[tuple[Any, ...]]


class Base(DeclarativeBase):
    """SQLAlchemy's registry."""


class Item(Base):
    """The same table as an ORM sees it."""

    __tablename__ = "items"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    flagged: Mapped[bool] = mapped_column(Boolean)
    risk: Mapped[float] = mapped_column(Float)
    content: Mapped[str] = mapped_column(Text)


def run(rounds: int = 7) -> dict[str, Any]:
    """Every case once per round, in turn."""
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    try:
        with PostgresServer() as server:
            return asyncio.run(_run(server.database(), folder, max(5, rounds)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _run(url: str, folder: Path, rounds: int) -> dict[str, Any]:
    postgres = open_database(url, folder=folder)
    sqlite = open_database(folder=folder)
    raw = await asyncpg.connect(url)
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
    for database in (postgres, sqlite):
        await database.write(TABLE)
    cases: dict[str, tuple[Database, Callable[[Rows], Awaitable[object]], int]] = {
        "bulk, PostgreSQL": (postgres, lambda rows: postgres.bulk("items", COLUMNS, rows), ROWS),
        "COPY, raw asyncpg": (
            postgres,
            lambda rows: raw.copy_records_to_table("items", records=rows, columns=COLUMNS),
            ROWS,
        ),
        "add_all, SQLAlchemy": (postgres, lambda rows: _add_all(engine, rows), ROWS),
        "row by row, PostgreSQL": (postgres, lambda rows: _one_by_one(postgres, rows), FEW),
        "bulk, SQLite": (sqlite, lambda rows: sqlite.bulk("items", COLUMNS, rows), ROWS),
        "row by row, SQLite": (sqlite, lambda rows: _one_by_one(sqlite, rows), FEW),
    }
    rows = [
        (n, f"item {n}", n % 3 == 0, n / 7, f"A text of some length {n}" * 3) for n in range(ROWS)
    ]
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, (database, add, count) in cases.items():
            await database.write("DELETE FROM items")
            if database is postgres:
                await database.write("VACUUM items")
            gc.collect()
            start = time.perf_counter()
            await add(rows[:count])
            spent = (time.perf_counter() - start) * ROWS / count
            if turn:  # the first one warms up
                samples[name].append(spent)
    await raw.close()
    await engine.dispose()
    await postgres.aclose()
    await sqlite.aclose()
    return _report(samples)


def _report(samples: dict[str, list[float]]) -> dict[str, Any]:
    bulk, embedded = samples["bulk, PostgreSQL"], samples["bulk, SQLite"]
    return {
        "claim": CLAIM,
        "rows": [row(name, [one * 1e3 for one in times], "ms") for name, times in samples.items()],
        "ratios": {
            "bulk / COPY": ratio(bulk, samples["COPY, raw asyncpg"], most=1.2),
            "add_all / bulk": ratio(samples["add_all, SQLAlchemy"], bulk, least=5),
            "row by row / bulk, PostgreSQL": ratio(
                samples["row by row, PostgreSQL"], bulk, least=10
            ),
            "row by row / bulk, SQLite": ratio(samples["row by row, SQLite"], embedded, least=10),
        },
    }


async def _one_by_one(database: Database, rows: Rows) -> None:
    for one in rows:
        await database.write((ADD, one))


async def _add_all(engine: AsyncEngine, rows: Rows) -> None:
    async with AsyncSession(engine) as session:
        session.add_all([Item(**dict(zip(COLUMNS, one, strict=True))) for one in rows])
        await session.commit()


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
