from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import pytest

from penstock.db import pool as pools
from penstock.db.connecting import connect
from penstock.db.pool import Pool
from penstock.errors import StorageUnavailable
from tests.servers import PostgresDatabase

PATIENCE = 30.0


@pytest.fixture
async def pool(postgres: PostgresDatabase) -> AsyncIterator[Pool]:
    opened = Pool(partial(connect, postgres.url), "here", kept=2, overflow=3, patience=0.05)
    yield opened
    await opened.aclose()


async def turns_until(holds: Callable[[], bool]) -> None:
    """Let the loop work until something it is about to do is done."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)


async def test_one_connection_serves_one_caller_after_the_other(pool: Pool) -> None:
    first = await pool.take()
    pool.put_back(first)

    second = await pool.take()
    pool.put_back(second)

    assert second is first
    assert pool.usage() == {"used": 0, "idle": 1, "waiting": 0, "kept": 2, "most": 5}


async def test_there_are_never_more_than_agreed_and_waiting_has_an_end(pool: Pool) -> None:
    taken = [await pool.take() for _ in range(5)]

    with pytest.raises(StorageUnavailable, match="all 5 connections to here were in use"):
        await pool.take()

    assert pool.usage()["used"] == 5
    for connection in taken:
        pool.put_back(connection)
    assert pool.usage()["idle"] == 5


async def test_who_waits_gets_the_next_one_that_comes_back(pool: Pool) -> None:
    taken = [await pool.take() for _ in range(5)]
    waiting = asyncio.ensure_future(pool.take())
    await asyncio.sleep(0)
    assert pool.usage()["waiting"] == 1

    pool.put_back(taken[2])

    assert await waiting is taken[2]
    pool.put_back(taken[2])
    for connection in taken[:2] + taken[3:]:
        pool.put_back(connection)


async def test_what_is_idle_for_long_is_closed_down_to_what_is_kept(
    pool: Pool, postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "IDLE", 0.0)
    taken = [await pool.take() for _ in range(5)]
    for connection in taken:
        pool.put_back(connection)

    await turns_until(lambda: pool.usage()["idle"] == 2)

    assert pool.usage()["idle"] == 2
    assert [connection.is_closed() for connection in taken] == [True] * 3 + [False] * 2


async def test_a_connection_that_died_is_replaced(pool: Pool, postgres: PostgresDatabase) -> None:
    first = await pool.take()
    pid = first.get_server_pid()
    pool.put_back(first)
    postgres.server.run(f"SELECT pg_terminate_backend({pid})")
    await turns_until(first.is_closed)

    second = await pool.take()

    assert await second.fetchval("SELECT 1") == 1
    assert second.get_server_pid() != pid
    pool.put_back(second)


async def test_a_connection_inside_a_transaction_is_not_kept(pool: Pool) -> None:
    first = await pool.take()
    await first.execute("BEGIN")
    pool.put_back(first)

    assert pool.usage()["idle"] == 0
    assert first.is_closed()


async def test_a_connection_that_cannot_be_made_takes_no_place() -> None:
    async def refuse() -> None:
        raise ConnectionRefusedError

    pool = Pool(refuse, "nowhere", kept=1, overflow=0)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await pool.take()
    await pool.aclose()


async def test_closing_waits_for_who_has_a_connection(
    pool: Pool, postgres: PostgresDatabase
) -> None:
    taken = await pool.take()
    closing = asyncio.ensure_future(pool.aclose())
    await asyncio.sleep(0)

    assert await taken.fetchval("SELECT 1") == 1
    assert not closing.done()
    pool.put_back(taken)
    await closing

    assert taken.is_closed()


async def test_closing_ends_what_does_not_come_back(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "CLOSE_PATIENCE", 0.01)
    pool = Pool(partial(connect, postgres.url), "here")
    taken = await pool.take()

    await pool.aclose()

    assert taken.is_closed()
    pool.put_back(taken)
