from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select

from penstock.db import Database, open_database
from penstock.errors import Conflict, StorageUnavailable
from penstock.observe.metrics import Metrics

NOTES = Table(
    "notes", MetaData(), Column("id", Integer, primary_key=True), Column("text", Text, unique=True)
)
ADD = "INSERT INTO notes (text) VALUES (?)"


def texts(database: Database) -> list[str]:
    return [text for (text,) in database.get_all("SELECT text FROM notes ORDER BY id")]


async def test_a_write_is_readable_when_it_returns(database: Database) -> None:
    changed = await database.write((ADD, ("kept",)))

    assert changed == 1
    assert texts(database) == ["kept"]


async def test_the_statements_of_one_caller_are_all_or_nothing(database: Database) -> None:
    await database.write((ADD, ("there already",)))

    with pytest.raises(Conflict, match="does not fit"):
        await database.write((ADD, ("first half",)), (ADD, ("there already",)))

    assert texts(database) == ["there already"]


async def test_a_list_of_parameters_is_written_whole_or_not_at_all(database: Database) -> None:
    assert await database.write((ADD, [("a",), ("b",)])) == 2

    with pytest.raises(Conflict):
        await database.write((ADD, [("c",), ("a",)]))

    assert texts(database) == ["a", "b"]


async def test_a_failing_caller_fails_alone_in_its_commit(
    database: Database, metrics: Metrics
) -> None:
    calls = [database.write((ADD, (text,))) for text in ("a", "b", "a", "c")]
    calls.append(database.write((ADD, ("d",)), (ADD, ("b",))))
    calls.append(database.write(("INSERT INTO nowhere VALUES (1)", ())))

    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert outcomes[:2] == [1, 1]
    assert isinstance(outcomes[2], Conflict)
    assert outcomes[3] == 1
    assert isinstance(outcomes[4], Conflict)
    assert "no such table: nowhere" in str(outcomes[5])
    assert texts(database) == ["a", "b", "c"]


async def test_a_caller_that_makes_the_commit_fail_fails_alone(database: Database) -> None:
    await database.write(
        "CREATE TABLE replies (note INTEGER REFERENCES notes DEFERRABLE INITIALLY DEFERRED)"
    )
    calls = [
        database.write((ADD, ("a",))),
        database.write("INSERT INTO replies VALUES (99)"),
        database.write((ADD, ("b",))),
    ]

    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert [outcomes[0], outcomes[2]] == [1, 1]
    assert isinstance(outcomes[1], Conflict)
    assert texts(database) == ["a", "b"]
    assert database.get("SELECT count(*) FROM replies") == (0,)


async def test_a_caller_whose_loop_is_closed_disturbs_nobody(database: Database) -> None:
    async def leave() -> None:
        writing = asyncio.ensure_future(database.write((ADD, ("left",))))
        await asyncio.sleep(0)
        writing.cancel()

    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await asyncio.to_thread(asyncio.run, leave())
        other.execute("ROLLBACK")

    assert await database.write((ADD, ("stayed",))) == 1


async def test_many_waiting_writes_share_commits(database: Database, metrics: Metrics) -> None:
    await asyncio.gather(*(database.write((ADD, (str(n),))) for n in range(1000)))

    assert metrics.total("penstock_db_writes_total") == 1000
    assert metrics.total("penstock_db_commits_total") < 500


async def test_core_statements_and_plain_sql_mix(database: Database) -> None:
    plain = database.write((ADD, ("plain",)))
    core = database.write((insert(NOTES), {"text": "core"}), (ADD, ("both",)))
    many = database.write((insert(NOTES), [{"text": "x"}, {"text": "y"}]))

    assert list(await asyncio.gather(plain, core, many)) == [1, 2, 2]

    found = await database.rows(select(NOTES.c.text).order_by(NOTES.c.text))
    assert [row.text for row in found] == ["both", "core", "plain", "x", "y"]
    first = await database.row(select(NOTES).where(NOTES.c.text == "core"))
    assert first is not None
    assert first.text == "core"
    assert await database.row("SELECT 1 WHERE 0") is None


