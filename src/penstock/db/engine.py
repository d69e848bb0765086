"""The database: writes through one thread with group commit, reads where they are asked for.

A read of one row by its key costs 7 us inline against 42 us through a thread and 400 us through an
asynchronous driver, so reads run on the caller's thread; what looks at many rows goes to `scan`.
SQLite only: PostgreSQL will stand behind the same methods.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

from penstock.clock import Clock, SystemClock
from penstock.db import migrate
from penstock.db.execution import Execution
from penstock.db.faults import damaged, fault, full, gone
from penstock.db.location import Location, locate
from penstock.db.writer import Call, Job, Outcome, Params, Writer
from penstock.errors import StorageError
from penstock.observe.metrics import Metrics

if TYPE_CHECKING:
    from sqlalchemy import Executable, Row

    CoreRow = Row[*tuple[Any, ...]]
    Statement = str | Executable | Call

Durability = Literal["normal", "full"]

WRITE_PATIENCE = 5.0  # seconds that the writer waits for another process's lock
READ_PATIENCE = (
    0.1  # the same for reads, which block their caller's loop; in WAL they hardly ever wait
)
CLOSE_PATIENCE = 30.0
REMEMBER_FAILURE = 60.0  # seconds, unless a write succeeds before
LEAST_FREE = 1 << 20  # bytes on the volume, below which nothing can be relied on


class DatabaseHealth(TypedDict):
    """What `Database.health` found; sizes in bytes."""

    writable: bool
    detail: str  # what is wrong and what to do; empty when nothing is
    path: str
    size_bytes: int
    wal_bytes: int
    free_bytes: int
    integrity: str | None  # "ok" or the first damage; None when it was not asked for


def open_database(
    url: str | None = None,
    *,
    folder: Path,
    durability: Durability = "normal",
    patience: float = WRITE_PATIENCE,
    metrics: Metrics | None = None,
    clock: Clock | None = None,
) -> Database:
    """Open the database at `url` (default: `penstock.db` in `folder`), its tables up to date.

    "normal" keeps what was acknowledged through kill -9, "full" also through a power cut, for one
    fsync per commit. Raises StorageUnavailable or StorageFull with what to do, ConfigurationError
    for a URL that cannot be used.
    """
    location = locate(url, folder=folder)
    if not location.read_only:
        migrate.upgrade(location.url)
    return Database(
        location, durability=durability, patience=patience, metrics=metrics, clock=clock
    )


class Database:
    """One SQLite file, one writing and one reading connection, any number of loops."""

    def __init__(
        self,
        location: Location,
        *,
        durability: Durability = "normal",
        patience: float = WRITE_PATIENCE,
        metrics: Metrics | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.path = location.path
        self._location = location
        self._patience = patience
        self._metrics = metrics
        self._clock = clock or SystemClock()
        self._failure: tuple[str, float] | None = None  # what it said and when it was
        self._lock = threading.Lock()
        with ExitStack() as opened:
            try:
                reader = opened.enter_context(closing(_connect(location, READ_PATIENCE)))
                writer = _connect(location, patience, durability)
                opened.pop_all()
            except sqlite3.Error as error:
                raise fault(error, self.path) from error
        self._file = _inode(self.path)
        self._reader = Execution(reader, metrics=metrics)
        self._writing = Execution(writer, metrics=metrics)
        self._writer = Writer(self._writing, fault=self._fault, on_outcome=self._note)

    async def write(self, *statements: Statement) -> int:
        """Run the statements as one transaction; the number of changed rows, after COMMIT.

        A statement is plain SQL or SQLAlchemy Core, alone or with parameters; a list of parameters
        runs it for each. All or nothing. A caller that is cancelled does not know: the write may
        happen.
        """
        return await self._writer.submit([_call(statement) for statement in statements])

    def write_later(self, *statements: Statement) -> None:
        """Like `write` for what nobody waits for; a failure is logged."""
        self._writer.submit_later([_call(statement) for statement in statements])

    def get(
        self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()
    ) -> tuple[Any, ...] | None:
        """The first row of a plain SQL query, at once: for reads by key on hot paths."""
        rows = self.get_all(sql, params)
        return rows[0] if rows else None

    def get_all(
        self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """All rows of a plain SQL query, at once."""
        with self._lock:
            try:
                return self._reader.run(sql, params).fetchall()
            except sqlite3.Error as error:
                raise self._fault(error) from error

    @overload
    async def rows(self, statement: str, params: Params | None = None) -> list[tuple[Any, ...]]: ...
    @overload
    async def rows(self, statement: Executable, params: Params | None = None) -> list[CoreRow]: ...
    async def rows(self, statement: str | Executable, params: Params | None = None) -> list[Any]:
        """All rows, read inline: for queries that an index answers."""
        return self._fetch(statement, params)

    @overload
    async def row(self, statement: str, params: Params | None = None) -> tuple[Any, ...] | None: ...
    @overload
    async def row(self, statement: Executable, params: Params | None = None) -> CoreRow | None: ...
    async def row(self, statement: str | Executable, params: Params | None = None) -> Any:
        """The first row, or None."""
        rows = self._fetch(statement, params)
        return rows[0] if rows else None

    async def scan(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """All rows of a query that looks at many, read in a thread on a connection of its own."""
        return await asyncio.to_thread(self._scan, sql, params)

    async def health(self, *, check: bool = False) -> DatabaseHealth:
        """Whether records can be written now; `check` reads the whole file for damage as well.

        A record that could not be written counts until another one could, or for a minute: the
        little that is written here may fit where a record does not.
        """
        integrity = await self._check() if check else None
        try:
            # The smallest real write: BEGIN alone would succeed on a full disk.
            probe = f"PRAGMA application_id = {migrate.APPLICATION_ID}"
            await self._writer.submit([_call(probe)], probes=True)
            detail = self._last_failure()
        except StorageError as error:
            detail = error.detail
        if not detail and _inode(self.path) != self._file:
            detail = gone(self.path).detail
        if not detail and integrity not in (None, "ok"):
            detail = damaged(self.path, str(integrity)).detail
        free = shutil.disk_usage(self.path.parent).free
        if not detail and free < LEAST_FREE:
            detail = full(self.path).detail  # so small a write may have found a gap in the log
        return {
            "writable": not detail,
            "detail": detail,
            "path": str(self.path),
            "size_bytes": _size(self.path),
            "wal_bytes": _size(self.path.with_name(self.path.name + "-wal")),
            "free_bytes": free,
            "integrity": integrity,
        }

    async def aclose(self) -> None:
        """Write what waits, then close; may be called twice."""
        if await asyncio.to_thread(self._writer.close, CLOSE_PATIENCE):
            self._writing.close()
        with self._lock:
            self._reader.close()

    def _fetch(self, statement: str | Executable, params: Params | None) -> list[Any]:
        with self._lock:
            try:
                return self._reader.fetch(statement, params)
            except Exception as error:
                raise self._fault(error) from error

    def _scan(self, sql: str, params: Params) -> list[tuple[Any, ...]]:
        connection: sqlite3.Connection | None = None
        try:
            connection = _connect(self._location, self._patience)
            return Execution(connection, metrics=self._metrics).fetch(sql, params)
        except sqlite3.Error as error:
            raise self._fault(error) from error
        finally:
            if connection is not None:
                connection.close()

    async def _check(self) -> str:
        try:
            return str((await self.scan("PRAGMA quick_check(1)"))[0][0])
        except StorageError as error:
            return error.detail

    def _fault(self, error: BaseException) -> Exception:
        return fault(error, self.path)

    def _last_failure(self) -> str:
        failure = self._failure
        if failure is None or self._clock.monotonic() - failure[1] >= REMEMBER_FAILURE:
            return ""
        return failure[0]

    def _note(self, group: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        """Remember, on the writer's thread, whether the last records could be kept."""
        for job, outcome in zip(group, outcomes, strict=True):
            if job.probes:
                continue
            if isinstance(outcome, StorageError):
                self._failure = outcome.detail, self._clock.monotonic()
            elif isinstance(outcome, int) and outcome > 0:  # one that changes nothing says nothing
                self._failure = None
        failed = [outcome for outcome in outcomes if isinstance(outcome, StorageError)]
        if self._metrics is None:
            return
        self._metrics.count("penstock_db_commits_total")
        self._metrics.count("penstock_db_writes_total", len(outcomes))
        for error in failed:
            self._metrics.count("penstock_db_errors_total", kind=error.slug)


def _connect(
    location: Location, patience: float, durability: Durability = "normal"
) -> sqlite3.Connection:
    connection = sqlite3.connect(
        location.sqlite_uri,
        uri=True,
        timeout=patience,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA synchronous = {durability}")
        # Copying the log back costs an fsync: seldom enough not to show in the 99th percentile.
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the file
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _call(statement: Statement) -> Call:
    return statement if isinstance(statement, tuple) else (statement, None)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
