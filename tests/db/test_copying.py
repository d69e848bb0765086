from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Boolean, Float, LargeBinary, Table, Text

from penstock.db import copying, migrate, open_database, postgres_tables
from penstock.db.connecting import connect
from penstock.db.copying import Copied, copy
from penstock.db.location import Location
from penstock.db.tables import metadata
from penstock.errors import Conflict, StorageUnavailable
from tests.servers import PostgresDatabase

ROWS = 40


def value(column: Any, row: int, random: Random) -> object:
    """Something that column may hold; different in each row."""
    if column.nullable and random.random() < 0.3:
        return None
    match column.type:
        case Boolean():
            return random.random() < 0.5
        case Float():
            return random.choice([0, 1, -0.0, 0.1, 1e300, random.random()])
        case LargeBinary():
            return random.choice(["{}", b"\0\xff", random.randbytes(50)]) if row else b""
        case Text():
            return random.choice(["", "Grüße 🌊", "\0", "\\N", "tab\t"]) + str(row)
        case _:
            return row + 1 if column.primary_key else random.randrange(-(1 << 63), 1 << 63)


def fill(table: Table, raw: sqlite3.Connection) -> None:
    random = Random(table.name)
    columns = list(table.columns)
    places = ", ".join("?" * len(columns))
    rows = [[value(column, row, random) for column in columns] for row in range(ROWS)]
    random.shuffle(rows)
    raw.executemany(f"INSERT INTO {table.name} VALUES ({places})", rows)


@pytest.fixture
def source(tmp_path: Path) -> Location:
    """An embedded database with rows of all kinds in every table."""
    location = Location(tmp_path / "penstock.db")
    migrate.upgrade(location.url)
    with closing(sqlite3.connect(location.path)) as raw, raw:
        for table in metadata.sorted_tables:
            fill(table, raw)
    return Location(location.path, read_only=True)


@pytest.fixture
def target(in_turn: str) -> str:
    postgres_tables.upgrade(in_turn)
    return in_turn


async def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    connection = await connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(sql)]
    finally:
        await connection.close()


async def test_everything_is_there_and_as_it_was(source: Location, target: str) -> None:
    told: list[Copied] = []

    result = await copy(source, target, tell=told.append)

    assert result.tables == told
    assert [copied.table for copied in told] == [table.name for table in metadata.sorted_tables]
    assert all(copied.rows == ROWS and len(copied.checksum) == 32 for copied in told)
    assert not result.is_behind
    assert sum(copied.replaced for copied in told) > 0
    with closing(sqlite3.connect(source.path)) as raw:
        for table in metadata.sorted_tables:
            listed = f"SELECT {', '.join(table.columns.keys())} FROM {table.name}"
            there = {tuple(map(plain, row)) for row in await ask(target, listed)}
            assert there == {tuple(map(plain, row)) for row in raw.execute(listed)}


def plain(value: object) -> object:
    """A value as both databases would have it."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value.replace("\0", "␀") if isinstance(value, str) else value


async def test_new_rows_get_numbers_after_those_that_were_copied(
    source: Location, target: str, tmp_path: Path
) -> None:
    await copy(source, target, tell=lambda _: None)
    database = open_database(target, folder=tmp_path)

    await database.write(
        (
            "INSERT INTO review_events (case_id, action, actor, detail, at)"
            " VALUES ('c', 'a', 'b', '', 0)",
            (),
        ),
        "INSERT INTO review_contents (case_id, content_hash, risk, created_at)"
        " VALUES ('new', 'new', 0, 0)",
    )

    assert await database.row("SELECT max(number) FROM review_events") == (ROWS + 1,)
    newest = "SELECT case_id, rowid FROM review_contents ORDER BY rowid DESC LIMIT 1"
    assert await database.row(newest) == ("new", ROWS + 1)
    with closing(sqlite3.connect(source.path)) as raw:
        order = "SELECT case_id FROM review_contents ORDER BY rowid"
        before = [(plain(case),) for (case,) in raw.execute(order)]
    assert (await database.rows(order))[:-1] == before
    await database.aclose()


async def test_a_target_that_has_rows_is_refused_and_kept_unless_they_are_to_be_replaced(
    source: Location, target: str
) -> None:
    await copy(source, target, tell=lambda _: None)
    again: list[Copied] = []

    with pytest.raises(Conflict, match=r"has rows already; .* --replace"):
        await copy(source, target, tell=again.append)
    assert again == []
    assert await ask(target, "SELECT count(*) FROM audit_entries") == [(ROWS,)]
    result = await copy(source, target, replace=True, tell=again.append)

    assert [copied.rows for copied in result.tables] == [ROWS] * len(again)
    with pytest.raises(Exception, match="append-only"):
        await ask(target, "DELETE FROM audit_entries")


async def test_what_goes_wrong_on_the_way_leaves_the_target_as_it_was(
    source: Location, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = metadata.sorted_tables[-1].name

    async def fail(_: object, table: Table) -> None:
        if table.name == last:
            raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(copying, "_number_on", fail)
        with pytest.raises(StorageUnavailable, match="does not answer"):
            await copy(source, target, tell=lambda _: None)

    assert await ask(target, "SELECT count(*) FROM audit_entries") == [(0,)]


async def test_a_table_that_comes_back_otherwise_than_it_was_sent_is_refused(
    source: Location, postgres: PostgresDatabase
) -> None:
    target = postgres.url
    postgres_tables.upgrade(target)
    await ask(
        target,
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN NEW.name := 'spoilt'; RETURN NEW; END $$",
    )
    await ask(
        target,
        "CREATE TRIGGER spoil BEFORE INSERT ON auth_keys FOR EACH ROW EXECUTE FUNCTION spoil()",
    )

    with pytest.raises(StorageUnavailable, match=r"auth_keys .* is not what was written to it"):
        await copy(source, target, tell=lambda _: None)

    assert await ask(target, "SELECT count(*) FROM audit_entries") == [(0,)]


async def test_a_source_that_is_written_to_meanwhile_is_copied_as_it_was_and_said(
    source: Location, target: str, tmp_path: Path
) -> None:
    running = open_database(f"sqlite:///{source.path}", folder=tmp_path)

    def write(copied: Copied) -> None:
        if copied.table == "audit_entries":
            with closing(sqlite3.connect(source.path)) as raw, raw:
                raw.execute("DELETE FROM usage_days")

    result = await copy(source, target, tell=write)

    assert result.is_behind
    assert await ask(target, "SELECT count(*) FROM usage_days") == [(ROWS,)]
    await running.aclose()


async def test_nobody_else_writes_to_the_target_meanwhile(
    source: Location, target: str, tmp_path: Path
) -> None:
    other = open_database(target, folder=tmp_path)
    writes: list[asyncio.Future[int]] = []

    def write(copied: Copied) -> None:
        if copied.table == "audit_entries":
            statement = "DELETE FROM usage_days"
            writes.append(asyncio.ensure_future(other.write(statement)))

    result = await copy(source, target, tell=write)

    assert await writes[0] == ROWS  # it had to wait for the end
    assert {copied.rows for copied in result.tables} == {ROWS}
    await other.aclose()
