"""Writes that nobody waits for, one after the other, in the order of their coming."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from penstock.db.database import Statement
from penstock.errors import StorageUnavailable
from penstock.observe.logging import get_logger

MOST: Final = 10_000  # that wait

_log = get_logger("penstock.db")


class Later:
    """Belongs to one loop."""

    def __init__(
        self, write: Callable[[Sequence[Statement]], Awaitable[Any]], *, most: int = MOST
    ) -> None:
        self._write = write
        self._most = most
        self._queue: deque[Sequence[Statement]] = deque()
        self._working: asyncio.Future[None] | None = None
        self._closed = False

    def add(self, statements: Sequence[Statement]) -> None:
        """Write `statements` as soon as those before them are; a failure is logged.

        Raises StorageUnavailable when too many wait already.
        """
        if self._closed:
            raise StorageUnavailable("the database is closed")
        if len(self._queue) >= self._most:
            raise StorageUnavailable(
                f"{self._most} writes are waiting already; the database is too slow for them"
            )
        self._queue.append(statements)
        if self._working is None or self._working.done():
            self._working = asyncio.ensure_future(self._work())

    async def aclose(self, patience: float) -> None:
        """Write what waits; what is not written after `patience` is given up, and logged."""
        self._closed = True
        if self._working is not None:
            await asyncio.wait([self._working], timeout=patience)
            self._working.cancel()
        if self._queue:
            _log.warning("db.unattended_writes_lost", writes=len(self._queue))
            self._queue.clear()

    async def _work(self) -> None:
        while self._queue:
            statements = self._queue[0]
            try:
                await self._write(statements)
            except Exception as error:  # there is nobody to tell but the log
                _log.warning("db.unattended_write_failed", error=str(error))
            self._queue.popleft()
