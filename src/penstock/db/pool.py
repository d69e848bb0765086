"""Connections to PostgreSQL: a few kept open, more while they are needed, none that has died.

asyncpg's own pool asks the server to forget the session each time a connection comes back, which
doubles the round trips of a read; here whoever leaves a connection in doubt has it closed instead.
One pool belongs to one loop.

Who finds all in use waits for the next one that comes back, and so does who is refused one more by
the server while others of ours are out. While the server says nothing at all nobody waits
(`penstock.db.silence`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from asyncpg import Connection, TooManyConnectionsError

from penstock.db.database import KEPT, OVERFLOW, PoolUsage
from penstock.db.postgres_faults import crowded, silent, unanswered
from penstock.db.silence import Silence
from penstock.errors import StorageUnavailable

PATIENCE: Final = 5.0  # seconds to wait for a connection
IDLE: Final = 30.0  # seconds after which one of the overflow is closed
CLOSE_PATIENCE: Final = 5.0
END_PATIENCE: Final = 2.0  # for the server to stop a statement
REFUSED_PAUSE: Final = 0.02
TURNS: Final = 3  # of the loop, in which what was cut off closes its socket
CROWDED: Final = 1.0  # seconds for which a server that takes no more connections is asked for none

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
        self._used: dict[Connection[Any], float] = {}  # since when
        self._places = 0  # of those in use, being made and being ended
        self._freed = asyncio.Event()
        self._line: deque[asyncio.Future[Connection[Any] | None]] = deque()  # who waits
        self._waiting = 0  # of these, and who were called and have not come yet
        self._tasks: set[asyncio.Future[Any]] = set()  # that make and end connections
        self._attempts = 0  # at making one, so far
        self._crowded_until = 0.0
        self._heard_at = 0.0  # when one came back that works
        self._silence = Silence(connect, where, begins=self._give_up)
        self._trimming: asyncio.TimerHandle | None = None
        self._closed = False

    async def take(self) -> Connection[Any]:
        """A connection that lives, to be given to `put_back` or `drop`.

        Raises StorageUnavailable when there is none for too long, and what `connect` raises.
        """
        until = asyncio.get_running_loop().time() + self._patience
        waited = False
        while True:
            await self._silence.passed()
            connection = self._rested()
            if connection is None and self._has_room():
                connection = await self._made()
            elif connection is None:
                connection = await self._wait(until, first=waited)
            if connection is not None:
                break
            waited = True
        self._used[connection] = monotonic()
        return connection

    def put_back(self, connection: Connection[Any]) -> None:
        """Give a connection back; one that ended, or is inside a transaction, is closed."""
        if self._closed or connection.is_closed() or connection.is_in_transaction():
            self.drop(connection)
            return
        self._silence.heard()
        self._heard_at = monotonic()
        self._used.pop(connection, None)
        if self._call(connection):
            return  # its place goes along
        self._idle.append((connection, self._heard_at))
        self._free()
        if len(self._idle) > self._kept and self._trimming is None:
            self._trim_later()

    def drop(self, connection: Connection[Any]) -> None:
        """Give a connection back that nobody may use again."""
        self._used.pop(connection, None)
        connection.terminate()
        self._release()

    def abandon(self, connection: Connection[Any], *, unanswered: bool = False) -> None:
        """Give a connection back whose statement nobody waits for: the server is told to stop.

        `unanswered`: nobody does since it ran into its time-out. Maybe the server is gone, or this
        connection alone, and with it those that nobody has used since.
        """
        if unanswered:
            self.forget(before=self._used.get(connection, 0.0))
            self._silence.doubt()
        self._begin(self._end(connection))

    def forget(self, *, before: float | None = None) -> None:
        """Close those that nobody uses, or has used since `before`: they may all be dead."""
        while self._idle and (before is None or self._idle[0][1] <= before):
            self._idle.popleft()[0].terminate()

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
                while self._places or self._waiting:
                    self._freed.clear()
                    await self._freed.wait()
        await self._silence.aclose()
        for task in self._tasks:
            task.cancel()
        for connection in self._used:
            connection.terminate()
        idle, self._idle = self._idle, deque()
        closing = (connection.close(timeout=CLOSE_PATIENCE) for connection, _ in idle)
        await asyncio.gather(*closing, return_exceptions=True)
        for _ in range(TURNS):
            await asyncio.sleep(0)

    # --- new ones and old ones -------------------------------------------------------------------

    def _rested(self) -> Connection[Any] | None:
        """The connection that was used last and is alive, with a place; dead ones go."""
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                self._places += 1
                return connection
        return None

    def _has_room(self) -> bool:
        """Whether one more may be made."""
        if self._places and monotonic() < self._crowded_until:
            return False
        return self._places < self._most

    async def _made(self) -> Connection[Any] | None:
        """A new one, with a place; None when the server takes no more and one may come back."""
        alone = not self._places
        self._places += 1
        self._attempts += 1
        attempt = self._attempts
        making: asyncio.Future[Connection[Any]] = self._begin(self._connect())
        try:
            connection = await asyncio.shield(making)
        except asyncio.CancelledError:
            # It is of use to others. Cut off half-way, asyncpg would complain to the log.
            making.add_done_callback(self._unwanted)
            raise
        except TooManyConnectionsError:
            if not alone or attempt != self._attempts:
                self._crowded_until = monotonic() + CROWDED
            if await self._refused():
                return None
            raise
        except BaseException as error:
            if unanswered(error):
                self._silence.fall()
            self._release()
            raise
        return connection

    async def _refused(self) -> bool:
        """Give back the place of one that the server did not take; whether to wait for another.

        Those that are refused together count against each other until they are gone, so that all
        may be where one would not have been: the last of them tries again, for a moment.
        """
        try:
            if self._places == 1 and monotonic() < self._crowded_until:
                await asyncio.sleep(REFUSED_PAUSE)
        except asyncio.CancelledError:
            self._release()
            raise
        self._free()
        if self._places or monotonic() < self._crowded_until:
            return True
        self._call(None)
        return False

    def _unwanted(self, making: asyncio.Future[Connection[Any]]) -> None:
        if making.cancelled() or making.exception() is not None:
            self._release()
        else:
            self.put_back(making.result())

    async def _end(self, connection: Connection[Any]) -> None:
        try:
            with suppress(Exception):  # the server may be gone, or not answer this either
                await connection.close(timeout=END_PATIENCE)
        finally:
            self.drop(connection)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

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

    # --- places, and who waits for one -----------------------------------------------------------

    def _free(self) -> None:
        self._places -= 1
        self._freed.set()

    def _release(self) -> None:
        """Free a place whose connection is gone, and let the first who waits make another one."""
        self._free()
        self._crowded_until = 0.0
        self._call(None)

    def _call(self, connection: Connection[Any] | None) -> bool:
        """Hand the first who waits a connection, or a hint to look again; False when nobody is."""
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    async def _wait(self, until: float, *, first: bool) -> Connection[Any] | None:
        """What `_call` hands out. Raises StorageUnavailable."""
        waiter: asyncio.Future[Connection[Any] | None] = asyncio.get_running_loop().create_future()
        (self._line.appendleft if first else self._line.append)(waiter)
        self._waiting += 1
        began = monotonic()
        try:
            async with asyncio.timeout_at(until):
                return await waiter
        except BaseException as error:
            self._return(waiter)
            if isinstance(error, TimeoutError):
                raise self._exhausted(began) from None
            raise
        finally:
            self._waiting -= 1
            self._freed.set()

    def _return(self, waiter: asyncio.Future[Connection[Any] | None]) -> None:
        """Pass on what came too late."""
        if waiter.cancelled():
            with suppress(ValueError):  # it was taken out of the line just before
                self._line.remove(waiter)
        elif waiter.exception() is None:
            connection = waiter.result()
            if connection is None:
                self._call(None)
            else:
                self.put_back(connection)

    def _exhausted(self, began: float) -> StorageUnavailable:
        if self._places < self._most:
            return crowded(self._where)
        if self._heard_at < began:
            self._silence.doubt()
        return StorageUnavailable(
            f"all {self._most} connections to {self._where} were in use for "
            f"{self._patience:g} s; look for slow statements, or run more processes"
        )

    def _give_up(self) -> None:
        """The server is silent: close what is idle, and let nobody wait."""
        self.forget()
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_exception(silent(self._where))
