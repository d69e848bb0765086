"""How far the tables of a database are, whichever it is, and bringing them up to date."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import NamedTuple

from penstock.db import migrate
from penstock.db.database import Dialect
from penstock.db.faults import fault
from penstock.db.location import is_postgres, locate, shown
from penstock.extras import extra


class Stored(NamedTuple):
    """What was found at a database's URL."""

    dialect: Dialect
    where: str  # without its password
    revision: str | None  # None: there are no tables yet
    newest: str = migrate.HEAD  # that this version writes

    @property
    def is_current(self) -> bool:
        """Whether this version can work with it as it is."""
        return self.revision == self.newest


def stored(url: str | None, *, folder: Path) -> Stored:
    """Look at the tables, change nothing. Blocks; raises StorageUnavailable and the like."""
    if is_postgres(url):
        with extra("postgres"):
            from penstock.db import postgres_tables

            return Stored("postgresql", shown(url), asyncio.run(postgres_tables.stored(url)))
    location = locate(url, folder=folder)
    try:
        found = migrate.revision(location)
    except sqlite3.Error as error:
        raise fault(error, location.path) from error
    return Stored("sqlite", str(location.path), found)


def upgrade(url: str | None, *, folder: Path) -> bool:
    """Make or update the tables; False when there was nothing to do."""
    if is_postgres(url):
        with extra("postgres"):
            from penstock.db import postgres_tables

            return postgres_tables.upgrade(url)
    return migrate.upgrade(locate(url, folder=folder).url)
