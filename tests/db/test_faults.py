from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.db import open_database
from penstock.db.faults import fault
from penstock.db.sqlite import SqliteDatabase
from penstock.errors import StorageFull, StorageUnavailable
from penstock.observe.metrics import Metrics

ADD = "INSERT INTO notes (text) VALUES (?)"


async def test_a_locked_database_is_a_clear_error_and_reads_go_on(
    database: SqliteDatabase, metrics: Metrics
) -> None:
    await database.write((ADD, ("before",)))

    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailable, match="locked by another process") as caught:
            await database.write((ADD, ("meanwhile",)))
        seen = await database.row("SELECT text FROM notes")
        health = await database.health()
        other.execute("ROLLBACK")
    await database.write((ADD, ("after",)))

    assert str(database.path) in caught.value.detail
    assert seen == ("before",)
    assert not health["writable"]
    assert "locked" in health["detail"]
    assert metrics.total("penstock_db_errors_total", kind="storage-unavailable") == 2
    assert (await database.health())["writable"]


async def test_a_read_only_database_can_be_read_and_says_what_to_do(
    database: SqliteDatabase,
) -> None:
    await database.write((ADD, ("kept",)))

    reading = open_database(f"sqlite:///{database.path}?mode=ro", folder=database.path.parent)
    try:
        assert await reading.row("SELECT text FROM notes") == ("kept",)
        with pytest.raises(StorageUnavailable, match="cannot be written; make the file"):
            await reading.write((ADD, ("refused",)))
        health = await reading.health()
    finally:
        await reading.aclose()

    assert not health["writable"]
    assert str(database.path) in health["detail"]


async def test_a_full_disk_refuses_what_does_not_fit_and_recovers_alone(
    database: SqliteDatabase,
) -> None:
    (pages,) = await database.row("PRAGMA page_count") or (0,)
    await database.write(f"PRAGMA max_page_count = {pages + 4}")

    sizes = (10, 1 << 20, 20, 1 << 20)
    writes = [database.write((ADD, (str(n) * size,))) for n, size in enumerate(sizes)]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    await database.write("PRAGMA max_page_count = 100000")

    assert [outcomes[0], outcomes[2]] == [1, 1]
    assert isinstance(outcomes[1], StorageFull)
    assert isinstance(outcomes[3], StorageFull)
    assert "free space on the volume" in outcomes[3].detail
    assert await database.write((ADD, ("x" * (1 << 20),))) == 1
    assert (await database.health(check=True))["integrity"] == "ok"


async def test_a_record_that_found_no_space_is_remembered_until_one_does_or_for_a_minute(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    database = open_database(folder=tmp_path, clock=clock)
    await database.write("CREATE TABLE notes (text)")
    (pages,) = await database.row("PRAGMA page_count") or (0,)
    await database.write(f"PRAGMA max_page_count = {pages + 4}")
    details = []

    for _ in range(2):
        with pytest.raises(StorageFull):
            await database.write((ADD, ("x" * (1 << 20),)))
        details += [(await database.health())["detail"] for _ in range(2)]
        await database.write("DELETE FROM notes WHERE text = 'not there'")
        details.append((await database.health())["detail"])
        await database.write((ADD, ("small",)))
        details.append((await database.health())["detail"])
    with pytest.raises(StorageFull):
        await database.write((ADD, ("x" * (1 << 20),)))
    clock.advance(59)
    details.append((await database.health())["detail"])
    clock.advance(1)
    details.append((await database.health())["detail"])
    await database.aclose()

    full = ["no space" in detail for detail in details]
    assert full == [True, True, True, False, True, True, True, False, True, False]
    assert [detail for detail in details if "no space" not in detail] == ["", "", ""]


async def test_a_file_that_is_no_database_is_named_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "penstock.db").write_bytes(b"not a database at all " * 1000)

    with pytest.raises(StorageUnavailable, match="is damaged; stop the server"):
        open_database(folder=tmp_path)


async def test_damage_inside_the_file_is_found_by_the_check(tmp_path: Path) -> None:
    database = open_database(folder=tmp_path)
    await database.write("CREATE TABLE notes (text)", (ADD, [("x" * 500,)] * 500))
    await database.aclose()
    path = tmp_path / "penstock.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40960] + b"\xff" * 40960)

    database = open_database(folder=tmp_path)
    try:
        health = await database.health(check=True)
        with pytest.raises(StorageUnavailable, match="is damaged"):
            await database.scan("SELECT * FROM notes")
    finally:
        await database.aclose()

    assert health["integrity"] != "ok"
    assert not health["writable"]
    assert "damaged" in health["detail"]


async def test_a_healthy_database_reports_its_sizes(database: SqliteDatabase) -> None:
    health = await database.health(check=True)

    assert health["writable"]
    assert health["detail"] == ""
    assert health["integrity"] == "ok"
    assert health["size_bytes"] > 0
    assert health["wal_bytes"] > 0
    assert health["free_bytes"] > 0


async def test_a_file_that_was_removed_under_the_server_is_noticed(
    database: SqliteDatabase,
) -> None:
    database.path.unlink()

    health = await database.health()

    assert not health["writable"]
    assert "restart the server" in health["detail"]


async def test_a_failure_of_the_writer_itself_leaves_nobody_waiting(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(database._writer, "_attempt", None)
        with pytest.raises(TypeError):
            await database.write((ADD, ("a",)))

    assert await database.write((ADD, ("b",))) == 1


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StorageUnavailable, match="cannot be written") as caught:
        open_database(folder=tmp_path / "file" / "deeper")

    assert str(tmp_path / "file" / "deeper") in caught.value.detail


async def test_a_folder_in_the_files_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "penstock.db").mkdir()

    with pytest.raises(StorageUnavailable, match="is a folder; name a file"):
        open_database(folder=tmp_path)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (sqlite3.SQLITE_CANTOPEN_FULLPATH, "cannot be opened; check that /data exists"),
        (sqlite3.SQLITE_IOERR_WRITE, "input/output error; check the disk"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "locked by another process"),
        (sqlite3.SQLITE_READONLY_DBMOVED, "cannot be written"),
        (sqlite3.SQLITE_CORRUPT_INDEX, "is damaged"),
    ],
)
def test_extended_codes_are_told_like_their_primary_ones(code: int, told: str) -> None:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code

    assert told in str(fault(error, Path("/data/penstock.db")))


async def test_too_many_waiting_writes_are_refused(database: SqliteDatabase) -> None:
    database._writer._max_waiting = 3
    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writes = (database.write((ADD, (str(n),))) for n in range(10))
        outcomes = await asyncio.gather(*writes, return_exceptions=True)

    refused = [outcome for outcome in outcomes if "writes are waiting" in str(outcome)]
    assert len(refused) >= 6
