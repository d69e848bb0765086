from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.audit import AuditLog
from penstock.clock import ManualClock
from penstock.db import Database
from tests.databases import DATABASES, open_for_test


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=DATABASES)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with open_for_test(request.param, request, tmp_path) as opened:
        yield opened


@pytest.fixture
def audit(database: Database, clock: ManualClock) -> AuditLog:
    return AuditLog(database, clock=clock)
