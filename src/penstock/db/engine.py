"""Opens the database that a URL names: SQLite embedded, PostgreSQL as soon as there are several."""

from __future__ import annotations

from pathlib import Path

from penstock.clock import Clock
from penstock.db import migrate
from penstock.db.database import KEPT, OVERFLOW, Database, DatabaseHealth, Durability
from penstock.db.location import is_postgres, locate
from penstock.db.sqlite import SqliteDatabase
from penstock.db.writer import PATIENCE
from penstock.extras import extra
from penstock.observe.metrics import Metrics

__all__ = ["Database", "DatabaseHealth", "open_database"]


def open_database(
    url: str | None = None,
    *,
    folder: Path,
    durability: Durability = "normal",
    patience: float = PATIENCE,
    pool: tuple[int, int] = (KEPT, OVERFLOW),
    metrics: Metrics | None = None,
    clock: Clock | None = None,
) -> Database:
    """Open the database at `url` (default: `penstock.db` in `folder`), its tables up to date.

    `sqlite:///path` or `postgresql://user:password@host/name`. Of SQLite, "normal" keeps what was
    acknowledged through kill -9, "full" also through a power cut, for one fsync per commit; what
    PostgreSQL keeps is its own setting; `pool` is how many connections to it are kept open, and how
    many more there may be under load. Raises StorageUnavailable or StorageFull with what to do,
    ConfigurationError for a URL that cannot be used.
    """
    if is_postgres(url):
        with extra("postgres"):
            from penstock.db.postgres import PostgresDatabase
            from penstock.db.postgres_tables import upgrade
        upgrade(url)
        return PostgresDatabase(url, patience=patience, pool=pool, metrics=metrics, clock=clock)
    location = locate(url, folder=folder)
    if not location.read_only:
        migrate.upgrade(location.url)
    return SqliteDatabase(
        location, durability=durability, patience=patience, metrics=metrics, clock=clock
    )
