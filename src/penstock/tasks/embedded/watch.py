"""Tells who waits for a job that it has changed, or ended.

Jobs that run in this process tell of themselves; those of others are looked at every half second,
as long as somebody waits for them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import msgspec

from penstock.errors import StorageError
from penstock.tasks.embedded.connection import Reader
from penstock.tasks.job import JobRecord

POLL: Final = 0.5  # seconds

_SIGNS: Final = (
    "SELECT json_group_array(json_array(id, state, attempt, priority, cancelling, run_at, "
    "progress)) FROM job WHERE id IN (SELECT value FROM json_each(?))"
)


class Watches:
    """Who waits for which job in this process. `read` gives the records of jobs, as stored."""

    def __init__(self) -> None:
        self.read: Callable[[Sequence[int]], Mapping[int, JobRecord]] = lambda _: {}
        self.changes: dict[int, set[Watch]] = {}
        self.ends: dict[int, set[asyncio.Future[JobRecord]]] = {}
        self._changed: list[int] = []

    @contextmanager
    def on(self, number: int) -> Iterator[Watch]:
        """A watch on a job."""
        watch = Watch()
        self.changes.setdefault(number, set()).add(watch)
        try:
            yield watch
        finally:
            left = self.changes[number]
            left.discard(watch)
            if not left:
                del self.changes[number]

    @contextmanager
    def on_end(self, number: int) -> Iterator[asyncio.Future[JobRecord]]:
        """The record of a job, once it has ended."""
        future: asyncio.Future[JobRecord] = asyncio.get_running_loop().create_future()
        self.ends.setdefault(number, set()).add(future)
        try:
            yield future
        finally:
            left = self.ends[number]
            left.discard(future)
            if not left:
                del self.ends[number]

    def moved(self, number: int) -> None:
        """A job has changed, but not ended; on the engine's loop."""
        for watch in tuple(self.changes.get(number, ())):
            watch.tell()

    def changed(self, number: int) -> None:
        """A job has changed, and may have ended; on the engine's loop."""
        self.moved(number)
        if number in self.ends:
            if not self._changed:  # those of one turn are read together
                asyncio.get_running_loop().call_soon(self._settle)
            self._changed.append(number)

    def close(self, error: Exception) -> None:
        """There is nothing more to come."""
        for number in tuple(self.changes):
            self.moved(number)
        for futures in tuple(self.ends.values()):
            for future in tuple(futures):
                _on_its_loop(future.get_loop(), _refuse, future, error)

    def _settle(self) -> None:
        numbers, self._changed = self._changed, []
        try:
            records = self.read(numbers)
        except StorageError:
            return  # the poll comes by
        for number in numbers:
            record = records.get(number)
            if record is not None and record.is_final:
                for future in tuple(self.ends.get(number, ())):
                    _on_its_loop(future.get_loop(), _give, future, record)


class Watch:
    """One waiter for changes; on any loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Wake it."""
        _on_its_loop(self._loop, self._changed.set)

    async def change(self) -> None:
        """Return when the job may have changed since the last time."""
        await self._changed.wait()
        self._changed.clear()


class Poll:
    """Looks at the jobs that others run, while somebody waits for them."""

    def __init__(self, reader: Reader, watches: Watches, *, is_here: Callable[[int], bool]) -> None:
        self._reader = reader
        self._watches = watches
        self._is_here = is_here
        self._lock = threading.Lock()
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look from now on."""
        with self._lock:
            looking = self._looking
            if looking is None or looking.done() or looking.get_loop().is_closed():
                self._looking = asyncio.ensure_future(self._look_while_watched())

    def stop(self) -> None:
        """Look no more."""
        looking = self._looking
        if looking is not None:
            with suppress(RuntimeError):  # its loop is closed
                _on_its_loop(looking.get_loop(), looking.cancel)

    async def _look_while_watched(self) -> None:
        watches = self._watches
        known: dict[int, Any] = {}
        while watches.changes or watches.ends:
            await asyncio.sleep(POLL)
            numbers = [n for n in {*watches.changes, *watches.ends} if not self._is_here(n)]
            if not numbers:
                continue
            wanted = msgspec.json.encode(numbers).decode()
            try:
                found = await asyncio.to_thread(self._reader.rows, _SIGNS, (wanted,))
            except StorageError:
                continue  # who reads the record will be told
            signs = {sign[0]: sign for sign in msgspec.json.decode(found[0][0])}
            for number in numbers:
                if known.get(number) != signs.get(number):
                    watches.changed(number)
            known = signs


def _on_its_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: Any) -> None:
    if loop is _running():
        call(*args)
    else:
        with suppress(RuntimeError):  # its loop is closed
            loop.call_soon_threadsafe(call, *args)


def _give(future: asyncio.Future[JobRecord], record: JobRecord) -> None:
    if not future.done():
        future.set_result(record)


def _refuse(future: asyncio.Future[JobRecord], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
