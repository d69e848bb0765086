from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from penstock.db import Database, open_database
from penstock.db.postgres import PostgresDatabase
from penstock.db.sqlite import SqliteDatabase
from penstock.observe.metrics import Metrics
from tests.databases import DATABASES, open_for_test

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


@pytest.fixture(params=DATABASES)
async def either(
    request: pytest.FixtureRequest, tmp_path: Path, metrics: Metrics
) -> AsyncIterator[Database]:
    """Each of the two, with a table `notes(id, text UNIQUE, done)`."""
    async with open_for_test(request.param, request, tmp_path, metrics=metrics) as opened:
        await opened.write(NOTES[opened.dialect])
        yield opened


@pytest.fixture
async def postgresql(
    request: pytest.FixtureRequest, tmp_path: Path, metrics: Metrics
) -> AsyncIterator[PostgresDatabase]:
    """PostgreSQL with the same table."""
    async with open_for_test("postgresql", request, tmp_path, metrics=metrics) as opened:
        assert isinstance(opened, PostgresDatabase)
        await opened.write(NOTES["postgresql"])
        yield opened
