"""The file under the disk tier: connections, pragmas and every SQL statement of the cache.

One table with a rowid (WITHOUT ROWID reads 20 kB values at half the speed), written by UPSERT, with
a write-ahead log that is folded in every 16,000 pages: 13 us a write against 45 us with REPLACE and
the default of 1,000. The order of rowids is the order of eviction.

A file that SQLite cannot read is set aside, not repaired: what it held can be computed again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from penstock.errors import CacheUnavailable

LAYOUT = 1
EVICT = 500  # rows looked at in one go
CHUNKS = (128, 16, 1)  # rows per statement, see `put`

_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "wal_autocheckpoint=16000",
    "mmap_size=1073741824",
    "cache_size=-16384",
    "temp_store=MEMORY",
    "busy_timeout=5000",
)
_TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    fresh_until REAL NOT NULL,
    stale_until REAL NOT NULL,
    expires REAL NOT NULL,
    sequence INTEGER NOT NULL,
    tags TEXT NOT NULL,
    value BLOB NOT NULL
)
"""
_EXPIRES = "CREATE INDEX IF NOT EXISTS entries_expires ON entries (expires)"
_GET = (
    "SELECT value, created, fresh_until, stale_until, expires, sequence, tags "
    "FROM entries WHERE key = ?"
)
_PUT = """
INSERT INTO entries (key, created, fresh_until, stale_until, expires, sequence, tags, value)
VALUES {rows}
ON CONFLICT (key) DO UPDATE SET
    created = excluded.created, fresh_until = excluded.fresh_until,
    stale_until = excluded.stale_until, expires = excluded.expires,
    sequence = excluded.sequence, tags = excluded.tags, value = excluded.value
"""
_PUTS = {n: _PUT.format(rows=", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * n)) for n in CHUNKS}
_SELECT = "key GLOB ? AND (? IS NULL OR instr(tags, ?) > 0) AND (? IS NULL OR created < ?)"

Row = tuple[str, float, float, float, float, int, str, bytes]


class Summary(NamedTuple):
    """Sizes of the file."""

    entries: int
    size_bytes: int


class Database:
    """One connection. Errors of SQLite become CacheUnavailable; a damaged file raises Damaged."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        with translated():
            if writable:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path.absolute().as_uri() + ("" if writable else "?mode=rw"),
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=32,
            )
            try:
                self._prepare(writable)
            except BaseException:
                self._connection.close()
                raise
            self._file = _identity(path)

    def _prepare(self, writable: bool) -> None:
        run = self._connection.execute
        for pragma in _PRAGMAS if writable else _PRAGMAS[3:]:
            run(f"PRAGMA {pragma}").fetchall()
        if writable:
            (layout,) = run("PRAGMA user_version").fetchone()
            if layout not in (0, LAYOUT):
                run("DROP TABLE IF EXISTS entries")  # another version's: it can be computed again
            run(_TABLE)
            run(_EXPIRES)
            run(f"PRAGMA user_version={LAYOUT}")
        else:
            run("PRAGMA busy_timeout=100")
            run("PRAGMA query_only=1")

    @property
    def is_replaced(self) -> bool:
        """Whether the path no longer leads to the file that is open."""
        return _identity(self.path) != self._file

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    # --- questions ---------------------------------------------------------------------------

    def get(self, key: str) -> tuple[Any, ...] | None:
        """Value, times, sequence and tags under one key."""
        with translated():
            row: tuple[Any, ...] | None = self._connection.execute(_GET, (key,)).fetchone()
            return row

    def scan(self, glob: str, now: float, limit: int) -> list[tuple[str, int, float, float]]:
        """Key, size, created and expires of what matches."""
        with translated():
            return self._connection.execute(
                "SELECT key, length(value), created, expires FROM entries "
                "WHERE key GLOB ? AND expires > ? LIMIT ?",
                (glob, now, limit),
            ).fetchall()

    def summary(self) -> Summary:
        """How much there is."""
        with translated():
            (entries,) = self._connection.execute("SELECT count(*) FROM entries").fetchone()
            return Summary(entries, self.size())

    def size(self) -> int:
        """Bytes in use in the file, by whichever process they were written."""
        with translated():
            run = self._connection.execute
            (pages,) = run("PRAGMA page_count").fetchone()
            (free,) = run("PRAGMA freelist_count").fetchone()
            (page,) = run("PRAGMA page_size").fetchone()
            return int((pages - free) * page)

    # --- changes ---------------------------------------------------------------------------------

    def apply(self, rows: Sequence[Row], removed: Sequence[str]) -> None:
        """Put and remove in one transaction."""
        with translated():
            run = self._connection.execute
            run("BEGIN IMMEDIATE")
            try:
                self._put(rows)
                for key in removed:
                    run("DELETE FROM entries WHERE key = ?", (key,))
                run("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    run("ROLLBACK")
                raise

    def _put(self, rows: Sequence[Row]) -> None:
        """Many rows per statement.

        Python gives up its lock around each statement and, beside a busy thread, waits 5 ms to get
        it back: row by row that would be 200 rows a second.
        """
        at = 0
        for chunk in CHUNKS:
            while len(rows) - at >= chunk:
                values = [value for row in rows[at : at + chunk] for value in row]
                self._connection.execute(_PUTS[chunk], values)
                at += chunk

    def remove_expired(self, now: float, limit: int = 1000) -> int:
        """Remove at most `limit` rows that have expired; returns how many there were."""
        with translated():
            return self._connection.execute(
                "DELETE FROM entries WHERE id IN "
                "(SELECT id FROM entries WHERE expires <= ? ORDER BY expires LIMIT ?)",
                (now, limit),
            ).rowcount

    def remove_where(self, glob: str, tag: str | None, before: float | None) -> int:
        """Remove what matches all that is given; returns how many there were."""
        with translated():
            return self._connection.execute(
                f"DELETE FROM entries WHERE {_SELECT}",
                (glob, tag, tag and f"\n{tag}\n", before, before),
            ).rowcount

    def evict(self, spared: Callable[[str], bool]) -> int:
        """Remove the oldest rows but for the spared, who go to the end of the queue."""
        with translated():
            run = self._connection.execute
            rows = run("SELECT id, key FROM entries ORDER BY id LIMIT ?", (EVICT,)).fetchall()
            kept = [(number,) for number, key in rows if spared(key)]
            gone = [(number,) for number, key in rows if not spared(key)]
            if not gone:  # everybody was read lately: the oldest half goes all the same
                gone, kept = kept[: len(kept) // 2 + 1], []
            run("BEGIN IMMEDIATE")
            many = self._connection.executemany
            many("DELETE FROM entries WHERE id = ?", gone)
            many("UPDATE entries SET id = (SELECT max(id) + 1 FROM entries) WHERE id = ?", kept)
            run("COMMIT")
            return len(gone)

    def fold_in(self) -> None:
        """Move the write-ahead log into the file, as far as no reader is in the way."""
        with translated():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


class Damaged(CacheUnavailable):
    """The cache's file is not one that SQLite can read."""


class translated(contextlib.ContextDecorator):  # noqa: N801 - reads as a word
    """Turns errors of SQLite and the file system into ours; a class, being on every read."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, sqlite3.OperationalError | OSError):
            raise CacheUnavailable(f"the cache's file cannot be used: {error}") from error
        if isinstance(error, sqlite3.DatabaseError):
            raise Damaged(f"the cache's file is damaged: {error}") from error
        if isinstance(error, sqlite3.Error):
            raise CacheUnavailable(str(error)) from error


def set_aside(path: Path) -> None:
    """Move a damaged file out of the way, over the one that was set aside before."""
    with contextlib.suppress(OSError):
        os.replace(path, path.with_name(path.name + ".damaged"))
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).unlink()


def as_row(
    key: str, times: Iterable[float], sequence: int, tags: Sequence[str], data: bytes
) -> Row:
    """A row to put."""
    created, fresh_until, stale_until, expires = times
    # Framed by line ends, so that one tag can be found in the text without finding parts of others.
    text = "\n" + "\n".join(tags) + "\n" if tags else ""
    return key, created, fresh_until, stale_until, expires, sequence, text, data


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
