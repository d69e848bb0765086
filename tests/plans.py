"""How a database would answer a query: for tests that there is an index for it.

PostgreSQL scans a small table whatever its indexes; it is told not to where that can be helped.
"""

from __future__ import annotations

import asyncpg

from penstock.db import Database
from penstock.db.database import Params
from penstock.db.translate import translate


async def plan_of(database: Database, sql: str, params: Params = ()) -> str:
    """The plan as text, in the words of the database."""
    if database.dialect == "sqlite":
        rows = await database.rows(f"EXPLAIN QUERY PLAN {sql}", params)
        return "\n".join(str(row[-1]) for row in rows)
    plan = translate(sql)
    connection = await asyncpg.connect(database._dsn)  # type: ignore[attr-defined]
    try:
        await connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        await connection.execute("SET enable_sort = off")
        rows = await connection.fetch(f"EXPLAIN {plan.sql}", *plan.bind(params))
    finally:
        await connection.close()
    return "\n".join(row[0] for row in rows)
