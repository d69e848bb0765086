"""Opens connections to the file, and makes its tables."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from penstock.errors import StorageUnavailable
from penstock.tasks.embedded.faults import fault, gone, newer

Durability = Literal["normal", "full"]

LAYOUT: Final = 1
WRITE_PATIENCE: Final = 5.0  # seconds that the writer waits for another process's lock
READ_PATIENCE: Final = 0.1  # reads block their caller's loop, and hardly ever wait
_CHECKPOINT: Final = 16_000  # pages: a cap; `Upkeep` folds the log in before it grows to that
_LOOK_EVERY: Final = 1_000  # milliseconds
_TRIES: Final = 50  # to switch to the log, which no busy handler waits for


def open_file(path: Path, durability: Durability, *, patience: float) -> sqlite3.Connection:
    """The writing connection of the job file, made if there is none. Raises StorageError."""
    connection: sqlite3.Connection | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _connect(path, patience, mode="rwc")
        _begin_log(connection)
        connection.execute(f"PRAGMA synchronous = {durability}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        _make_tables(connection, path)
    except (OSError, sqlite3.Error, StorageUnavailable) as error:
        if connection is not None:
            connection.close()
        raise fault(error, path) from error
    return connection


class OpenFile:
    """Whether a path still leads to the file that was opened: without it nothing is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = _identity(path)
        self._looked_at = 0

    def is_gone(self) -> bool:
        """Look now."""
        return _identity(self._path) != self._opened

    def check(self, now: int) -> None:
        """Look, once a second of the engine's time. Raises StorageUnavailable."""
        if now - self._looked_at >= _LOOK_EVERY:
            if self.is_gone():
                raise gone(self._path)
            self._looked_at = now


class Reader:
    """A connection that only reads, for callers on any thread, one at a time.

    It is opened when it is first needed; the file is there from the beginning.
    """

    def __init__(self, path: Path, *, patience: float = READ_PATIENCE) -> None:
        self._path = path
        self._patience = patience
        self._file = OpenFile(path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows. Raises StorageError."""
        with self._lock:
            try:
                return self._open().execute(sql, params).fetchall()
            except (OSError, sqlite3.Error) as error:
                raise fault(error, self._path) from error

    def row(self, sql: str, params: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row, or None. Raises StorageError."""
        rows = self.rows(sql, params)
        return rows[0] if rows else None

    def run(self, work: Any) -> Any:
        """What a function of the connection returns. Raises StorageError."""
        with self._lock:
            try:
                return work(self._open())
            except (OSError, sqlite3.Error) as error:
                raise fault(error, self._path) from error

    def close(self) -> None:
        """Read no more."""
        with self._lock:
            self._is_closed = True
            if self._connection is not None:
                self._connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._is_closed:
            raise StorageUnavailable(f"the job file {self._path} is closed")
        if self._connection is None:
            if self._file.is_gone():
                raise gone(self._path)
            self._connection = _connect(self._path, self._patience)
            self._connection.execute("PRAGMA query_only = ON")
        return self._connection


def fold_log(path: Path) -> None:
    """Copy the write-ahead log into the file as far as nobody else is in the way."""
    with closing(_connect(path, 0.0)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()


def _connect(path: Path, patience: float, *, mode: str = "rw") -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
    )


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to; None for none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _begin_log(connection: sqlite3.Connection) -> None:
    pause = threading.Event()
    for attempt in range(_TRIES):
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            locked = (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_BUSY
            if not locked or attempt == _TRIES - 1:
                raise
            pause.wait(0.02)
        else:
            return


def _make_tables(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > LAYOUT:
        raise newer(path, version)
    if version == LAYOUT:
        return
    folder = files("penstock.tasks.embedded")
    tables = [folder.joinpath(name).read_text() for name in ("schema.sql", "schedule.sql")]
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE; {' '.join(tables)} PRAGMA user_version = {LAYOUT}; COMMIT;"
        )
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
