from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from penstock.db import Database, open_database
from penstock.observe.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def database(tmp_path: Path, metrics: Metrics) -> AsyncIterator[Database]:
    """A database with a table `notes(id INTEGER PRIMARY KEY, text UNIQUE)` of the tests' own."""
    opened = open_database(folder=tmp_path, patience=0.05, metrics=metrics)
    with closing(sqlite3.connect(opened.path)) as raw:
        raw.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
    yield opened
    await opened.aclose()
