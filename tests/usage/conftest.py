from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.db import Database, open_database
from penstock.observe.metrics import Metrics
from penstock.usage import Usage


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_700_000_000.0)  # 2023-11-14, 22:13:20 UTC


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = open_database(folder=tmp_path, patience=0.05)
    yield opened
    await opened.aclose()


@pytest.fixture
def usage(database: Database, clock: ManualClock, metrics: Metrics) -> Usage:
    return Usage(database, clock=clock, metrics=metrics)