async def test_a_core_statement_that_fails_is_undone_alone(database: Database) -> None:
    twice = database.write((insert(NOTES), {"text": "a"}), (insert(NOTES), {"text": "a"}))
    other = database.write((insert(NOTES), {"text": "b"}))

    outcomes = await asyncio.gather(twice, other, return_exceptions=True)

    assert isinstance(outcomes[0], Conflict)
    assert outcomes[1] == 1
    assert texts(database) == ["b"]


async def test_callers_on_several_loops_are_told_on_their_own(database: Database) -> None:
    async def write_some(name: str) -> list[int]:
        writes = (database.write((ADD, (f"{name}{n}",))) for n in range(20))
        return await asyncio.gather(*writes)

    def on_a_loop(name: str) -> list[int]:
        return asyncio.run(write_some(name))

    outcomes = await asyncio.gather(*(asyncio.to_thread(on_a_loop, name) for name in "abcd"))

    assert outcomes == [[1] * 20] * 4
    assert len(texts(database)) == 80


async def test_a_caller_that_goes_away_disturbs_nobody(database: Database) -> None:
    async with asyncio.TaskGroup() as group:
        gone = group.create_task(database.write((ADD, ("gone",))))
        kept = group.create_task(database.write((ADD, ("kept",))))
        await asyncio.sleep(0)
        gone.cancel()

    assert kept.result() == 1
    assert "kept" in texts(database)


async def test_a_write_nobody_waits_for_comes_before_later_ones(database: Database) -> None:
    database.write_later((ADD, ("unattended",)))
    await database.write((ADD, ("attended",)))

    assert texts(database) == ["unattended", "attended"]


async def test_an_unattended_failure_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await database.write((ADD, ("a",)))

    database.write_later((ADD, ("a",)))
    await database.write((ADD, ("b",)))

    assert "db.unattended_write_failed" in caplog.text


async def test_closing_writes_what_waits_and_refuses_what_comes_after(tmp_path: Path) -> None:
    database = open_database(folder=tmp_path)
    await database.write("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
    waiting = [asyncio.ensure_future(database.write((ADD, (str(n),)))) for n in range(50)]
    await asyncio.sleep(0)

    await database.aclose()
    await database.aclose()

    assert await asyncio.gather(*waiting) == [1] * 50
    with pytest.raises(StorageUnavailable, match="closed"):
        await database.write((ADD, ("late",)))
    with pytest.raises(StorageUnavailable, match="is closed"):
        database.get("SELECT 1")


CHILD = """
import asyncio, sys
from pathlib import Path
from penstock.db import open_database

async def main():
    database = open_database(folder=Path(sys.argv[1]))
    await database.write("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
    number = 0
    while True:
        await database.write(("INSERT INTO notes VALUES (?, 'x')", (number,)))
        print(number, flush=True)
        number += 1

asyncio.run(main())
"""


def acknowledged_until_kill_9(folder: Path) -> list[int]:
    command = [sys.executable, "-c", CHILD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(100)]
        child.send_signal(signal.SIGKILL)
        return [int(line) for line in [*lines, *child.stdout.read().splitlines()]]


async def test_what_was_acknowledged_is_there_after_kill_9(tmp_path: Path) -> None:
    acknowledged = acknowledged_until_kill_9(tmp_path)

    database = open_database(folder=tmp_path)
    stored = {number for (number,) in database.get_all("SELECT id FROM notes")}
    health = await database.health(check=True)
    await database.aclose()

    assert stored >= set(acknowledged)
    assert health["integrity"] == "ok"


async def test_slow_statements_are_counted_and_logged_without_their_parameters(
    database: Database,
    metrics: Metrics,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("penstock.db.execution.SLOW_SECONDS", 0.0)

    await database.write((ADD, ("a user's words",)))

    assert metrics.total("penstock_db_slow_statements_total") >= 1
    assert "INSERT INTO notes" in caplog.text
    assert "a user's words" not in caplog.text


@pytest.mark.parametrize("read", [Database.get, Database.get_all])
def test_reads_need_no_loop(database: Database, read: Callable[[Database, str], object]) -> None:
    assert read(database, "SELECT 1") in ((1,), [(1,)])
