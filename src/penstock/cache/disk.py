"""The disk tier: survives a restart, shared by every process that opens the same file.

Reads are made at once, by the caller: 8 us against 57 to 156 us through an executor. Writes go to
the writing thread (`writer.py`) and are visible to this process' reads before they are on disk;
`settled` says when others see them too.
What a crash of the machine takes are the last moments of writes, never the file.

With a hub that spans machines the file is this process' alone (`distrust`): who was not told of a
change must not write what others read, and whoever was not there while something changed must not
read it. Each entry begins with its author, a number that is drawn anew at each start and gap.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path

from penstock.cache.database import Damaged, Database, set_aside
from penstock.cache.entry import Entry, EntryInfo, Selection, TierStats
from penstock.cache.patterns import as_glob
from penstock.cache.record import as_entry
from penstock.cache.writer import RECENT, SHARED, Writer
from penstock.clock import Clock, SystemClock
from penstock.errors import CacheUnavailable, UnreadableValue
from penstock.observe.logging import get_logger

_BEGIN = len(SHARED)

log = get_logger("penstock.cache")


class DiskStore:
    """Keeps entries in one SQLite file; safe to use from any thread and any event loop."""

    name = "disk"

    def __init__(
        self,
        path: Path | str,
        *,
        max_bytes: int = 1 << 30,
        max_pending: int = 16 << 20,
        compress_from: int | None = 2048,
        clock: Clock | None = None,
    ) -> None:
        self.path = Path(path)
        self.max_bytes = max_bytes
        self._clock = clock or SystemClock()
        self._now = self._clock.now
        self._writer = Writer(
            self.path,
            max_bytes=max_bytes,
            max_pending=max_pending,
            compress_from=compress_from,
            clock=self._clock,
        )
        self._lock = threading.Lock()
        self._database: Database | None = None
        self._unreadable = 0
        self._closed = False
        self._finalizer = weakref.finalize(self, self._writer.close)

    # --- at once, for callers without a loop -------------------------------------------------

    def read(self, keys: Iterable[str]) -> dict[str, Entry]:
        found = {}
        for key in keys:
            entry = self.get(key)
            if entry is not None:
                found[key] = entry
        return found

    def get(self, key: str) -> Entry | None:
        """One entry; of bytes, until somebody who knows their type says so."""
        is_pending, entry = self._writer.find(key)
        if not is_pending:
            entry = self._read(key)
        if entry is None:
            return None
        if self._now() >= entry.expires:
            self._writer.discard((key,), yields=True)
            return None
        return entry

    def write(self, entries: Iterable[Entry]) -> None:
        self._writer.add(entries, yields=True)

    def remove(self, keys: Iterable[str], *, yields: bool = False) -> int:
        present = [key for key in keys if self.get(key) is not None]
        self._writer.discard(keys, yields=yields)
        return len(present)

    def withdraw(self, meant: Callable[[str], object]) -> None:
        self._writer.withdraw(meant)

    def drop(self, keys: Iterable[str]) -> None:
        self._writer.discard(keys)

    def distrust(self) -> None:
        self._writer.distrust()

    def settled(self) -> Future[None]:
        return self._writer.submit(lambda _: None)

    def watch(self, catch_up: Callable[[], None]) -> None:
        self._writer.before_commit = catch_up

    def flush(self) -> None:
        """Return when everything written so far is on disk; raises CacheUnavailable."""
        self.settled().result()

    # --- the Store -----------------------------------------------------------------------------

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        return self.read(keys)

    async def set_many(self, entries: Sequence[Entry]) -> None:
        if self._writer.has_room(entries):
            self._writer.add(entries)
        else:
            await asyncio.to_thread(self._writer.add, entries, wait=True)

    async def delete(self, keys: Sequence[str]) -> int:
        return self.remove(keys)

    async def clear(self, selection: Selection) -> int:
        glob = as_glob(selection.pattern or "*")
        return await asyncio.wrap_future(
            self._writer.submit(
                lambda db: db.remove_where(glob, selection.tag, selection.created_before)
            )
        )

    async def scan(self, pattern: str, limit: int) -> list[EntryInfo]:
        now, glob = self._now(), as_glob(pattern)
        rows = await asyncio.wrap_future(self._writer.submit(lambda db: db.scan(glob, now, limit)))
        return [
            EntryInfo(key, size, max(0.0, now - created), expires - now, self.name)
            for key, size, created, expires in rows
        ]

    async def sweep(self) -> int:
        writer = self._writer
        before = writer.expired
        await asyncio.wrap_future(writer.submit(writer.expire))
        return writer.expired - before

    async def stats(self) -> TierStats:
        writer = self._writer
        stats = TierStats(max_bytes=self.max_bytes)
        try:
            summary = await asyncio.wrap_future(writer.submit(lambda db: db.summary()))
            stats.entries, stats.size_bytes = summary
        except CacheUnavailable as error:
            stats.state, stats.detail = "down", error.detail
        if writer.breaker.is_open:
            stats.state, stats.detail = "down", writer.breaker.detail
        stats.writes = writer.writes
        stats.evictions = writer.evictions
        stats.expired = writer.expired
        stats.errors = writer.breaker.errors + self._unreadable
        stats.skipped = writer.skipped
        stats.dropped = writer.dropped
        return stats

    async def aclose(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._writer.close)
        self._finalizer.detach()
        self._close_database()

    # --- reading the file ------------------------------------------------------------------------

    def _read(self, key: str) -> Entry | None:
        try:
            with self._lock:
                database = self._database
                if database is None:
                    if self._closed or not self.path.exists():
                        return None
                    database = self._database = Database(self.path, writable=False)
                record = database.get(key)
        except Damaged as error:
            self._give_up(error)
            return None
        except UnicodeEncodeError:  # a key with a lone surrogate is in no file
            return None
        if record is None:
            return None
        author = record[:_BEGIN]
        if author != self._writer.author and len(author) == _BEGIN:
            return None
        recent = self._writer.recent
        if len(recent) < RECENT:
            recent.add(key)
        try:
            return as_entry(key, record, _BEGIN)
        except UnreadableValue:
            self._unreadable += 1
            self._writer.discard((key,), yields=True)
            return None

    def _give_up(self, error: Damaged) -> None:
        log.warning("cache.file_damaged", path=self.path.name, error=error.detail)
        self._unreadable += 1
        self._close_database()
        set_aside(self.path)

    def _close_database(self) -> None:
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None
