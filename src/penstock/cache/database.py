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
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from penstock.errors import CacheUnavailable

LAYOUT = 3
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
    expires REAL NOT NULL,
    tags TEXT NOT NULL,
    record BLOB NOT NULL
)
"""
_EXPIRES = "CREATE INDEX IF NOT EXISTS entries_expires ON entries (expires)"
# One column holds all that a hit needs: with five more a get takes 6.1 us, not 5.0.
_GET = "SELECT record FROM entries WHERE key = ?"
_PUT = """
INSERT INTO entries (key, created, expires, tags, record)
VALUES {rows}
ON CONFLICT (key) DO UPDATE SET
    created = excluded.created, expires = excluded.expires,
    tags = excluded.tags, record = excluded.record
"""
_PUTS = {n: _PUT.format(rows=", ".join(["(?, ?, ?, ?, ?)"] * n)) for n in CHUNKS}
_SELECT = "key GLOB ? AND (? IS NULL OR instr(tags, ?) > 0) AND (? IS NULL OR created < ?)"

Row = tuple[str, float, float, str, bytes]  # key, created, expires, tags, record


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
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(mode=0o600)  # SQLite gives its log files the same rights
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

    def get(self, key: str) -> bytes | None:
        """The record under one key."""
        try:
            row = self._connection.execute(_GET, (key,)).fetchone()
        except sqlite3.Error as error:
            if "no such table" in str(error):  # another process is about to make it
                return None
            raise _translate(error) from error
        return None if row is None else row[0]

    def scan(self, glob: str, now: float, limit: int) -> list[tuple[str, int, float, float]]:
        """Key, size, created and expires of what matches."""
        with translated():
            return self._connection.execute(
                "SELECT key, length(record), created, expires FROM entries "
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

    def apply(
        self, rows: Sequence[Row], removed: Sequence[str], spare: Callable[[], Container[str]]
    ) -> None:
        """Put and remove in one transaction.

        `spare` is asked once nobody else can write, for the keys to leave alone after all.
        """
        with translated():
            run = self._connection.execute
            run("BEGIN IMMEDIATE")
            try:
                spared = spare()
                self._put([row for row in rows if row[0] not in spared])
                for key in removed:
                    if key in spared:
                        continue
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
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


class Damaged(CacheUnavailable):
    """The cache's file is not one that SQLite can read."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn errors of SQLite and the file system into ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise _translate(error) from error


def _translate(error: Exception) -> CacheUnavailable:
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return Damaged(f"the cache's file is damaged: {error}")
    return CacheUnavailable(f"the cache's file cannot be used: {error}")


def set_aside(path: Path) -> None:
    """Move a damaged file out of the way, over the one that was set aside before."""
    with contextlib.suppress(OSError):
        os.replace(path, path.with_name(path.name + ".damaged"))
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).unlink()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
