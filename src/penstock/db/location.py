"""Where the database is: the URL of the settings as a path or an address that a driver reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard
from urllib.parse import quote

from penstock.errors import ConfigurationError
from penstock.net import address

FILE_NAME = "penstock.db"
_SCHEME = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://", "postgresql+asyncpg://")
_READ_ONLY = "?mode=ro"
_SSL = re.compile(r"(?:^|(?<=&))ssl=")


@dataclass(frozen=True, slots=True)
class Location:
    """A SQLite file. `read_only` opens it without the right to change it (`?mode=ro`)."""

    path: Path
    read_only: bool = False

    @property
    def url(self) -> str:
        """The address as SQLAlchemy writes it, without escapes; `locate` reads it back."""
        return f"{_SCHEME}{self.path}{_READ_ONLY if self.read_only else ''}"

    @property
    def sqlite_uri(self) -> str:
        """The address as SQLite's URI filenames write it (https://www.sqlite.org/uri.html)."""
        return f"file:{quote(str(self.path))}?mode={'ro' if self.read_only else 'rwc'}"


def locate(url: str | None, *, folder: Path | None = None) -> Location:
    """Read `sqlite:///relative.db` or `sqlite:////absolute.db`; None is `penstock.db` in `folder`.

    Raises ConfigurationError for any other address.
    """
    if not url:
        return Location(((folder or Path()) / FILE_NAME).absolute())
    path = url.removeprefix(_SCHEME).removesuffix(_READ_ONLY)
    if not url.startswith(_SCHEME) or path in ("", ":memory:"):
        raise ConfigurationError(
            f"the database URL {shown(url)!r} cannot be used; "
            "write sqlite:///relative/path.db, sqlite:////absolute/path.db or "
            "postgresql://user:password@host:5432/name"
        )
    return Location(Path(path).absolute(), read_only=url.endswith(_READ_ONLY))


def is_postgres(url: str | None) -> TypeGuard[str]:
    """Whether `url` names a database on a PostgreSQL server."""
    return url is not None and url.startswith(_POSTGRES)


def dsn(url: str) -> str:
    """The address of a PostgreSQL database as asyncpg reads it.

    Raises ConfigurationError where a password in it would be taken for something else.
    """
    if fault := address.fault(url):
        raise ConfigurationError(f"the database URL {shown(url)!r}: {fault}")
    where, mark, options = url.partition("://")[2].partition("?")
    # SQLAlchemy's spelling for asyncpg; the server would be told of it as a setting of its own.
    return f"postgresql://{where}{mark}{_SSL.sub('sslmode=', options)}"


def shown(url: str) -> str:
    """An address without what is secret in it, for logs and errors; a wrong one is not guessed."""
    return address.shown(url, user=True)
