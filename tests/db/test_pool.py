from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import asyncpg
import pytest

from benchmarks.rigs.servers import PostgresServer, wait_until
from penstock.db import pool as pools
from penstock.db.connecting import connect
from penstock.db.pool import Pool
from penstock.errors import StorageUnavailable

PATIENCE = 60.0


@pytest.fixture
async def pool(postgres_of_session: PostgresServer) -> AsyncIterator[Pool]:
    opened = Pool(
        partial(connect, postgres_of_session.url), "here", kept=2, overflow=3, patience=0.05
    )
    yield opened
    await opened.aclose()


async def turns_until(holds: Callable[[], bool]) -> None:
    """Let the loop work until something it is about to do is done."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.001)


def has_ended(pid: int) -> bool:
    """Whether there is no such process any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


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
    pool: Pool, postgres_of_session: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "IDLE", 0.0)
    taken = [await pool.take() for _ in range(5)]
    for connection in taken:
        pool.put_back(connection)

    await turns_until(lambda: pool.usage()["idle"] == 2)

    assert pool.usage()["idle"] == 2
    assert [connection.is_closed() for connection in taken] == [True] * 3 + [False] * 2


async def test_a_connection_that_died_is_replaced(
    pool: Pool, postgres_of_session: PostgresServer
) -> None:
    first = await pool.take()
    pid = first.get_server_pid()
    pool.put_back(first)
    postgres_of_session.run(f"SELECT pg_terminate_backend({pid})")
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
    pool: Pool, postgres_of_session: PostgresServer
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
    postgres_of_session: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "CLOSE_PATIENCE", 0.01)
    pool = Pool(partial(connect, postgres_of_session.url), "here")
    taken = await pool.take()

    await pool.aclose()

    assert taken.is_closed()
    pool.put_back(taken)


@pytest.fixture
def narrow(postgres_of_session: PostgresServer) -> str:
    """The address of the database for a user that PostgreSQL gives three connections."""
    postgres_of_session.run(
        "DROP ROLE IF EXISTS narrow; CREATE ROLE narrow LOGIN CONNECTION LIMIT 3"
    )
    return postgres_of_session.url.replace("penstock@", "narrow@")


async def test_who_is_refused_one_more_waits_for_one_of_ours(narrow: str) -> None:
    pool = Pool(partial(connect, narrow), "here", patience=PATIENCE)
    pids = set()

    async def use() -> None:
        connection = await pool.take()
        pids.add(await connection.fetchval("SELECT pg_backend_pid()"))
        pool.put_back(connection)

    await asyncio.gather(*(use() for _ in range(25)))

    assert len(pids) <= 3
    assert pool.usage()["waiting"] == pool.usage()["used"] == 0
    await pool.aclose()


async def test_who_is_refused_one_more_waits_no_longer_than_others(
    narrow: str, postgres_of_session: PostgresServer
) -> None:
    pool = Pool(partial(connect, narrow), "here", patience=0.05)
    taken = [await pool.take() for _ in range(3)]

    with pytest.raises(StorageUnavailable, match="here takes no more connections"):
        await pool.take()
    pool._patience = PATIENCE
    waiting = asyncio.ensure_future(pool.take())
    await asyncio.sleep(0)
    pid = taken[2].get_server_pid()
    postgres_of_session.run(f"SELECT pg_terminate_backend({pid})")
    wait_until(lambda: has_ended(pid))  # a place there is free again
    pool.drop(taken.pop())

    taken.append(await waiting)
    for connection in taken:
        pool.put_back(connection)
    await pool.aclose()


async def test_who_is_refused_the_first_one_is_told_after_a_moment(narrow: str) -> None:
    theirs = Pool(partial(connect, narrow), "there")
    taken = [await theirs.take() for _ in range(3)]
    pool = Pool(partial(connect, narrow), "here", patience=PATIENCE)

    found = await asyncio.gather(*(pool.take() for _ in range(8)), return_exceptions=True)

    assert [type(one) for one in found] == [asyncpg.TooManyConnectionsError] * 8
    for connection in taken:
        theirs.put_back(connection)
    await pool.aclose()
    await theirs.aclose()


async def test_who_goes_away_while_waiting_takes_nothing_along(pool: Pool) -> None:
    taken = [await pool.take() for _ in range(5)]
    waiting = [asyncio.ensure_future(pool.take()) for _ in range(3)]
    await asyncio.sleep(0)

    waiting[0].cancel()
    pool.put_back(taken[0])  # for the second, which goes away before it can have it
    waiting[1].cancel()

    assert await waiting[2] is taken[0]
    for connection in taken:
        pool.put_back(connection)
    assert pool.usage() == {"used": 0, "idle": 5, "waiting": 0, "kept": 2, "most": 5}


async def test_what_nobody_waits_for_any_more_is_made_all_the_same_and_kept(pool: Pool) -> None:
    """Making a connection cannot be cut off anywhere without complaints in the log."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    taking = [asyncio.ensure_future(pool.take()) for _ in range(5)]
    for one in taking:  # each is a bit further than the one before
        await asyncio.sleep(0)
        one.cancel()
    await asyncio.wait(taking)
    assert all(one.cancelled() for one in taking)

    await turns_until(lambda: pool.usage()["idle"] == 5)

    assert told == []
    taken = [await pool.take() for _ in range(5)]
    for connection in taken:
        pool.put_back(connection)


async def test_after_a_time_out_those_that_nobody_used_since_are_closed(pool: Pool) -> None:
    unused, dead, alive = [await pool.take() for _ in range(3)]
    pool.put_back(unused)
    pool.put_back(dead)
    assert await pool.take() is dead
    pool.put_back(alive)

    pool.abandon(dead, unanswered=True)

    assert [one.is_closed() for one in (unused, alive)] == [True, False]
