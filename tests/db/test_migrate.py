from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock
from sqlalchemy import create_engine

from penstock.db import migrate, open_database, tables
from penstock.db.location import Location
from penstock.errors import StorageUnavailable


def differences(path: Path) -> list[object]:
    """What `alembic check` would find."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found = compare_metadata(context, tables.metadata)
    engine.dispose()
    return list(found)


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as raw:
        names = [name for (name,) in raw.execute("SELECT name FROM sqlite_master ORDER BY name")]
        return {
            name: [
                *raw.execute(f"PRAGMA table_info({name})"),
                *raw.execute(f"PRAGMA index_xinfo({name})"),
            ]
            for name in names
        }


def test_a_new_database_is_at_the_newest_revision_with_every_table(tmp_path: Path) -> None:
    location = Location(tmp_path / "new.db")

    assert migrate.upgrade(location.url) is True

    assert migrate.revision(location) == migrate.HEAD
    assert differences(location.path) == []


def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    location = Location(tmp_path / "folder" / "new.db")

    migrate.upgrade(location.url)

    assert {file.name for file in location.path.parent.iterdir()} >= {"new.db", "new.db.lock"}
    assert all(file.stat().st_mode & 0o077 == 0 for file in location.path.parent.iterdir())
    assert location.path.parent.stat().st_mode & 0o077 == 0


def test_an_up_to_date_database_is_left_alone(tmp_path: Path) -> None:
    location = Location(tmp_path / "new.db")
    migrate.upgrade(location.url)
    before = location.path.read_bytes()

    assert migrate.upgrade(location.url) is False

    assert location.path.read_bytes() == before


def test_the_migrations_from_zero_lead_to_the_same_tables(tmp_path: Path) -> None:
    migrated, created = Location(tmp_path / "migrated.db"), Location(tmp_path / "created.db")
    migrate.upgrade(created.url)

    migrate.migrate(migrated)

    assert migrate.revision(migrated) == migrate.HEAD
    assert differences(migrated.path) == []
    assert columns(migrated.path) == columns(created.path)


@pytest.mark.parametrize("older", ["0001", "0002", "0003"])
def test_a_database_of_an_older_version_is_brought_up_to_date_with_what_it_holds(
    tmp_path: Path, older: str
) -> None:
    old, created = Location(tmp_path / "old.db"), Location(tmp_path / "created.db")
    migrate.upgrade(created.url)
    migrate.migrate(old, to=older)
    with closing(sqlite3.connect(old.path)) as raw, raw:
        raw.execute(
            "INSERT INTO auth_keys (id, name, owner, role, digest, prefix, created_at)"
            " VALUES ('k1', 'n', 'o', 'user', 'd', 'p', 1)"
        )

    assert migrate.upgrade(old.url) is True

    assert migrate.revision(old) == migrate.HEAD
    assert columns(old.path) == columns(created.path)
    with closing(sqlite3.connect(old.path)) as raw:
        assert raw.execute("SELECT id, route_limits FROM auth_keys").fetchall() == [("k1", None)]


@pytest.mark.parametrize("file", tables.SCHEMAS)
def test_the_schema_as_text_is_that_of_the_tables(file: str) -> None:
    """Write it anew with `python -m penstock.db.tables`."""
    text = Path(tables.__file__).with_name(file).read_text(encoding="utf-8")

    assert text == tables.ddl(tables.SCHEMAS[file]())


def test_the_newest_revision_is_the_one_that_is_named() -> None:
    script = ScriptDirectory.from_config(migrate.configuration())

    assert script.get_heads() == [migrate.HEAD]


def test_a_database_of_a_newer_version_is_refused_and_kept(tmp_path: Path) -> None:
    location = Location(tmp_path / "newer.db")
    migrate.upgrade(location.url)
    with closing(sqlite3.connect(location.path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")

    with pytest.raises(StorageUnavailable, match=r"newer version \(revision 9999"):
        open_database(location.url, folder=tmp_path)

    assert migrate.revision(location) == "9999"


def test_a_file_with_other_tables_of_these_names_is_refused_and_kept(tmp_path: Path) -> None:
    location = Location(tmp_path / "foreign.db")
    with closing(sqlite3.connect(location.path)) as raw:
        raw.execute("CREATE TABLE moderation_verdicts (text)")

    with pytest.raises(StorageUnavailable, match=r"could not be made .* already exists"):
        migrate.upgrade(location.url)

    assert list(columns(location.path)) == ["moderation_verdicts"]


def test_waiting_for_another_process_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "PATIENCE", 0.0)
    location = Location(tmp_path / "busy.db")

    with FileLock(f"{location.path}.lock"), pytest.raises(StorageUnavailable, match="wait for it"):
        migrate.upgrade(location.url)


def test_processes_that_start_together_make_the_tables_once(tmp_path: Path) -> None:
    code = (
        "import sys; from penstock.db import migrate; sys.stdin.readline(); "
        "print(migrate.upgrade(sys.argv[1]))"
    )
    url = Location(tmp_path / "shared.db").url
    command = [sys.executable, "-c", code, url]
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
    assert differences(tmp_path / "shared.db") == []


def test_opening_a_database_imports_no_sqlalchemy(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; from penstock.db import open_database\n"
        "database = open_database(folder=Path(sys.argv[1]))\n"
        "names = ('sqlalchemy', 'alembic', 'fastapi', 'asyncpg')\n"
        "print(*(name for name in names if name in sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )

    assert done.stdout.split() == []
