"""Connections to PostgreSQL: a few kept open, more while they are needed, none that has died.

asyncpg's own pool asks the server to forget the session each time a connection comes back, which
doubles the round trips of a read; here whoever leaves a connection in doubt has it closed instead.
One pool belongs to one loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from asyncpg import Connection

from penstock.db.database import KEPT, OVERFLOW, PoolUsage
from penstock.errors import StorageUnavailable

PATIENCE: Final = 5.0  # seconds to wait for a connection
IDLE: Final = 30.0  # seconds after which one of the overflow is closed
CLOSE_PATIENCE: Final = 5.0
END_PATIENCE: Final = 2.0  # for the server to stop a statement

Connect = Callable[[], Coroutine[Any, Any, "Connection[Any]"]]


class Pool:
    """At most `kept + overflow` connections, made when they are needed."""

    def __init__(
        self,
        connect: Connect,
        where: str,
        *,
        kept: int = KEPT,
        overflow: int = OVERFLOW,
        patience: float = PATIENCE,
    ) -> None:
        self._connect = connect
        self._where = where
        self._kept = kept
        self._most = kept + overflow
        self._patience = patience
        self._idle: deque[tuple[Connection[Any], float]] = deque()  # the last used at the right
        self._places = asyncio.Semaphore(self._most)
        self._used: set[Connection[Any]] = set()
        self._ending: set[asyncio.Future[None]] = set()
        self._waiting = 0
        self._trimming: asyncio.TimerHandle | None = None
        self._closed = False

    async def take(self) -> Connection[Any]:
        """A connection that lives, to be given to `put_back` or `drop`.

        Raises StorageUnavailable when there is none for too long, and what `connect` raises.
        """
        if self._places.locked():
            await self._wait()
        else:
            await self._places.acquire()
        try:
            connection = self._rested() or await self._connect()
        except BaseException:
            self._places.release()
            raise
        self._used.add(connection)
        return connection

    def put_back(self, connection: Connection[Any]) -> None:
        """Give a connection back; one that ended, or is inside a transaction, is closed."""
        if self._closed or connection.is_closed() or connection.is_in_transaction():
            self.drop(connection)
            return
        self._used.discard(connection)
        self._idle.append((connection, monotonic()))
        self._places.release()
        if len(self._idle) > self._kept and self._trimming is None:
            self._trim_later()

    def drop(self, connection: Connection[Any]) -> None:
        """Give a connection back that nobody may use again."""
        self._used.discard(connection)
        connection.terminate()
        self._places.release()

    def abandon(self, connection: Connection[Any]) -> None:
        """Give a connection back whose statement nobody waits for: the server is told to stop."""
        ending = asyncio.ensure_future(self._end(connection))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def forget(self) -> None:
        """Close those that nobody uses: one of them was found dead."""
        while self._idle:
            self._idle.pop()[0].terminate()

    def usage(self) -> PoolUsage:
        """How many there are."""
        return {
            "used": len(self._used),
            "idle": len(self._idle),
            "waiting": self._waiting,
            "kept": self._kept,
            "most": self._most,
        }

    async def aclose(self) -> None:
        """Close all of them, once who uses or waits for one has had it, or after a few seconds."""
        if self._closed:
            return
        self._closed = True
        if self._trimming is not None:
            self._trimming.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_PATIENCE):
                for _ in range(self._most):
                    await self._places.acquire()
        for connection in self._used:
            connection.terminate()
        idle, self._idle = self._idle, deque()
        closing = (connection.close(timeout=CLOSE_PATIENCE) for connection, _ in idle)
        await asyncio.gather(*closing, return_exceptions=True)

    async def _end(self, connection: Connection[Any]) -> None:
        try:
            with suppress(Exception):  # the server may be gone, or not answer this either
                await connection.close(timeout=END_PATIENCE)
        finally:
            self.drop(connection)

    async def _wait(self) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError:
            raise StorageUnavailable(
                f"all {self._most} connections to {self._where} were in use for "
                f"{self._patience:g} s; look for slow statements, or run more processes"
            ) from None
        finally:
            self._waiting -= 1

    def _rested(self) -> Connection[Any] | None:
        """The connection that was used last and is alive; dead ones go."""
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    def _trim_later(self) -> None:
        self._trimming = asyncio.get_running_loop().call_later(IDLE, self._trim)

    def _trim(self) -> None:
        """Close what has been idle for long, the longest first, down to what is kept."""
        self._trimming = None
        long_ago = monotonic() - IDLE
        while len(self._idle) > self._kept and self._idle[0][1] <= long_ago:
            self._idle.popleft()[0].terminate()
        if len(self._idle) > self._kept:
            self._trim_later()
