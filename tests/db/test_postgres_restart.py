from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.rigs.servers import PostgresServer
from penstock.db import open_database
from penstock.errors import StorageUnavailable
from penstock.http.problems import render
from tests.db.load import TABLE, Load, halves_and_lost


@pytest.mark.slow
async def test_a_restart_under_load_costs_clear_refusals_and_nothing_else(
    own_postgres: Callable[..., PostgresServer], tmp_path: Path
) -> None:
    server = own_postgres("fsync=off")
    database = open_database(server.database(), folder=tmp_path)
    await database.write(TABLE)

    async with Load(database) as load:
        await load.until_more()
        await asyncio.to_thread(server.stop)
        await load.until_refused()
        health = await database.health()
        with pytest.raises(StorageUnavailable, match="does not answer") as caught:
            await database.row("SELECT 1")
        await asyncio.to_thread(server.start)
        await load.until_more()

    assert await halves_and_lost(database, load) == ([], set())
    assert load.wrong == []
    assert not health["writable"]
    assert "check that PostgreSQL runs" in health["detail"]
    assert (await database.health())["writable"]
    answer = render(caught.value, {"type": "http", "path": "/"})
    assert answer.status == 503
    assert b"retry-after" in dict(answer.headers)
    await database.aclose()
