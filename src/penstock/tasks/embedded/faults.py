"""Turns what SQLite reports about the file into errors that say what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from penstock.errors import Conflict, StorageError, StorageFull, StorageUnavailable

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_DENIED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_FULL = (
    "no space is left to write {path}; free space on the volume of {folder}, "
    "jobs are accepted again without a restart"
)
_LOCKED = (
    "the job file {path} is locked by another process; "
    "end what holds it (`fuser {path}` names it), then repeat"
)
_READ_ONLY = (
    "the job file {path} cannot be written; "
    "make the file and its folder {folder} writable for the server's user"
)
_BROKEN = (
    "the job file {path} is damaged; stop the server, move the file away "
    "and put a backup in its place, or start empty without it"
)
_GONE = "the job file {path} was removed or replaced while it was open; restart the server"
_CANNOT_OPEN = "the job file {path} cannot be opened; check that {folder} exists and may be written"
_UNREADABLE = "the volume of {path} reports an input/output error; check the disk, then repeat"


def fault(error: BaseException, path: Path) -> Exception:
    """What a caller is told about `error`; itself, unless it is a fault of the file."""
    found = _fault(error, path)
    if found is not error:
        found.__cause__ = error
    return found


def newer(path: Path, version: int) -> StorageUnavailable:
    """The file was written by a later release."""
    return StorageUnavailable(
        f"the job file {path} has layout {version}, of a newer Penstock; "
        "update Penstock, or start with another file"
    )


def gone(path: Path) -> StorageUnavailable:
    """The file at `path` is not the one that was opened: what is written goes nowhere."""
    return StorageUnavailable(_GONE.format(path=path))


def _fault(error: BaseException, path: Path) -> Exception:
    places = {"path": path, "folder": path.parent}
    if isinstance(error, OSError):
        return StorageUnavailable(f"{_CANNOT_OPEN.format(**places)} ({error})")
    if not isinstance(error, sqlite3.Error):
        return error if isinstance(error, Exception) else StorageError(repr(error))
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(_FULL.format(**places))
    if code == sqlite3.SQLITE_CONSTRAINT:
        return Conflict(f"the job does not fit the stored ones: {error}")
    if code in _BUSY:
        return StorageUnavailable(_LOCKED.format(**places))
    if code in _DENIED:
        return StorageUnavailable(_READ_ONLY.format(**places))
    if code in _DAMAGED:
        return StorageUnavailable(_BROKEN.format(**places))
    if code == sqlite3.SQLITE_CANTOPEN:
        return StorageUnavailable(_CANNOT_OPEN.format(**places))
    if code == sqlite3.SQLITE_IOERR:
        return StorageUnavailable(_UNREADABLE.format(**places))
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return StorageUnavailable(f"the job file {path} is closed")
    return error
