"""Where the database is: the URL of the settings as a path and as SQLite's own address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from penstock.errors import ConfigurationError

FILE_NAME = "penstock.db"
_SCHEME = "sqlite:///"
_READ_ONLY = "?mode=ro"


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
            f"the database URL {_without_password(url)!r} cannot be used; "
            "write sqlite:///relative/path.db or sqlite:////absolute/path.db"
        )
    return Location(Path(path).absolute(), read_only=url.endswith(_READ_ONLY))


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="").geturl()
