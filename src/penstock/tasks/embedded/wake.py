"""Tells other processes on the same file that there is something to do.

Every process that runs jobs listens on a named pipe beside the job file. A byte is enough: what is
to be done is in the file. A wake-up that gets lost costs a second at most, see `upkeep.py`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from penstock.clock import Clock
from penstock.errors import StorageError
from penstock.observe.logging import get_logger
from penstock.tasks.embedded.connection import Reader

KNOWN_FOR: Final = 1.0  # seconds that the list of other processes is trusted

_log = get_logger("penstock.tasks")


class Ear:
    """Listens for wake-ups of one process."""

    def __init__(self, path: Path, worker: int, *, woken: Callable[[], None]) -> None:
        self._place = pipe_path(path, worker)
        self._woken = woken
        self._handle: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Listen from now on."""
        try:
            self._place.unlink(missing_ok=True)
            os.mkfifo(self._place, 0o600)
            # Open for writing as well, or it would be at its end whenever nobody else writes.
            self._handle = os.open(self._place, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:  # a volume without pipes: it looks by itself each second
            _log.warning("tasks.no_wake_ups", path=str(self._place), error=str(error))
            return
        self._loop = loop
        loop.add_reader(self._handle, self._hear)

    def close(self) -> None:
        """Listen no more."""
        if self._handle is None or self._loop is None:
            return
        if not self._loop.is_closed():
            self._loop.remove_reader(self._handle)
        os.close(self._handle)
        self._handle = None
        with suppress(OSError):
            self._place.unlink()

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._handle or 0, 4096)
        self._woken()


class Peers:
    """The other processes that run jobs of the same file."""

    def __init__(self, path: Path, worker: int, *, reader: Reader, clock: Clock) -> None:
        self._path = path
        self._worker = worker
        self._reader = reader
        self._clock = clock
        self._known: list[int] = []
        self._known_at: float | None = None

    def wake(self) -> None:
        """Tell them to look at the file."""
        now = self._clock.monotonic()
        if self._known_at is None or now - self._known_at >= KNOWN_FOR:
            try:
                rows = self._reader.rows("SELECT id FROM worker WHERE runs")
            except StorageError:
                return  # they look by themselves, a little later
            self._known = [number for (number,) in rows if number != self._worker]
            self._known_at = now
        if self._known:
            wake(self._path, self._known)

    def forget(self) -> None:
        """Some have come or gone."""
        self._known_at = None


def pipe_path(path: Path, worker: int) -> Path:
    """The pipe on which a process listens."""
    return path.with_name(f"{path.name}.wake-{worker}")


def wake(path: Path, workers: Iterable[int]) -> None:
    """Wake these processes; one that is dead or has enough wake-ups waiting is passed over."""
    for worker in workers:
        try:
            handle = os.open(pipe_path(path, worker), os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # dead, or another user's: it looks by itself
            continue
        try:
            with suppress(OSError):
                os.write(handle, b"\0")
        finally:
            os.close(handle)
