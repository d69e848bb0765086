from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from benchmarks.rigs.servers import postgres_program
from penstock.db import migrate, postgres_faults, postgres_tables
from penstock.db.connecting import connect
from penstock.errors import StorageUnavailable
from tests.servers import PostgresDatabase


def schema(url: str) -> list[str]:
    """Everything that is defined, as pg_dump writes it."""
    done = subprocess.run(
        [postgres_program("pg_dump"), "--schema-only", "--no-owner", url],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if line and not line.startswith(("--", "\\"))]


async def run(url: str, *statements: str) -> list[tuple[object, ...]]:
    """The rows of the last one."""
    connection = await connect(url)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return [tuple(row) for row in await connection.fetch(statements[-1])]
    finally:
        await connection.close()


async def migrated(url: str, to: str = "head") -> None:
    await run(url, postgres_tables.script(None, to), "SELECT 1")


async def test_the_migrations_from_zero_lead_to_the_same_tables(
    postgres: PostgresDatabase,
) -> None:
    other = postgres.server.database()
    try:
        assert postgres_tables.upgrade(postgres.url) is True
        await migrated(other)

        assert schema(postgres.url) == schema(other)
        assert len(schema(other)) > 100
        versions = "SELECT version_num FROM alembic_version"
        assert await run(postgres.url, versions) == [(migrate.HEAD,)]
        assert await run(other, versions) == [(migrate.HEAD,)]
        assert postgres_tables.upgrade(other) is False
    finally:
        postgres.server.drop(other)


@pytest.mark.parametrize("older", ["0001", "0003"])
async def test_a_database_of_an_older_version_is_brought_up_to_date_with_what_it_holds(
    postgres: PostgresDatabase, older: str
) -> None:
    other = postgres.server.database()
    await migrated(postgres.url, older)
    await run(
        postgres.url,
        "INSERT INTO moderation_verdicts (id, owner, content_hash, content_key, score_key,"
        " policy_version, decision, flagged, reason, risk, record, excerpt_share, word_count,"
        " created_at) VALUES ('v1', '', '', '', '', '', '', true, '', 0.5, 'x', 0, 0, 0)",
        "SELECT 1",
    )
    try:
        assert postgres_tables.upgrade(postgres.url) is True
        assert postgres_tables.upgrade(other) is True

        assert sorted(schema(postgres.url)) == sorted(schema(other))
        found = await run(postgres.url, "SELECT id, flagged, rowid FROM moderation_verdicts")
        assert found == [("v1", True, 1)]
    finally:
        postgres.server.drop(other)


async def test_a_database_of_a_newer_version_is_refused_and_kept(
    postgres: PostgresDatabase,
) -> None:
    postgres_tables.upgrade(postgres.url)
    await run(postgres.url, "UPDATE alembic_version SET version_num = '9999'", "SELECT 1")

    with pytest.raises(StorageUnavailable, match=r"newer version \(revision 9999"):
        postgres_tables.upgrade(postgres.url)


async def test_a_database_with_other_tables_of_these_names_is_refused_and_kept(
    postgres: PostgresDatabase,
) -> None:
    await run(postgres.url, "CREATE TABLE review_items (text TEXT)", "SELECT 1")

    with pytest.raises(StorageUnavailable, match=r"could not be made .* already exists"):
        postgres_tables.upgrade(postgres.url)

    tables = await run(postgres.url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert tables == [("review_items",)]


async def test_waiting_for_another_process_has_an_end(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_tables, "PATIENCE", 0.01)
    holder = await connect(postgres.url)
    await holder.execute(f"SELECT pg_advisory_lock({postgres_tables.LOCK})")

    with pytest.raises(StorageUnavailable, match="wait for it"):
        await asyncio.to_thread(postgres_tables.upgrade, postgres.url)

    await holder.close()


@pytest.mark.slow
def test_processes_that_start_together_make_the_tables_once(postgres: PostgresDatabase) -> None:
    code = (
        "import sys; from penstock.db import postgres_tables; sys.stdin.readline(); "
        "print(postgres_tables.upgrade(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, postgres.url]
    starters = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for starter in starters:
        assert starter.stdin is not None
        starter.stdin.write("go\n")
        starter.stdin.flush()

    answers = [starter.communicate()[0].strip() for starter in starters]

    assert sorted(answers) == ["False", "False", "True"]


async def test_a_server_that_is_too_old_is_named_with_what_is_needed(
    postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_tables, "OLDEST", (99, 0))
    monkeypatch.setattr(postgres_faults, "OLDEST", (99, 0))

    with pytest.raises(StorageUnavailable, match="99 or later is needed: upgrade the server"):
        postgres_tables.upgrade(postgres.url)


def test_opening_imports_no_sqlalchemy(postgres: PostgresDatabase) -> None:
    code = (
        "import sys; from pathlib import Path; from penstock.db import open_database\n"
        "open_database(sys.argv[1], folder=Path())\n"
        "print(*(name for name in ('sqlalchemy', 'alembic') if name in sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, postgres.url], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == []
