"""Brings the tables of a PostgreSQL database to the form that this version knows.

As for SQLite (`penstock.db.migrate`): an up-to-date database costs one read, a new one is made from
`schema_postgresql.sql`, and only an old one needs Alembic. Processes that start together take turns
under an advisory lock. Everything happens in one transaction: all of it or nothing.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from io import StringIO
from typing import Any, Final

from asyncpg import Connection, LockNotAvailableError
from asyncpg.exceptions import PostgresError

from penstock.db.connecting import connect
from penstock.db.location import dsn, shown
from penstock.db.migrate import HEAD, PATIENCE, configuration, known, newer
from penstock.db.postgres_faults import OLDEST, fault, standby, too_old
from penstock.errors import StorageError, StorageUnavailable

LOCK: Final = 0x50454E53  # "PENS"
_VERSION_TABLE = """
CREATE TABLE IF NOT EXISTS alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
)
"""


def upgrade(url: str) -> bool:
    """Make or update the tables at `url`; False when there was nothing to do.

    Blocks its thread. Raises StorageUnavailable for a server that cannot be used and for a database
    that a newer version wrote or that cannot be changed.
    """
    with ThreadPoolExecutor(1) as thread:  # a loop may be running in this one
        return thread.submit(asyncio.run, _upgrade(url)).result()


async def stored(url: str) -> str | None:
    """The stored revision, None without one; raises what `upgrade` raises for an unfit server."""
    where = shown(url)
    try:
        connection = await connect(dsn(url))
        try:
            return await look(connection, where)
        finally:
            connection.terminate()
    except Exception as error:
        raise fault(error, where) from error


async def look(connection: Connection[Any], where: str) -> str | None:
    """The stored revision, None without one. Raises StorageUnavailable for an unfit server."""
    if connection.get_server_version()[:2] < OLDEST:
        raise too_old(await connection.fetchval("SHOW server_version"), where)
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise standby(where)
    return await revision(connection)


async def revision(connection: Connection[Any]) -> str | None:
    """The stored revision; None for a database that has none."""
    if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
        return None
    found: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    return found


async def migrate(connection: Connection[Any], found: str | None) -> None:
    """Run the migrations after revision `found`, all of them for None, in the open transaction."""
    await connection.execute(await asyncio.to_thread(script, found), timeout=None)


def script(found: str | None, to: str = "head") -> str:
    """The migrations after revision `found` as SQL, written by Alembic."""
    from alembic import command

    config = configuration()
    written = config.output_buffer = StringIO()
    command.upgrade(config, f"{found}:{to}" if found else to, sql=True)
    return written.getvalue()


async def create(connection: Connection[Any]) -> None:
    """Make the tables of this version, in the open transaction."""
    schema = resources.files("penstock.db").joinpath("schema_postgresql.sql")
    await connection.execute(schema.read_text(encoding="utf-8"), timeout=PATIENCE)
    await connection.execute(_VERSION_TABLE)
    await connection.execute("INSERT INTO alembic_version VALUES ($1)", HEAD)


async def _upgrade(url: str) -> bool:
    where = shown(url)
    try:
        connection = await connect(dsn(url))
        try:
            if await look(connection, where) == HEAD:
                return False
            async with connection.transaction():
                return await _upgrade_in_turn(connection, where)
        finally:
            connection.terminate()
    except LockNotAvailableError as error:
        raise StorageUnavailable(
            f"another process changes the tables of {where} for {PATIENCE:.0f} s now; "
            "wait for it or end it, then start again"
        ) from error
    except Exception as error:
        told = fault(error, where)
        if isinstance(told, StorageError) or not isinstance(error, PostgresError):
            raise told from error
        raise StorageUnavailable(
            f"the tables of {where} could not be made ({error.args[0]}); "
            "nothing was changed: name another database or empty this one"
        ) from error


async def _upgrade_in_turn(connection: Connection[Any], where: str) -> bool:
    await connection.execute(f"SET LOCAL lock_timeout = {int(PATIENCE * 1000) or 1}")
    await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})", timeout=PATIENCE + 5)
    found = await revision(connection)
    if found == HEAD:
        return False
    if found is None:
        await create(connection)
    else:
        if not known(found):
            raise newer(where, found)
        await migrate(connection, found)
    return True
