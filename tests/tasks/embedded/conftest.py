"""Engines on files in a folder of the test's own."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import ManualClock
from penstock.errors import PenstockError
from penstock.tasks.embedded.engine import EmbeddedEngine
from penstock.tasks.task import Task

Open = Callable[..., Awaitable[EmbeddedEngine]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs" / "tasks.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sql(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of somebody else to the job file."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@pytest.fixture
async def opened(path: Path) -> AsyncIterator[Open]:
    """Opens engines on one file and starts them; they are stopped when the test ends."""
    engines: list[EmbeddedEngine] = []

    async def start(*tasks: Task[..., Any], **options: Any) -> EmbeddedEngine:
        engine = EmbeddedEngine(path, **options)
        engines.append(engine)
        if tasks:
            await engine.start({task.name: task for task in tasks})
        return engine

    yield start
    for engine in engines:
        with suppress(PenstockError):
            await engine.stop(grace=0)
