"""Write-behind: one thread that puts what is pending on disk, in batches.

What comes within a moment is one commit, unless someone waits for it: a commit per result would
take turns with the loop that computes them. Pending entries can be read meanwhile.

The queue has a bound in bytes; who does not wait for room loses the write, and it is counted. When
the disk fails, the outage is logged once, writes are dropped, and one attempt after each pause
finds out whether it is over.

What was computed yields to what other processes set or deleted since: it is withdrawn up to the
moment when this process alone may write, see `before_commit`.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from penstock.cache.breaker import Breaker
from penstock.cache.database import Damaged, Database, Row, set_aside
from penstock.cache.entry import Entry
from penstock.cache.record import as_row
from penstock.clock import Clock
from penstock.errors import CacheUnavailable, UnencodableValue
from penstock.observe.logging import get_logger

T = TypeVar("T")
BATCH = 2048  # entries in one transaction
EXPIRE_EVERY = 60.0  # seconds between looks for expired rows
GATHER = 0.05  # seconds that results may wait for others; what a crash can lose of a cache
IDLE = 1.0  # seconds without a write after which the log is folded in: reads are quicker then
RECENT = 50_000  # keys remembered as read lately
SHARED = bytes(8)  # the author of what every process on this file may use

log = get_logger("penstock.cache")


class Writer:
    """Owns the thread, the writing connection and everything that is not on disk yet."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        max_pending: int,
        compress_from: int | None,
        clock: Clock,
    ) -> None:
        self.path = path
        self.breaker = Breaker("disk", clock, after=1)
        self.author = SHARED  # what is written and read here begins with this
        self.recent: set[str] = set()
        self.writes = self.evictions = self.expired = self.skipped = self.dropped = 0
        self._max_bytes = max_bytes
        self._max_pending = max_pending
        self._compress_from = compress_from
        self._clock = clock
        self._database: Database | None = None
        self._condition = threading.Condition()
        self._pending: dict[str, Entry | None] = {}  # None: to be removed
        self._writing: dict[str, Entry | None] = {}
        self._yielding: set[str] = set()  # pending keys that may be withdrawn
        self._writing_yields: set[str] = set()  # the same of what is being written
        self._withdrawn: set[str] = set()  # what was withdrawn of it
        self.before_commit: Callable[[], None] | None = None
        self._pending_bytes = 0
        self._errands: list[tuple[Callable[[Database], Any], Future[Any]]] = []
        self._thread: threading.Thread | None = None
        self._closing = False
        self._gathering = False  # the thread waits for more, and need not be told of it
        self._unfolded = False  # something lies in the write-ahead log

    # --- for any thread ----------------------------------------------------------------------

    def find(self, key: str) -> tuple[bool, Entry | None]:
        """Whether the key is pending, and its entry; None when it is about to be removed."""
        pending, writing = self._pending, self._writing
        if pending and key in pending:
            return True, pending.get(key)
        if writing and key in writing and key not in self._withdrawn:
            return True, writing.get(key)
        return False, None

    def add(self, entries: Iterable[Entry], *, wait: bool = False, yields: bool = False) -> None:
        """Queue entries; without `wait`, what finds no room is dropped.

        What `yields` is withdrawn when another process changes it before it is on disk.
        """
        with self._condition:
            for entry in entries:
                if self._closing or (self.breaker.is_open and not self.breaker.is_due()):
                    self.dropped += 1
                    continue
                if self._pending_bytes > self._max_pending and not (wait and self._make_room()):
                    self.dropped += 1
                    continue
                self._pending[entry.key] = entry
                (self._yielding.add if yields else self._yielding.discard)(entry.key)
                self._pending_bytes += entry.size + 200
            if not self._gathering or self._is_urgent():
                self._wake()

    def has_room(self, entries: Sequence[Entry]) -> bool:
        """Whether these would fit the queue now."""
        coming = sum(entry.size + 200 for entry in entries)
        return self._pending_bytes + coming <= self._max_pending

    def discard(self, keys: Iterable[str], *, yields: bool = False) -> None:
        """Queue removals; they are never dropped, only withdrawn where they yield."""
        with self._condition:
            for key in keys:
                self._pending[key] = None
                (self._yielding.add if yields else self._yielding.discard)(key)
                self._pending_bytes += 100
            self._wake()

    def withdraw(self, meant: Callable[[str], object]) -> None:
        """Take back what yields and is not on disk yet."""
        if not self._yielding and not self._writing_yields:
            return
        with self._condition:
            for key in list(filter(meant, self._yielding)):
                self._yielding.discard(key)
                self._pending.pop(key, None)
            self._withdrawn.update(filter(meant, self._writing_yields))

    def distrust(self) -> None:
        """Have nothing that was written until now, by whomever, be read again."""
        with self._condition:
            self.author = secrets.token_bytes(len(SHARED))
            self._pending = {key: None for key, entry in self._pending.items() if entry is None}
            self._pending_bytes = 100 * len(self._pending)
            self._yielding.intersection_update(self._pending)
            # What is being written has its author already, or will find itself withdrawn.
            self._withdrawn.update(self._writing)

    def submit(self, errand: Callable[[Database], T]) -> Future[T]:
        """Run `errand` in the writing thread, after everything that is pending now."""
        future: Future[T] = Future()
        with self._condition:
            if self._closing:
                future.set_exception(CacheUnavailable("the disk tier is closed"))
                return future
            self._errands.append((errand, future))
            self._wake()
        return future

    def close(self) -> None:
        """Write what is pending and end the thread."""
        with self._condition:
            self._closing = True
            thread = self._thread
            self._condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _wake(self) -> None:
        """Within the lock: have the thread look."""
        if self._thread is None and not self._closing:
            # A daemon, so that a forgotten `aclose` cannot keep a process alive; DiskStore's
            # finalizer still has everything written at exit.
            self._thread = threading.Thread(target=self._run, name="penstock-cache", daemon=True)
            self._thread.start()
        self._condition.notify_all()

    def _is_urgent(self) -> bool:
        """Within the lock: whether what is pending should be written now."""
        crowded = self._pending_bytes > self._max_pending // 2
        return bool(self._errands) or self._closing or crowded

    def _make_room(self) -> bool:
        self._wake()
        return self._condition.wait_for(
            lambda: self._pending_bytes <= self._max_pending or self.breaker.is_open, timeout=5.0
        )

    # --- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        expire_at = self._clock.monotonic()
        while self._work():
            if self._clock.monotonic() >= expire_at and not self.breaker.is_open:
                self._attempt(self.expire)
                expire_at = self._clock.monotonic() + EXPIRE_EVERY
        if self._database is not None:
            with contextlib.suppress(CacheUnavailable):
                self._database.fold_in()
            self._database.close()

    def _work(self) -> bool:
        """Wait for something to do and do it; false when all is done and the store is closing."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._pending or self._errands or self._closing,
                timeout=IDLE if self._unfolded else EXPIRE_EVERY,
            )
            if self._pending and not self._is_urgent():
                self._gathering = True
                self._condition.wait_for(self._is_urgent, timeout=GATHER)
                self._gathering = False
            # In this order, because readers look without the lock, at pending first.
            self._writing = batch = self._pending
            self._pending = {}
            self._writing_yields, self._yielding = self._yielding, set()
            errands, self._errands = self._errands, []
            self._pending_bytes = 0
            self._condition.notify_all()
            if not batch and not errands and self._closing:
                return False
        if not batch and not errands and self._unfolded:
            self._unfolded = False
            self._attempt(Database.fold_in)
        for part in _parts(batch, BATCH):
            self._write(part)
        with self._condition:
            self._writing = {}
            self._writing_yields, self._withdrawn = set(), set()
        for errand, future in errands:
            self._do(errand, future)
        return True

    def _write(self, batch: dict[str, Entry | None]) -> None:
        rows, removed = self._rows(batch)
        if self.breaker.is_open and not self.breaker.allows():
            self._lose(rows)
            return
        if self._attempt(lambda database: database.apply(rows, removed, self._spare)):
            self.writes += len(rows)
            self._unfolded = True
            self._attempt(self._make_space)
        else:
            self._lose(rows)

    def _lose(self, rows: Sequence[Row]) -> None:
        """Give up what could not be written; what it should have replaced must not be read."""
        self.dropped += len(rows)
        if self.author != SHARED:
            self.distrust()

    def _spare(self) -> Container[str]:
        """Within the transaction: what others changed before it began."""
        if self._writing_yields and self.before_commit is not None:
            try:
                self.before_commit()
            except Exception as error:  # the hub may fail, the thread lives on
                log.warning("cache.cannot_catch_up", error=str(error))
        return self._withdrawn

    def _rows(self, batch: dict[str, Entry | None]) -> tuple[list[Row], list[str]]:
        rows, removed = [], []
        author = self.author
        for key, entry in batch.items():
            if entry is None:
                removed.append(key)
                continue
            try:
                rows.append(as_row(entry, compress_from=self._compress_from, before=author))
            except UnencodableValue:
                self.skipped += 1
                removed.append(key)  # an older value must not come back in its place
        return rows, removed

    def _make_space(self, database: Database) -> None:
        while database.size() > self._max_bytes:
            expired = database.remove_expired(self._clock.now())
            self.expired += expired
            if expired:
                continue
            recent, self.recent = self.recent, set()
            evicted = database.evict(recent.__contains__)
            self.evictions += evicted
            if not evicted:
                return

    def expire(self, database: Database) -> None:
        """In the writing thread: remove what has expired, in steps."""
        while expired := database.remove_expired(self._clock.now()):
            self.expired += expired

    def _do(self, errand: Callable[[Database], T], future: Future[T]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(errand(self._open()))
        except Exception as error:  # the errand's owner is told; the thread lives on
            self._close_database()
            future.set_exception(error)

    def _attempt(self, change: Callable[[Database], object]) -> bool:
        """Change the file; a damaged one is set aside and the change made on a new one."""
        for _ in range(2):
            try:
                change(self._open())
            except Damaged as error:
                log.warning("cache.file_damaged", path=self.path.name, error=str(error))
                self._close_database()
                set_aside(self.path)
                if self.author != SHARED:  # readers may have the old file open still
                    self.distrust()
            except CacheUnavailable as error:
                self._close_database()
                self.breaker.failed(error)
                return False
            else:
                self.breaker.succeeded()
                return True
        self.breaker.failed(CacheUnavailable("the cache's file is damaged again and again"))
        return False

    def _open(self) -> Database:
        if self._database is not None and self._database.is_replaced:
            self._close_database()
        if self._database is None:
            self._database = Database(self.path, writable=True)
        return self._database

    def _close_database(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _parts(batch: dict[str, Entry | None], size: int) -> Iterable[dict[str, Entry | None]]:
    if len(batch) <= size:
        return [batch] if batch else []
    items = list(batch.items())
    return [dict(items[at : at + size]) for at in range(0, len(items), size)]
