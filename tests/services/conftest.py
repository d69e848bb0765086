"""Both databases for the tests of services: one of PostgreSQL for all tests, emptied for each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rigs.servers import PostgresServer
from penstock.db import Database, open_database
from penstock.db.postgres import PostgresDatabase
from penstock.db.postgres_tables import upgrade
from penstock.db.tables import metadata
from tests.databases import Kind


@pytest.fixture(scope="session")
def postgres_url(postgres_of_session: PostgresServer) -> Iterator[str]:
    """The address of a database with the tables of this version."""
    url = postgres_of_session.database()
    upgrade(url)
    yield url
    postgres_of_session.drop(url)


@asynccontextmanager
async def open_empty(
    kind: Kind, request: pytest.FixtureRequest, folder: Path, **options: Any
) -> AsyncIterator[Database]:
    """An empty database: faster for PostgreSQL than making one; `options` as of `open_database`."""
    url = await empty_url(kind, request)
    opened = another(url, folder, **options)
    try:
        yield opened
    finally:
        await opened.aclose()


async def empty_url(kind: Kind, request: pytest.FixtureRequest) -> str | None:
    """The address of an empty database; None for the one in the folder."""
    if kind == "sqlite":
        return None
    url: str = request.getfixturevalue("postgres_url")
    opened = another(url, Path())
    await opened.write(
        "SET LOCAL session_replication_role = replica",  # the audit log lets nobody delete
        *(f"DELETE FROM {name}" for name in metadata.tables),
        serial=False,
    )
    await opened.aclose()
    return url


def another(url: str | None, folder: Path, **options: Any) -> Database:
    """The same database as a process more has it."""
    if url is None:
        return open_database(folder=folder, **options)
    return PostgresDatabase(url, **options)
