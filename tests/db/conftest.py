from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path

import asyncpg
import pytest

from penstock.db import Database, open_database
from penstock.db.postgres import PostgresDatabase
from penstock.db.sqlite import SqliteDatabase
from penstock.observe.metrics import Metrics
from tests.databases import DATABASES, Kind, address_for_test

PATIENCE = 60.0

NOTES = {
    "sqlite": "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT UNIQUE, done BOOLEAN)",
    "postgresql": "CREATE TABLE notes (id BIGSERIAL PRIMARY KEY, text TEXT UNIQUE, done BOOLEAN)",
}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def database(tmp_path: Path, metrics: Metrics) -> AsyncIterator[SqliteDatabase]:
    """SQLite with a table `notes(id INTEGER PRIMARY KEY, text UNIQUE)` of the tests' own."""
    opened = open_database(folder=tmp_path, patience=0.05, metrics=metrics)
    assert isinstance(opened, SqliteDatabase)
    with closing(sqlite3.connect(opened.path)) as raw:
        raw.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
    yield opened
    await opened.aclose()


@pytest.fixture
async def in_turn(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The address of an empty PostgreSQL database with the tables; tests take turns with it."""
    async with address_for_test("postgresql", request, tmp_path) as url:
        yield url


@pytest.fixture(params=DATABASES)
async def either(
    request: pytest.FixtureRequest, tmp_path: Path, metrics: Metrics
) -> AsyncIterator[Database]:
    """Each of the two, with a table `notes(id, text UNIQUE, done)`."""
    async with with_notes(request.param, request, tmp_path, metrics) as opened:
        yield opened


@pytest.fixture
async def postgresql(
    request: pytest.FixtureRequest, tmp_path: Path, metrics: Metrics
) -> AsyncIterator[PostgresDatabase]:
    """PostgreSQL with the same table."""
    async with with_notes("postgresql", request, tmp_path, metrics) as opened:
        assert isinstance(opened, PostgresDatabase)
        yield opened


@asynccontextmanager
async def with_notes(
    kind: Kind, request: pytest.FixtureRequest, folder: Path, metrics: Metrics
) -> AsyncIterator[Database]:
    """A database with the table; of PostgreSQL the next test gets the same one without it."""
    async with address_for_test(kind, request, folder) as url:
        async with aclosing(open_database(url, folder=folder, metrics=metrics)) as opened:
            await opened.write(NOTES[kind])
            yield opened
        if kind == "postgresql":
            connection = await asyncpg.connect(url, command_timeout=PATIENCE)
            await connection.execute("DROP TABLE notes")
            await connection.close()
