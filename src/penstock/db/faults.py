"""Turns what SQLite reports into errors that say which file is concerned and what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from penstock.errors import Conflict, StorageFull, StorageUnavailable

# Primary result codes, https://www.sqlite.org/rescode.html
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_DENIED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def fault(error: BaseException, path: Path) -> Exception:
    """What a caller is told about `error`: a StorageError or Conflict where that is what it means.

    Anything else (a wrong statement, an unknown table) is a bug and is returned as it is.
    """
    origin = getattr(error, "orig", None) or error  # SQLAlchemy keeps the driver's error there
    if not isinstance(origin, sqlite3.Error):
        return _as_exception(error)
    code = (getattr(origin, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return _caused(full(path), origin)
    if code == sqlite3.SQLITE_CONSTRAINT:
        return _caused(Conflict(f"the record does not fit the stored ones: {origin}"), origin)
    detail = _detail(code, str(origin))
    if detail is None:
        return _as_exception(error)
    return _caused(StorageUnavailable(detail.format(path=path, folder=path.parent)), origin)


def full(path: Path) -> StorageFull:
    """There is no space left for the database at `path`."""
    return StorageFull(_FULL.format(path=path, folder=path.parent))


def damaged(path: Path, finding: str) -> StorageUnavailable:
    """A check of the database at `path` found something."""
    what, _, fix = _BROKEN.format(path=path).partition("; ")
    return StorageUnavailable(f"{what} ({finding}); {fix}")


def gone(path: Path) -> StorageUnavailable:
    """The file at `path` is not the one that was opened: what is written goes nowhere."""
    return StorageUnavailable(
        f"the database {path} was removed or replaced while it was open; restart the server"
    )


_FULL = (
    "no space is left to write {path}; free space on the volume of {folder}, "
    "records are accepted again without a restart"
)
_LOCKED = (
    "the database {path} is locked by another process; "
    "end what holds it (`fuser {path}` names it), then repeat"
)
_READ_ONLY = (
    "the database {path} cannot be written; "
    "make the file and its folder {folder} writable for the server's user"
)
_BROKEN = (
    "the database {path} is damaged; stop the server, move the file away "
    "and put a backup in its place, or start empty without it"
)
_CANNOT_OPEN = "the database {path} cannot be opened; check that {folder} exists and may be written"
_UNREADABLE = "the volume of {path} reports an input/output error; check the disk, then repeat"
_CLOSED = "the database {path} is closed"


def _detail(code: int, message: str) -> str | None:
    if code in _BUSY:
        return _LOCKED
    if code in _DENIED:
        return _READ_ONLY
    if code in _DAMAGED:
        return _BROKEN
    if code == sqlite3.SQLITE_CANTOPEN:
        return _CANNOT_OPEN
    if code == sqlite3.SQLITE_IOERR:
        return _UNREADABLE
    if "closed database" in message:
        return _CLOSED
    return None


def _caused(error: Exception, origin: BaseException) -> Exception:
    error.__cause__ = origin
    return error


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(repr(error))
