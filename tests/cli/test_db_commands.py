from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.servers import PostgresDatabase


@pytest.fixture
def embedded(run, home: Path) -> Path:
    """An embedded installation with a key in it."""
    assert run("token", "create", "--name", "first").exit_code == 0
    return home / "penstock.db"


def rows(postgres: PostgresDatabase, sql: str) -> str:
    """What psql prints."""
    import subprocess

    from benchmarks.rigs.servers import postgres_program

    command = [postgres_program("psql"), "--no-psqlrc", "-At", "-c", sql, postgres.url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_database_that_is_not_there_yet_is_made(run, run_json, home: Path) -> None:
    missing = run("db", "status")
    made = run("db", "upgrade")
    again = run_json("db", "upgrade")
    found = run_json("db", "status")

    assert missing.exit_code == 1
    assert "run: penstock db upgrade" in missing.stderr
    assert "revision none -> 00" in made.stdout
    assert again["changed"] is False
    assert found["dialect"] == "sqlite"
    assert found["revision"] == found["newest"]
    assert found["where"] == str(home / "penstock.db")
    assert found["writable"] is True


def test_status_in_words(run, embedded: Path) -> None:
    told = run("db", "status")

    assert told.exit_code == 0
    assert "dialect   sqlite" in told.stdout
    assert "writable  yes" in told.stdout


def test_records_move_to_postgresql_and_are_compared(
    run, run_json, embedded: Path, postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = run("db", "copy", "--to", postgres.url)
    twice = run("db", "copy", "--to", postgres.url)
    replaced = run_json("db", "copy", "--to", postgres.url, "--replace")
    monkeypatch.setenv("DATABASE_URL", postgres.url)
    found = run_json("db", "status")

    assert copied.exit_code == 0, copied.output
    assert "checksum, equal in both" in copied.stdout
    assert rows(postgres, "SELECT name FROM auth_keys") == "first"
    assert twice.exit_code == 1
    assert "has rows already" in twice.stderr
    assert {table["table"]: table["rows"] for table in replaced["tables"]}["auth_keys"] == 1
    assert found["dialect"] == "postgresql"
    assert found["writable"] is True
    assert found["pool"]["most"] == 30
    with closing(sqlite3.connect(embedded)) as raw:
        assert raw.execute("SELECT name FROM auth_keys").fetchall() == [("first",)]


def test_the_urls_of_the_settings_are_taken_where_none_is_named(
    run, embedded: Path, postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.url)

    copied = run("db", "copy", "--json")

    assert copied.exit_code == 0, copied.output
    assert json.loads(copied.stdout)["replaced_nul"] == 0
    assert rows(postgres, "SELECT name FROM auth_keys") == "first"


def test_a_url_comes_by_standard_input_or_the_environment_and_not_by_the_command_line(
    run, embedded: Path, postgres: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = run("db", "copy", "--to", "-", stdin="")
    told = run("db", "copy", "--to", "-", stdin=f"{postgres.url}\n")
    monkeypatch.setenv("PENSTOCK_COPY_TO", postgres.url)
    twice = run("db", "copy")

    assert nothing.exit_code == 2, nothing.output
    assert "nothing is no PostgreSQL database" in nothing.stderr
    assert told.exit_code == 0, told.output
    assert twice.exit_code == 1
    assert "has rows already" in twice.stderr
    assert "not a setting" not in twice.stderr


def test_a_password_that_ends_the_host_too_early_is_not_told(run, embedded: Path) -> None:
    result = run("db", "copy", "--to", "postgresql://me:c2Vj/cmV0@127.0.0.1/none")

    assert result.exit_code != 0
    assert "%2F for /" in result.stderr
    assert "c2Vj" not in result.output
    assert "cmV0" not in result.output


def test_what_cannot_be_copied_is_said_with_what_to_do(
    run, home: Path, postgres: PostgresDatabase
) -> None:
    nothing = run("db", "copy", "--to", postgres.url)
    run("db", "upgrade")
    nowhere = run("db", "copy")
    refused = run("db", "copy", "--to", "postgresql://me:hunter2@127.0.0.1:1/none")
    with closing(sqlite3.connect(home / "penstock.db")) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '0001'")
    older = run("db", "copy", "--to", postgres.url)

    assert nothing.exit_code == 2
    assert "there is no database of Penstock" in nothing.stderr
    assert nowhere.exit_code == 2
    assert "set DATABASE_URL=postgresql://" in nowhere.stderr
    assert refused.exit_code == 3
    assert "does not answer" in refused.stderr
    assert "hunter2" not in refused.output
    assert older.exit_code == 1
    assert "penstock db upgrade" in older.stderr
