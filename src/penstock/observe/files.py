"""A log file that is renamed away when it is full; any number of processes may append to it."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

MAX_BYTES: Final = 16 << 20
KEPT: Final = 5  # full files beside the one being written


class RotatingFile:
    """Appends lines, each by one system call; `name` moves to `name.1`, that to `name.2`, ...

    A write never raises: a full or read-only disk costs lines, counted in `lost`, not answers.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._lock = Lock()
        self._descriptor: int | None = None
        self.lost = 0

    def write(self, line: bytes) -> None:
        """Append one line."""
        with self._lock:
            try:
                os.write(self._opened(len(line)), line)
            except OSError:
                self.lost += 1
                self._close()

    def close(self) -> None:
        """Release the file; the next write opens it again."""
        with self._lock:
            self._close()

    def _opened(self, more: int) -> int:
        if self._descriptor is None:
            return self._open()
        # Another process may have renamed the file: a stat costs 1 us and finds out.
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return self._open()
        if there.st_ino != os.fstat(self._descriptor).st_ino:
            return self._open()
        if there.st_size and there.st_size + more > self._max_bytes:
            self._rotate(there.st_ino)
            return self._open()
        return self._descriptor

    def _open(self) -> int:
        self._close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Readable by its owner alone: lines tell who asked for what.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _rotate(self, inode: int) -> None:
        """Rename, under a lock on the full file itself, unless another process just did."""
        assert self._descriptor is not None
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        if os.stat(self._path).st_ino != inode:
            return
        for number in range(self._kept - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(self._numbered(number), self._numbered(number + 1))
        os.replace(self._path, self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
