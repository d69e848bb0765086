"""Runs statements on one connection to PostgreSQL, and leaves it in a state that is known."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

from asyncpg import Connection, PostgresError

from penstock.db.database import Call
from penstock.db.execution import look
from penstock.db.pool import Pool
from penstock.db.postgres_faults import Unbegun, lost
from penstock.db.translate import translate
from penstock.observe.metrics import Metrics

SERIALIZABLE: Final = "BEGIN ISOLATION LEVEL SERIALIZABLE"
COMMITTED: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
ROLLBACK_PATIENCE: Final = 2.0  # seconds; then the connection is closed, which undoes it as well

_CHANGED = re.compile(r"(?:INSERT \d+|UPDATE|DELETE|MERGE|COPY) (\d+)")


async def transact(
    connection: Connection[Any], calls: Sequence[Call], begin: str, metrics: Metrics | None
) -> int:
    """Run `calls` between `begin` and COMMIT; the number of changed rows."""
    try:
        await connection.execute(begin)
    except Exception as error:
        raise (Unbegun() if lost(error) else error) from error
    total = changed = 0
    for call in calls:
        changed = await change(connection, call, changed, metrics)
        total += changed
    await connection.execute("COMMIT")
    return total


async def change(
    connection: Connection[Any], call: Call, before: int, metrics: Metrics | None
) -> int:
    """Run a writing statement; the number of changed rows. `before` is what `changes()` is."""
    statement, params = call
    plan = translate(statement)
    began = perf_counter()
    if isinstance(params, list):
        changed = 0
        if params:
            # All of them in one round trip; that way PostgreSQL counts only what it returns.
            bound = [plan.bind(each, before) for each in params]
            changed = len(await connection.fetchmany(f"{plan.sql}\nRETURNING 1", bound))
    else:
        changed = counted(await connection.execute(plan.sql, *plan.bind(params, before)))
    look(statement, began, metrics)
    return changed


def counted(status: str) -> int:
    """How many rows a statement changed, of what PostgreSQL says of it."""
    found = _CHANGED.fullmatch(status)
    return int(found[1]) if found else 0


async def leave(pool: Pool, connection: Connection[Any], error: BaseException) -> None:
    """Give `connection` back after `error`: as it was before, or closed when that is not sure."""
    if isinstance(error, asyncio.CancelledError | TimeoutError):
        pool.abandon(connection, unanswered=isinstance(error, TimeoutError))
        return
    if not isinstance(error, PostgresError | ValueError | TypeError) or lost(error):
        pool.drop(connection)
        return
    try:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK", timeout=ROLLBACK_PATIENCE)
    except BaseException:
        pool.drop(connection)
        raise
    pool.put_back(connection)
