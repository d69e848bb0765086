from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from asyncpg import exceptions as pg

from benchmarks.rigs.servers import PostgresServer, RedisServer
from penstock.clock import ManualClock
from penstock.db import connecting, open_database, silence
from penstock.db import postgres as running
from penstock.db.postgres import PostgresDatabase
from penstock.db.postgres_faults import Unmet, fault
from penstock.errors import ConfigurationError, Conflict, StorageFull, StorageUnavailable
from penstock.observe.metrics import Metrics
from tests.db.conftest import PATIENCE

ADD = "INSERT INTO notes (text) VALUES (?)"


async def test_health_tells_of_the_server_and_the_pool(postgresql: PostgresDatabase) -> None:
    health = await postgresql.health()

    assert health["role"] == "primary"
    assert re.match(r"\d+\.\d+", health["version"])
    assert health["pool"]["most"] == 30
    assert health["pool"]["kept"] == 10
    assert health["pool"]["idle"] >= 1
    assert health["path"].startswith("postgresql://penstock@127.0.0.1:")


async def test_a_hundred_callers_share_thirty_connections(postgresql: PostgresDatabase) -> None:
    found = await asyncio.gather(*(postgresql.row("SELECT pg_backend_pid()") for _ in range(100)))

    assert len(set(found)) <= 30
    assert postgresql.usage()["used"] == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("penstock@", "penstock:hunter2@"), None),
        (("/test_", "/other_"), "has no database of that name; make it with createdb"),
        (("postgresql://penstock", "postgresql://nobody:hunter2"), "refuses this user or password"),
        (("penstock@127.0.0.1", "penstock:hunter2@127.0.0.2"), "does not answer; check that Post"),
    ],
)
async def test_what_is_wrong_with_the_address_is_said_without_its_password(
    in_turn: str, change: tuple[str, str], told: str | None, tmp_path: Path
) -> None:
    url = in_turn.replace(*change)
    if told is None:
        await open_database(url, folder=tmp_path).aclose()
        return

    with pytest.raises(StorageUnavailable, match=told) as caught:
        open_database(url, folder=tmp_path)

    assert "hunter2" not in caught.value.detail


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://me:hunter2@127.0.0.1:134521/name", "its port is no number"),
        ("postgresql://me:hunter2@127.0.0.1:99999/name", "its port is no number"),
        ("postgresql://me:hun/ter2@127.0.0.1/name", "cannot be read: .* %2F for /"),
        ("postgresql://me:hun?ter2@127.0.0.1/name", "cannot be read: .* %2F for /"),
        ("postgresql://me:hunter2@127.0.0.1/name?sslmode=wrong", "its sslmode is one of disab"),
    ],
)
async def test_what_is_no_address_is_refused_without_its_password(
    url: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        open_database(url, folder=tmp_path)

    for part in ("hunter2", "hun", "ter2"):
        assert part not in caught.value.detail


async def test_a_port_of_a_redis_is_not_taken_for_a_postgresql_under_load(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis waits for the end of a line, which PostgreSQL's protocol does not send."""
    monkeypatch.setattr(connecting, "CONNECT_PATIENCE", 0.2)

    with pytest.raises(StorageUnavailable, match="see whether PostgreSQL listens") as caught:
        open_database(f"postgresql://me@127.0.0.1:{redis.port}/name", folder=tmp_path)

    assert "DATABASE_URL" in caught.value.detail
    assert "pg_stat_activity" not in caught.value.detail


async def test_the_schemes_of_other_libraries_are_understood(in_turn: str, tmp_path: Path) -> None:
    for scheme in ("postgres", "postgresql+asyncpg"):
        url = in_turn.replace("postgresql:", f"{scheme}:")
        async with aclosing(open_database(url, folder=tmp_path)) as opened:
            assert await opened.row("SELECT 1") == (1,)


async def test_a_statement_that_does_not_end_is_given_up(
    postgresql: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "ANSWER_PATIENCE", 0.5)
    monkeypatch.setattr(silence, "DOUBT", PATIENCE)  # a busy machine answers late
    await postgresql.aclose()
    opened = PostgresDatabase(str(postgresql._dsn))

    with pytest.raises(StorageUnavailable, match="did not answer in time"):
        await opened.rows("SELECT pg_sleep(60)")
    with pytest.raises(StorageUnavailable, match="did not answer in time"):
        await opened.write("SELECT pg_sleep(60)", "SELECT 1")
    monkeypatch.setattr(connecting, "ANSWER_PATIENCE", PATIENCE)

    assert await opened.row("SELECT 1") == (1,)
    await opened.aclose()


async def test_what_nobody_waits_for_any_more_is_stopped_on_the_server(
    postgresql: PostgresDatabase,
) -> None:
    sleeping = """
    SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND state = 'active'
    """
    reading = asyncio.ensure_future(postgresql.scan("SELECT pg_sleep(600)"))
    writing = asyncio.ensure_future(postgresql.write((ADD, ("a",)), "SELECT 1, pg_sleep(600)"))

    async with asyncio.timeout(60):
        while await postgresql.row(sleeping) != (2,):  # each look is a round trip
            pass
        reading.cancel()
        writing.cancel()
        while await postgresql.row(sleeping) != (0,):
            pass

    assert await postgresql.rows("SELECT * FROM notes") == []


async def test_a_read_on_a_connection_that_ended_is_repeated_and_a_write_is_not(
    postgresql: PostgresDatabase,
) -> None:
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ?"
    other = PostgresDatabase(str(postgresql._dsn))
    for _ in range(5):
        row = await postgresql.row("SELECT pg_backend_pid()")
        assert row is not None
        await other.rows(end, row)
        assert await postgresql.row("SELECT 1") == (1,)
    await other.aclose()

    with pytest.raises(StorageUnavailable, match="does not answer"):
        await postgresql.write((ADD, ("a",)), "SELECT pg_terminate_backend(pg_backend_pid())")
    assert await postgresql.rows("SELECT * FROM notes") == []
    assert "does not answer" in (await postgresql.health())["detail"]
    await postgresql.write((ADD, ("b",)), (ADD, ("c",)))
    assert (await postgresql.health())["writable"]


async def test_transactions_in_each_others_way_are_repeated(
    postgresql: PostgresDatabase, metrics: Metrics
) -> None:
    """Two servers, whose writes read what the other one writes."""
    other = PostgresDatabase(str(postgresql._dsn), metrics=metrics)
    take = "INSERT INTO notes (id, text) SELECT coalesce(max(id), 0) + 1, ? FROM notes"
    both = (postgresql, other)

    outcomes = await asyncio.gather(
        *(both[n % 2].write((take, (str(n),)), serial=True) for n in range(60))
    )
    await other.aclose()

    assert outcomes == [1] * 60
    assert await postgresql.row("SELECT count(*), max(id) FROM notes") == (60, 60)
    assert metrics.total("penstock_db_retries_total") > 0


async def test_what_stays_in_the_way_is_given_up_and_told(
    postgresql: PostgresDatabase, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "PAUSE", 0.0)
    fail = "DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = 'serialization_failure'; END $$"

    with pytest.raises(StorageUnavailable, match=r"beside what others write .*; repeat"):
        await postgresql.write((ADD, ("a",)), fail)

    assert metrics.total("penstock_db_retries_total") == running.ATTEMPTS - 1
    assert await postgresql.rows("SELECT * FROM notes") == []


async def test_several_statements_that_need_not_be_serial_are_one_transaction_all_the_same(
    postgresql: PostgresDatabase,
) -> None:
    level = "INSERT INTO notes (text) VALUES (current_setting('transaction_isolation') || ?)"

    for serial in (False, None, True):
        await postgresql.write(
            (level, (f" {serial} 1",)), (level, (f" {serial} 2",)), serial=serial
        )
        await postgresql.write((level, (f" {serial}",)), serial=serial)

    found = [text for (text,) in await postgresql.rows("SELECT text FROM notes ORDER BY id")]
    assert found == [
        *("read committed False 1", "read committed False 2", "read committed False"),
        *("serializable None 1", "serializable None 2", "read committed None"),
        *("serializable True 1", "serializable True 2", "serializable True"),
    ]


async def test_two_loops_have_connections_of_their_own(postgresql: PostgresDatabase) -> None:
    async def pid() -> tuple[object, ...] | None:
        return await postgresql.row("SELECT pg_backend_pid()")

    async def ask_there() -> tuple[object, ...] | None:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(pid(), there))

    there = asyncio.new_event_loop()
    thread = asyncio.ensure_future(asyncio.to_thread(there.run_forever))

    assert await pid() == await pid() != await ask_there() == await ask_there()

    await postgresql.aclose()
    there.call_soon_threadsafe(there.stop)
    await thread
    there.close()


async def test_a_record_that_found_no_space_is_remembered_until_one_does_or_for_a_minute(
    postgresql: PostgresDatabase,
) -> None:
    clock = ManualClock()
    opened = PostgresDatabase(str(postgresql._dsn), clock=clock)
    fail = "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'disk_full'; END $$"
    details = []

    for _ in range(2):
        with pytest.raises(StorageFull, match="no space is left on the volume of postgresql://"):
            await opened.write(fail)
        details.append((await opened.health())["detail"])
        await opened.write("DELETE FROM notes WHERE text = 'not there'")
        details.append((await opened.health())["detail"])
        await opened.write((ADD, (str(len(details)),)))
        details.append((await opened.health())["detail"])
    with pytest.raises(StorageFull):
        await opened.write(fail)
    clock.advance(60)
    details.append((await opened.health())["detail"])
    await opened.aclose()

    full = ["no space" in detail for detail in details]
    assert full == [True, True, False, True, True, False, False]


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (pg.DiskFullError("x"), StorageFull, "free space there"),
        (pg.TooManyConnectionsError("x"), StorageUnavailable, "raise max_connections"),
        (pg.ReadOnlySQLTransactionError("x"), StorageUnavailable, "point DATABASE_URL at the pri"),
        (pg.InsufficientPrivilegeError("x"), StorageUnavailable, "owner of the database"),
        (pg.OutOfMemoryError("x"), StorageUnavailable, "out of memory"),
        (pg.PostgresIOError("x"), StorageUnavailable, "check the disk"),
        (pg.CannotConnectNowError("x"), StorageUnavailable, "check that PostgreSQL runs"),
        (pg.QueryCanceledError("x"), StorageUnavailable, "look for load or locks"),
        (pg.NotNullViolationError("x"), Conflict, "does not fit the stored ones"),
        (TimeoutError(), StorageUnavailable, "look for load or locks"),
        (Unmet(), StorageUnavailable, "see whether PostgreSQL listens at this host and port"),
        (socket.gaierror(-2, "no"), StorageUnavailable, "correct its host in DATABASE_URL"),
        (
            pg.ProtocolViolationError("unsupported startup parameter: jit"),
            StorageUnavailable,
            "set there ignore_startup_parameters = jit,idle",
        ),
        (
            pg.InvalidSQLStatementNameError('prepared statement "a" does not exist'),
            StorageUnavailable,
            "set max_prepared_statements there",
        ),
        (ssl.SSLError(1, "SSL: unlucky"), StorageUnavailable, "do not agree on TLS"),
        (ConnectionResetError(), StorageUnavailable, "check that PostgreSQL runs"),
    ],
)
def test_what_postgresql_reports_is_told_with_what_to_do(
    error: Exception, kind: type[Exception], told: str
) -> None:
    found = fault(error, "postgresql://here/db")

    assert type(found) is kind
    assert told in str(found)
    assert found.__cause__ is error


