"""Brings a database's tables to the form that this version knows.

An up-to-date database costs one plain read. A new one is made from `schema.sql`. Only an old one
needs Alembic, whose import costs a second; tests show that both ways lead to the same tables.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib import resources
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from penstock.db.faults import fault
from penstock.db.location import Location, locate
from penstock.errors import StorageError, StorageUnavailable

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

HEAD = "0004"  # the newest revision in migrations/versions
APPLICATION_ID = 0x50454E53  # "PENS": tells a file of Penstock from any other SQLite file
PATIENCE = 60.0  # seconds to wait for another process that is migrating


def upgrade(url: str) -> bool:
    """Make or update the tables at `url`; False when there was nothing to do.

    Processes that start together take turns under a file lock. Raises StorageUnavailable for a
    database that a newer version wrote or that cannot be changed.
    """
    location = locate(url)
    if location.path.is_dir():
        raise StorageUnavailable(f"{location.path} is a folder; name a file for the database")
    try:
        if revision(location) == HEAD:
            return False
        location.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(f"{location.path}.lock", timeout=PATIENCE, mode=0o600):
            found = revision(location)
            if found == HEAD:
                return False
            if found is None:
                _create(location)
            else:
                if not known(found):
                    raise newer(str(location.path), found)
                migrate(location)
            return True
    except sqlite3.Error as error:
        told = fault(error, location.path)
        if isinstance(told, StorageError):
            raise told from error
        raise StorageUnavailable(
            f"the tables of {location.path} could not be made ({error}); "
            "nothing was changed: name another file or move this one away"
        ) from error
    except Timeout as error:
        raise StorageUnavailable(
            f"another process changes the tables of {location.path} for {PATIENCE:.0f} s now; "
            "wait for it or end it, then start again"
        ) from error
    except OSError as error:
        raise StorageUnavailable(
            f"the folder {location.path.parent} cannot be written ({error.strerror}); "
            "make it writable for the server's user or set PENSTOCK_HOME"
        ) from error


def revision(location: Location) -> str | None:
    """The stored revision; None for a database that has none or does not exist."""
    if not location.path.exists():
        return None
    reading = Location(location.path, read_only=True).sqlite_uri
    with closing(sqlite3.connect(reading, uri=True, timeout=5.0)) as connection:
        tables = "SELECT count(*) FROM sqlite_master WHERE name = 'alembic_version'"
        if not connection.execute(tables).fetchone()[0]:
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return None if row is None else str(row[0])


def migrate(location: Location, *, to: str = "head") -> None:
    """Run the migrations that the database at `location` has not seen, with Alembic."""
    from alembic import command
    from sqlalchemy import URL, create_engine

    engine = create_engine(URL.create("sqlite", database=str(location.path)))
    try:
        with engine.begin() as connection:
            command.upgrade(configuration(connection), to)
    finally:
        engine.dispose()


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's settings for the packaged scripts, on `connection`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "penstock.db:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _create(location: Location) -> None:
    schema = resources.files("penstock.db").joinpath("schema.sql").read_text(encoding="utf-8")
    location.path.touch(mode=0o600)  # SQLite gives its log files the same rights
    with closing(sqlite3.connect(location.sqlite_uri, uri=True, isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = NORMAL")
        raw.executescript(
            f"BEGIN IMMEDIATE;\n{schema}\n"
            "CREATE TABLE IF NOT EXISTS alembic_version (\n"
            "    version_num VARCHAR(32) NOT NULL,\n"
            "    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)\n);\n"
            f"INSERT INTO alembic_version VALUES ('{HEAD}');\n"
            f"PRAGMA application_id = {APPLICATION_ID};\nCOMMIT;"
        )


def known(found: str) -> bool:
    """Whether this version has a migration of that name: otherwise a newer one wrote it."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        return ScriptDirectory.from_config(configuration()).get_revision(found) is not None
    except CommandError:
        return False


def newer(where: str, found: str) -> StorageUnavailable:
    """The database at `where` was written by a version that is not this one."""
    return StorageUnavailable(
        f"the database {where} was written by a newer version (revision {found}, "
        f"this version knows {HEAD}); install that version again or put a backup in its place"
    )
