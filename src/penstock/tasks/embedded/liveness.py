"""Whether a process lives, without heartbeats: it holds a lock, and the kernel lets go of it.

Every process locks a file beside the job file for as long as it lives. Whoever gets the lock of
another knows that it is dead, at once after `kill -9`, and never while it merely computes for two
hours. For local disks: locks of network file systems do not promise that.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Final

from penstock.errors import StorageUnavailable
from penstock.tasks.embedded import settle
from penstock.tasks.numbers import SLOTS

_INSERT: Final = "INSERT INTO worker (id, pid, host, started_at) VALUES (?, ?, ?, ?)"


class Registration:
    """The entry of this process among those that share the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None
        self._refused: OSError | None = None  # why a lock could not be had
        self.id = 0

    def enter(self, connection: sqlite3.Connection, *, now: int) -> int:
        """Take the lowest free id and its lock; returns the highest job number so far.

        In one transaction, so that nobody sees the entry without its lock.
        """
        connection.execute("BEGIN IMMEDIATE")
        try:
            taken = {number for (number,) in connection.execute("SELECT id FROM worker")}
            free = (number for number in range(1, SLOTS + 1) if number not in taken)
            if not any(self._take(number) for number in chain(free, sorted(taken))):
                raise self._refused or StorageUnavailable(
                    f"{SLOTS} processes use {self._path} already"
                )
            # Whoever had the number before is dead.
            settle.lost(connection, self.id, now=now, keep=settle.KEEP)
            self.leave(connection)
            host = socket.gethostname()
            connection.execute(_INSERT, (self.id, os.getpid(), host, now))
            (last,) = connection.execute("SELECT max(id) FROM job").fetchone()
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            self.release()
            raise
        return int(last or 0)

    def runs_jobs(self, connection: sqlite3.Connection) -> None:
        """Tell the others that this process runs jobs."""
        connection.execute("UPDATE worker SET runs = 1 WHERE id = ?", (self.id,))

    def leave(self, connection: sqlite3.Connection) -> None:
        """Remove the entry."""
        connection.execute("DELETE FROM worker WHERE id = ?", (self.id,))

    def release(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            with suppress(OSError):
                lock_path(self._path, self.id).unlink()
            os.close(self._lock)
            self._lock = None

    def _take(self, number: int) -> bool:
        try:
            self._lock = _lock(lock_path(self._path, number))
        except OSError as error:  # of another user, or no file: the next one will do
            self._refused = error
        if self._lock is not None:
            self.id = number
        return self._lock is not None


def lock_path(path: Path, worker: int) -> Path:
    """The file that a process holds the lock of."""
    return path.with_name(f"{path.name}.worker-{worker}")


@contextmanager
def dead(path: Path, worker: int) -> Iterator[bool]:
    """Whether a process is dead; while the block runs nobody else finds it so.

    If it is, and the block ends well, its lock file is removed. Raises OSError when that cannot be
    told: another user's lock file cannot be opened.
    """
    place = lock_path(path, worker)
    lock = _lock(place)
    try:
        yield lock is not None
        if lock is not None:
            with suppress(OSError):
                place.unlink()
    finally:
        if lock is not None:
            os.close(lock)


def is_alive(path: Path, worker: int) -> bool:
    """Whether a process lives, without disturbing who else asks."""
    try:
        handle = os.open(lock_path(path, worker), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:  # another user's
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _lock(path: Path) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever removed the file meanwhile took its name from our lock.
        if os.fstat(handle).st_ino == path.stat().st_ino:
            return handle
    except OSError:
        pass
    os.close(handle)
    return None
