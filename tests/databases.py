"""Both databases for the tests of stores: fresh, with the tables of this version.

    @pytest.fixture(params=DATABASES)
    async def database(request, tmp_path):
        async with open_for_test(request.param, request, tmp_path) as opened:
            yield opened

Of PostgreSQL the tests of a process take turns with the same ones, emptied: a new one costs ten
times as much. Tests that change what they call its server take the fixtures of `tests/servers.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import pytest

from penstock.db import Database, open_database
from penstock.db.tables import metadata

Kind = Literal["sqlite", "postgresql"]
FREE: Final = pytest.StashKey[list[str]]()  # addresses of databases that nobody uses now
DATABASES: Final[tuple[Kind, ...]] = ("sqlite", "postgresql")


@asynccontextmanager
async def open_for_test(
    kind: Kind, request: pytest.FixtureRequest, folder: Path, **options: Any
) -> AsyncIterator[Database]:
    """An empty database; `options` as of `open_database`."""
    async with address_for_test(kind, request, folder) as url:
        opened = open_database(url, folder=folder, **options)
        try:
            yield opened
        finally:
            await opened.aclose()


@asynccontextmanager
async def address_for_test(
    kind: Kind, request: pytest.FixtureRequest, folder: Path
) -> AsyncIterator[str]:
    """The address of an empty database, for tests that open it several times, as servers do."""
    if kind == "sqlite":
        yield url_for_test(kind, request, folder)
        return
    server = request.getfixturevalue("postgres_of_session")
    free = request.config.stash.setdefault(FREE, [])
    url = free.pop() if free else None
    if url is not None and not await _empty(url):
        server.drop(url)
        url = None
    url = url or server.database()
    yield url
    free.append(url)


def url_for_test(kind: Kind, request: pytest.FixtureRequest, folder: Path) -> str:
    """The address of a new database; PostgreSQL is started by the first test that wants it."""
    if kind == "sqlite":
        return f"sqlite:///{folder / 'penstock.db'}"
    url: str = request.getfixturevalue("postgres").url
    return url


async def _empty(url: str) -> bool:
    """Delete all rows, and begin to count anew; False where the tables are not ours alone."""
    connection = await asyncpg.connect(url)
    try:
        found = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        tables = {row[0] for row in found} - {"alembic_version"}
        if tables != set(metadata.tables):
            return False
        await connection.execute("SET session_replication_role = replica")  # no triggers
        await connection.execute(";".join(f"DELETE FROM {table}" for table in tables))
        await connection.execute(
            "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, 1, false) "
            "FROM pg_sequences WHERE schemaname = 'public'"
        )
    finally:
        await connection.close()
    return True
