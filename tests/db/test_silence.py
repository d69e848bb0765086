from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import pytest

from benchmarks.rigs.servers import PostgresServer
from benchmarks.rigs.slow_proxy import SlowProxy
from penstock.db import connecting, silence
from penstock.db.pool import Pool
from penstock.db.postgres import PostgresDatabase
from penstock.errors import StorageUnavailable

PATIENCE = 60.0


@pytest.fixture
async def proxy(
    postgres_of_session: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SlowProxy]:
    """What stands before PostgreSQL, and can be as silent as if it was frozen."""
    monkeypatch.setattr(connecting, "ANSWER_PATIENCE", 0.2)
    monkeypatch.setattr(silence, "DOUBT", 0.2)
    async with SlowProxy(postgres_of_session.port) as one:
        yield one


@pytest.fixture
async def database(
    postgres_of_session: PostgresServer, proxy: SlowProxy
) -> AsyncIterator[PostgresDatabase]:
    url = postgres_of_session.url.replace(f":{postgres_of_session.port}/", f":{proxy.port}/")
    async with aclosing(PostgresDatabase(url)) as opened:
        await until_answered(opened)
        yield opened


async def test_while_postgresql_is_silent_nobody_waits_for_it(
    database: PostgresDatabase, proxy: SlowProxy
) -> None:
    proxy.freeze()
    with pytest.raises(StorageUnavailable, match="did not answer in time"):
        await database.row("SELECT 1")
    with pytest.raises(StorageUnavailable, match="does not answer; check that PostgreSQL runs"):
        await database.row("SELECT 1")  # it waits for the look
    opened = proxy.connections

    for _ in range(100):
        with pytest.raises(StorageUnavailable, match="does not answer"):
            await database.row("SELECT 1")
        with pytest.raises(StorageUnavailable, match="does not answer"):
            await database.write("SELECT 1", "SELECT 2")

    assert proxy.connections == opened
    assert not (await database.health())["writable"]
    assert database.usage()["idle"] == 0
    proxy.thaw()
    await until_answered(database)


async def test_who_tries_again_at_once_lets_others_have_their_turn(
    database: PostgresDatabase, proxy: SlowProxy
) -> None:
    proxy.freeze()
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            await database.row("SELECT 1")
    turn = asyncio.Event()
    asyncio.get_running_loop().call_soon(turn.set)

    for _ in range(3):
        with pytest.raises(StorageUnavailable, match="does not answer"):
            await database.row("SELECT 1")

    assert turn.is_set()
    proxy.thaw()
    await until_answered(database)


async def test_a_server_that_can_be_connected_to_and_no_more_is_looked_for_until_it_answers(
    database: PostgresDatabase, proxy: SlowProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "CONNECT_PATIENCE", 0.1)
    monkeypatch.setattr(silence, "PAUSE", 0.01)
    proxy.freeze()
    with pytest.raises(StorageUnavailable, match="did not answer in time"):
        await database.row("SELECT 1")
    seen = proxy.connections

    async with asyncio.timeout(PATIENCE):
        while proxy.connections < seen + 4:  # noqa: ASYNC110 - looks, one after the other
            await asyncio.sleep(0.01)
    monkeypatch.undo()
    proxy.thaw()

    await until_answered(database)


async def test_who_waits_for_a_connection_is_told_when_postgresql_falls_silent(
    postgres_of_session: PostgresServer,
) -> None:
    pool = Pool(partial(connecting.connect, postgres_of_session.url), "here", kept=1, overflow=0)
    taken = await pool.take()
    waiting = [asyncio.ensure_future(pool.take()) for _ in range(5)]
    await asyncio.sleep(0)

    pool._silence.fall()

    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in found] == [StorageUnavailable] * 5
    pool.put_back(taken)  # this is an answer
    assert await pool.take() is taken
    pool.put_back(taken)
    await pool.aclose()


async def test_one_slow_statement_does_not_stand_for_the_server(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "DOUBT", PATIENCE)  # a busy machine answers late
    with pytest.raises(StorageUnavailable, match="did not answer in time"):
        await database.row("SELECT pg_sleep(600)")
    monkeypatch.setattr(connecting, "ANSWER_PATIENCE", PATIENCE)

    found = await asyncio.gather(*(database.row("SELECT 1") for _ in range(50)))

    assert set(found) == {(1,)}


async def until_answered(database: PostgresDatabase) -> None:
    """Wait until requests are let through again; each try is a turn of the loop."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await database.row("SELECT 1")
                return
            except StorageUnavailable:
                await asyncio.sleep(0.01)