def test_other_errors_are_told_as_they_are() -> None:
    for error in (pg.UndefinedTableError("x"), ValueError("x"), pg.InterfaceError("x")):
        assert fault(error, "here") is error


@pytest.mark.slow
async def test_a_wrong_password_and_a_standby_are_refused(
    own_postgres: Callable[..., PostgresServer], tmp_path: Path
) -> None:
    server = own_postgres("fsync=off")
    url = server.database()
    server.run("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD 'right'")
    rules = server.folder / "data" / "pg_hba.conf"
    rules.write_text(
        "host all guarded 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n"
    )
    server.run("SELECT pg_reload_conf()")
    guarded = url.replace("penstock@", "guarded:right@")
    async with aclosing(open_database(guarded, folder=tmp_path)) as opened:
        assert (await opened.health())["writable"]

    with pytest.raises(StorageUnavailable, match="refuses this user or password") as caught:
        open_database(url.replace("penstock@", "guarded:hunter2@"), folder=tmp_path)
    assert "hunter2" not in caught.value.detail

    running = PostgresDatabase(url)
    server.stop()
    (server.folder / "data" / "standby.signal").touch()
    server.start()
    with pytest.raises(StorageUnavailable, match="read-only standby; point DATABASE_URL"):
        open_database(url, folder=tmp_path)
    health = await running.health()
    with pytest.raises(StorageUnavailable, match="read-only standby"):
        await running.write("UPDATE auth_keys SET name = ''")
    assert await running.rows("SELECT id FROM auth_keys") == []
    await running.aclose()
    assert not health["writable"]
    assert health["role"] == "standby"
