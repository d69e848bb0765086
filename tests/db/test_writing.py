from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from penstock.db import open_database
from penstock.db.sqlite import SqliteDatabase
from penstock.errors import Conflict
from penstock.observe.metrics import Metrics

ADD = "INSERT INTO notes (text) VALUES (?)"


async def texts(database: SqliteDatabase) -> list[str]:
    return [text for (text,) in await database.rows("SELECT text FROM notes ORDER BY id")]


async def test_a_failing_caller_fails_alone_in_its_commit(
    database: SqliteDatabase, metrics: Metrics
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
    assert await texts(database) == ["a", "b", "c"]


async def test_a_caller_that_makes_the_commit_fail_fails_alone(database: SqliteDatabase) -> None:
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
    assert await texts(database) == ["a", "b"]
    assert await database.row("SELECT count(*) FROM replies") == (0,)


async def test_a_caller_whose_loop_is_closed_disturbs_nobody(database: SqliteDatabase) -> None:
    async def leave() -> None:
        writing = asyncio.ensure_future(database.write((ADD, ("left",))))
        await asyncio.sleep(0)
        writing.cancel()

    with closing(sqlite3.connect(database.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await asyncio.to_thread(asyncio.run, leave())
        other.execute("ROLLBACK")

    assert await database.write((ADD, ("stayed",))) == 1


async def test_many_waiting_writes_share_commits(
    database: SqliteDatabase, metrics: Metrics
) -> None:
    await asyncio.gather(*(database.write((ADD, (str(n),))) for n in range(1000)))

    assert metrics.total("penstock_db_writes_total") == 1000
    assert metrics.total("penstock_db_commits_total") < 500


async def test_callers_on_several_loops_are_told_on_their_own(database: SqliteDatabase) -> None:
    async def write_some(name: str) -> list[int]:
        writes = (database.write((ADD, (f"{name}{n}",))) for n in range(20))
        return await asyncio.gather(*writes)

    def on_a_loop(name: str) -> list[int]:
        return asyncio.run(write_some(name))

    outcomes = await asyncio.gather(*(asyncio.to_thread(on_a_loop, name) for name in "abcd"))

    assert outcomes == [[1] * 20] * 4
    assert len(await texts(database)) == 80


async def test_a_write_nobody_waits_for_comes_before_later_ones(database: SqliteDatabase) -> None:
    database.write_later((ADD, ("unattended",)))
    await database.write((ADD, ("attended",)))

    assert await texts(database) == ["unattended", "attended"]


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
    stored = {number for (number,) in await database.rows("SELECT id FROM notes")}
    health = await database.health(check=True)
    await database.aclose()

    assert stored >= set(acknowledged)
    assert health["integrity"] == "ok"
