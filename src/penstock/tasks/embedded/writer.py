"""One thread that writes, for the whole engine, in as few commits as its pace allows.

    loop ── Batch of one turn ──> queue ── all that waits ──> BEGIN, statements, COMMIT ──> loop

There is no timer: a commit takes what came in while the one before it ran. The loop hands over what
one of its turns brought together, when it is about to rest: a writer that is woken earlier waits
for the interpreter's lock at every statement.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from penstock.observe.logging import get_logger
from penstock.tasks.embedded import statements
from penstock.tasks.embedded.faults import fault
from penstock.tasks.embedded.statements import EndRow, NewRow

if TYPE_CHECKING:
    from penstock.tasks.embedded.candidate import Candidate
    from penstock.tasks.engine import Added

MAX_GROUP: Final = 500  # turns of the loop per commit

Work = Callable[[sqlite3.Connection], Any]

_log = get_logger("penstock.tasks")


class Insert:
    """Jobs of one `add`: all of them, or none."""

    __slots__ = ("added", "candidates", "due", "error", "future", "keyed", "rows", "twins", "wakes")

    def __init__(self, future: asyncio.Future[list[Added]]) -> None:
        self.future = future
        self.rows: list[NewRow] = []
        self.keyed: list[Work] = []  # those that may meet a twin; each settles its own `added`
        self.added: list[Added] = []
        self.candidates: list[Candidate] = []  # those that this process may run
        self.twins: set[int] = set()  # those that were not added, for a live one has their key
        self.wakes = False  # other processes may run some
        self.due = 0  # when the first delayed one is
        self.error: Exception | None = None

    def write(self, connection: sqlite3.Connection) -> None:
        """Add them in the open transaction."""
        if self.rows:
            statements.insert(connection, self.rows)
        for work in self.keyed:
            work(connection)


class Call:
    """A function to be run in a transaction, or beside one when it only `looks`."""

    __slots__ = ("error", "future", "looks", "result", "work")

    def __init__(self, work: Work, future: asyncio.Future[Any] | None, *, looks: bool) -> None:
        self.work = work
        self.future = future
        self.looks = looks
        self.result: Any = None
        self.error: Exception | None = None


class Ending:
    """How an attempt ended, until that is stored: a plain result, or what `work` makes of it."""

    __slots__ = ("candidate", "error", "is_instead", "result", "row", "work")

    def __init__(
        self,
        candidate: Candidate,
        *,
        row: EndRow | None = None,
        work: Work | None = None,
        is_instead: bool = False,
    ) -> None:
        self.candidate = candidate
        self.is_instead = is_instead  # it stands for one that could not be stored
        self.row = row
        self.work = work
        self.result: Any = None
        self.error: Exception | None = None


class Batch:
    """What one turn of the loop wants written."""

    __slots__ = ("calls", "claim_error", "claims", "endings", "inserts", "lost", "now")

    def __init__(self) -> None:
        self.inserts: list[Insert] = []
        self.calls: list[Call] = []
        self.claims: list[Candidate] = []
        self.endings: list[Ending] = []
        self.now = 0  # when the claimed ones start
        self.lost: set[int] = set()  # claims that came too late
        self.claim_error: Exception | None = None

    def __bool__(self) -> bool:
        return bool(self.inserts or self.calls or self.claims or self.endings)


class Writer:
    """Owns `connection`: nothing else may touch it while the thread runs.

    `written` is called on the loop that `bind` named, with all batches of one commit.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        worker: Callable[[], int],
        written: Callable[[Sequence[Batch]], None],
    ) -> None:
        self._connection = connection
        self._path = path
        self._worker = worker
        self._written = written
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="penstock-tasks", daemon=True)
        self._thread.start()

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell what was written on this loop."""
        self._loop = loop

    def submit(self, batch: Batch) -> None:
        """Write a batch as soon as the commit that runs has ended."""
        self._queue.put(batch)

    def close(self, timeout: float) -> bool:
        """Write what waits and end the thread; False when it is still busy after `timeout`."""
        if not self._is_closing:
            self._is_closing = True
            self._queue.put(None)
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        self._connection.close()
        return True

    def _run(self) -> None:
        while True:
            group, last = self._wait()
            if group:
                try:
                    self._write(group)
                except Exception as error:  # nobody may be left waiting, whatever went wrong
                    _log.exception("tasks.writer_failed")
                    self._abandon()
                    _refuse(group, self._fault(error))
                self._deliver(group)
            if last:
                return

    def _wait(self) -> tuple[list[Batch], bool]:
        group: list[Batch] = []
        batch = self._queue.get()
        try:
            while batch is not None:
                group.append(batch)
                if len(group) == MAX_GROUP:
                    return group, False
                batch = self._queue.get_nowait()
        except Empty:
            return group, False
        return group, True

    def _write(self, group: Sequence[Batch]) -> None:
        try:
            group = self._look(group)
            if group and not self._write_alone(group):
                self._together(group)
        except Exception as error:
            self._abandon()
            if _is_locked(error):  # then it is for each of them, and each would wait as long
                _refuse(group, self._fault(error))
            else:
                self._separately(group)

    def _look(self, group: Sequence[Batch]) -> Sequence[Batch]:
        looks = False
        for batch in group:
            for call in batch.calls:
                if call.looks:
                    looks = True
                    self._attempt(call, nested=False)
        if not looks:
            return group
        return [
            batch
            for batch in group
            if batch.inserts
            or batch.claims
            or batch.endings
            or any(not call.looks for call in batch.calls)
        ]

    def _write_alone(self, group: Sequence[Batch]) -> bool:
        """A batch that is one statement needs no BEGIN and no COMMIT; whether it was one."""
        if len(group) > 1:
            return False
        batch = group[0]
        if batch.calls or batch.claims:
            return False
        connection = self._connection
        if batch.endings:
            rows = [ending.row for ending in batch.endings if ending.row is not None]
            if batch.inserts or not len(batch.endings) == len(rows) <= statements.LARGEST:
                return False
            statements.complete(connection, rows, worker=self._worker())
            return True
        if any(op.keyed for op in batch.inserts):
            return False
        new = [row for op in batch.inserts for row in op.rows]
        if not 0 < len(new) <= statements.LARGEST:
            return False
        statements.insert(connection, new)
        return True

    def _together(self, group: Sequence[Batch]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        inserts = [op for batch in group for op in batch.inserts]
        rows = [row for op in inserts for row in op.rows]
        if rows:
            statements.insert(connection, rows)
        for op in inserts:
            for work in op.keyed:
                work(connection)
        for batch in group:
            for call in batch.calls:
                if not call.looks:
                    self._attempt(call, nested=True)
            if batch.claims:
                self._claim(batch)
        self._end([ending for batch in group for ending in batch.endings])
        connection.execute("COMMIT")

    def _attempt(self, call: Call, *, nested: bool) -> None:
        """Run a function; what it raises is its caller's, unless the transaction is gone."""
        connection = self._connection
        try:
            if nested:
                connection.execute("SAVEPOINT call")
            call.result = call.work(connection)
            if nested:
                connection.execute("RELEASE call")
        except Exception as error:
            if nested:
                if not connection.in_transaction:
                    raise
                connection.execute("ROLLBACK TO call")
                connection.execute("RELEASE call")
            call.error = self._fault(error)

    def _claim(self, batch: Batch) -> None:
        plain = [one.number for one in batch.claims if not one.once]
        once = [one.number for one in batch.claims if one.once]
        worker, now = self._worker(), batch.now
        batch.lost = set()
        if plain:
            batch.lost = statements.claim(self._connection, plain, worker=worker, now=now)
        if once:
            batch.lost |= statements.claim(
                self._connection, once, worker=worker, now=now, once=True
            )

    def _end(self, endings: Sequence[Ending]) -> None:
        rows = [ending.row for ending in endings if ending.row is not None]
        if rows:
            statements.complete(self._connection, rows, worker=self._worker())
        for ending in endings:
            if ending.work is not None:
                ending.result = ending.work(self._connection)

    def _separately(self, group: Sequence[Batch]) -> None:
        """Find out who can be served: everybody in a transaction of their own."""
        for batch in group:
            for op in batch.inserts:
                op.error = self._alone(partial(op.write, self._connection))
            for call in batch.calls:
                if not call.looks and call.error is None:
                    call.error = self._alone(partial(self._attempt, call, nested=True))
            if batch.claims:
                batch.claim_error = self._alone(partial(self._claim, batch))
            for ending in batch.endings:
                ending.error = self._alone(partial(self._end, [ending]))

    def _alone(self, work: Callable[[], None]) -> Exception | None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            work()
            self._connection.execute("COMMIT")
        except Exception as error:
            self._abandon()
            return self._fault(error)
        return None

    def _abandon(self) -> None:
        with suppress(sqlite3.Error):  # there is nothing left to abandon then
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _fault(self, error: Exception) -> Exception:
        return fault(error, self._path)

    def _deliver(self, group: Sequence[Batch]) -> None:
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._written, group)
        except RuntimeError:
            _log.debug("tasks.loop_gone", batches=len(group))


def _is_locked(error: Exception) -> bool:
    return (
        isinstance(error, sqlite3.Error)
        and (getattr(error, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_BUSY
    )


def _refuse(group: Sequence[Batch], error: Exception) -> None:
    for batch in group:
        for op in _operations(batch):
            op.error = error
        if batch.claims:
            batch.claim_error = error


def _operations(batch: Batch) -> Iterator[Insert | Call | Ending]:
    yield from batch.inserts
    yield from (call for call in batch.calls if not call.looks)
    yield from batch.endings
