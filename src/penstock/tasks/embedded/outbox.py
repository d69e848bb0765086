"""Collects what one turn of the loop wants written, and hands it over when the turn ends."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from penstock.tasks.embedded.writer import Batch, Call, Ending, Insert, Writer

T = TypeVar("T")


class Outbox:
    """The way to the writer; used on the loop that `bind` named.

    `fill` adds what can start now, as the last thing before a batch goes out.
    """

    def __init__(self, writer: Writer, *, fill: Callable[[Batch], None]) -> None:
        self._writer = writer
        self._fill = fill
        self._batch = Batch()
        self._is_going = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Work on this loop."""
        self._loop = loop
        self._writer.bind(loop)
        self._is_going = False

    def insert(self, op: Insert) -> None:
        """Add jobs."""
        self._batch.inserts.append(op)
        self.touch()

    def end(self, ending: Ending) -> None:
        """Store how an attempt ended."""
        self._batch.endings.append(ending)
        if not self._is_going:
            self.touch()

    def call(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Run a function in a transaction; what it returned, after COMMIT."""
        return self._submit(work, looks=False)

    def look(self, work: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Run a function that only reads, on the writing connection."""
        return self._submit(work, looks=True)

    def post(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Run a function in a transaction; nobody waits, and a failure is not told."""
        self._batch.calls.append(Call(work, None, looks=False))
        self.touch()

    def touch(self) -> None:
        """Send what there is when this turn of the loop ends."""
        if not self._is_going and self._loop is not None:
            self._is_going = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what there is."""
        self._is_going = False
        batch = self._batch
        self._fill(batch)
        if batch:
            self._batch = Batch()
            self._writer.submit(batch)

    def _submit(self, work: Callable[[sqlite3.Connection], T], *, looks: bool) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._batch.calls.append(Call(work, future, looks=looks))
        self.touch()
        return future
