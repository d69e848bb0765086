"""PostgreSQL behind the methods of every database: statements straight on asyncpg connections.

SQLAlchemy in between costs 4 to 6 times the processor time of the driver (ADR 0020). SQL arrives as
it is written for both databases and is translated once (`penstock.db.translate`).

What was written for SQLite's one writer stays true here: several statements in one write run at
the SERIALIZABLE level, and are repeated when another transaction was in their way.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Literal

from asyncpg import CharacterNotInRepertoireError

from penstock.clock import Clock, SystemClock
from penstock.db.connecting import connect
from penstock.db.database import (
    KEPT,
    OVERFLOW,
    Call,
    DatabaseHealth,
    Params,
    PoolUsage,
    Statement,
)
from penstock.db.execution import look
from penstock.db.later import Later
from penstock.db.location import dsn, shown
from penstock.db.pool import PATIENCE, Pool
from penstock.db.postgres_faults import contended, fault, lost, standby, unsent
from penstock.db.running import COMMITTED, SERIALIZABLE, change, leave, transact
from penstock.db.translate import translate, without_nul
from penstock.errors import StorageError, StorageUnavailable
from penstock.observe.metrics import Metrics

if TYPE_CHECKING:
    from asyncpg import Connection

SCAN_PATIENCE: Final = 300.0  # seconds for a statement that looks at many rows
CLOSE_PATIENCE: Final = 30.0
ATTEMPTS: Final = 12  # of a transaction that others are in the way of
PAUSE: Final = 0.002  # seconds, doubled with each attempt, up to
LONGEST_PAUSE: Final = 0.1
REMEMBER_FAILURE: Final = 60.0  # seconds, unless a write succeeds before
TOGETHER: Final = 200  # rows of a bulk that are encoded before others have their turn

_PROBE = "UPDATE alembic_version SET version_num = version_num"
_STATE = """
SELECT pg_is_in_recovery(), current_setting('server_version'), pg_database_size(current_database())
"""


@dataclass
class _Local:
    """What belongs to one loop."""

    pool: Pool
    later: Later
    turns: asyncio.Lock = field(default_factory=asyncio.Lock)  # of transactions that are repeated

    async def aclose(self) -> None:
        await self.later.aclose(CLOSE_PATIENCE)
        await self.pool.aclose()


class PostgresDatabase:
    """One PostgreSQL database; a pool of connections for each loop that asks."""

    dialect: Literal["postgresql"] = "postgresql"

    def __init__(
        self,
        url: str,
        *,
        patience: float = PATIENCE,
        pool: tuple[int, int] = (KEPT, OVERFLOW),
        metrics: Metrics | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._kept, self._overflow = pool
        self.where = shown(url)
        self._dsn = dsn(url)
        self._patience = patience
        self._metrics = metrics
        self._clock = clock or SystemClock()
        self._locals: dict[asyncio.AbstractEventLoop, _Local] = {}
        self._failure: tuple[str, float] | None = None  # what it said and when it was
        self._closed = False

    async def write(self, *statements: Statement, serial: bool | None = None) -> int:
        return await self._write(statements, serial)

    def write_later(self, *statements: Statement) -> None:
        self._local().later.add(statements)

    async def row(self, sql: str, params: Params = ()) -> tuple[Any, ...] | None:
        rows = await self._read(sql, params)
        return rows[0] if rows else None

    async def rows(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        return await self._read(sql, params)

    async def scan(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        return await self._read(sql, params, patience=SCAN_PATIENCE)

    async def bulk(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        records = list(rows)
        try:
            try:
                await self._copy(table, columns, records)
            except CharacterNotInRepertoireError:  # NUL: looking for it first costs a fifth
                await self._copy(table, columns, [without_nul(list(row)) for row in records])
        except Exception as error:
            raise self._failed(error) from error
        self._succeeded(len(records))
        return len(records)

    async def health(self, *, check: bool = False) -> DatabaseHealth:
        """Whether records can be written now.

        A record that could not be written counts until another one could, or for a minute. `check`
        adds nothing: PostgreSQL looks for damage by itself.
        """
        found: DatabaseHealth = {
            "writable": False,
            "detail": "",
            "path": self.where,
            "size_bytes": 0,
            "latency_seconds": 0.0,
            "integrity": None,
        }
        try:
            follows, version, size = (await self._read(_STATE, ()))[0]
            found["version"], found["size_bytes"] = version, size
            found["role"] = "standby" if follows else "primary"
            if follows:
                raise standby(self.where)
            began = perf_counter()
            await self._run([(_PROBE, None)], serial=False)
            found["latency_seconds"] = perf_counter() - began
            found["detail"] = self._last_failure()
        except StorageError as error:
            found["detail"] = error.detail
        except Exception as error:
            found["detail"] = str(fault(error, self.where))
        found["writable"] = not found["detail"]
        if not self._closed:
            found["pool"] = self.usage()
        return found

    def usage(self) -> PoolUsage:
        """How the connections of the running loop are used."""
        return self._local().pool.usage()

    async def aclose(self) -> None:
        own = self._locals.get(asyncio.get_running_loop())
        if own is not None:
            await own.later.aclose(CLOSE_PATIENCE)
        self._closed = True
        locals_, self._locals = self._locals, {}
        if own is not None:
            del locals_[asyncio.get_running_loop()]
            await own.aclose()
        others = [
            asyncio.wrap_future(asyncio.run_coroutine_threadsafe(local.aclose(), loop))
            for loop, local in locals_.items()
            if loop.is_running()
        ]
        if others:
            await asyncio.wait(others, timeout=CLOSE_PATIENCE)

    async def _write(self, statements: Sequence[Statement], serial: bool | None = None) -> int:
        calls = [_call(statement) for statement in statements]
        try:
            changed = await self._run(calls, serial=len(calls) > 1 if serial is None else serial)
        except Exception as error:
            raise self._failed(error) from error
        self._succeeded(changed)
        return changed

    async def _run(self, calls: Sequence[Call], *, serial: bool) -> int:
        try:
            return await self._attempt(calls, serial=serial)
        except Exception as error:
            if not contended(error):
                raise
            contention = error
        # Now one at a time, so that those that are repeated are not in each other's way again.
        turns = self._local().turns
        try:
            async with asyncio.timeout(self._patience):
                await turns.acquire()
        except TimeoutError:
            raise contention from None
        try:
            return await self._repeat(calls, serial=serial)
        finally:
            turns.release()

    async def _repeat(self, calls: Sequence[Call], *, serial: bool) -> int:
        pause = PAUSE
        for left in reversed(range(1, ATTEMPTS)):
            self._count("penstock_db_retries_total")
            try:
                return await self._attempt(calls, serial=serial)
            except Exception as error:
                if not contended(error) or left == 1:
                    raise
            await asyncio.sleep(pause * random.random())
            pause = min(pause * 2, LONGEST_PAUSE)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, calls: Sequence[Call], *, serial: bool) -> int:
        try:
            return await self._change(calls, serial=serial)
        except Exception as error:
            if not unsent(error):
                raise  # also where nobody knows whether it was written
            self._local().pool.forget()
            return await self._change(calls, serial=serial)

    async def _change(self, calls: Sequence[Call], *, serial: bool) -> int:
        pool = self._local().pool
        connection = await pool.take()
        try:
            if len(calls) == 1 and not serial:
                changed = await change(connection, calls[0], 0, self._metrics)
            else:
                begin = SERIALIZABLE if serial else COMMITTED
                changed = await transact(connection, calls, begin, self._metrics)
        except BaseException as error:
            await leave(pool, connection, error)
            raise
        pool.put_back(connection)
        return changed

    async def _read(
        self, sql: str, params: Params, *, patience: float | None = None
    ) -> list[tuple[Any, ...]]:
        values = translate(sql).bind(params)
        try:
            try:
                found = await self._fetch(sql, values, patience)
            except Exception as error:
                if not lost(error):
                    raise
                self._local().pool.forget()  # the others may have ended as this one did
                found = await self._fetch(sql, values, patience)
        except Exception as error:
            raise fault(error, self.where) from error
        return list(map(tuple, found))

    async def _fetch(self, sql: str, values: list[Any], patience: float | None) -> list[Any]:
        pool = self._local().pool
        connection = await pool.take()
        began = perf_counter()
        try:
            found = await connection.fetch(translate(sql).sql, *values, timeout=patience)
        except BaseException as error:
            await leave(pool, connection, error)
            raise
        pool.put_back(connection)
        look(sql, began, self._metrics)
        return found

    async def _copy(
        self, table: str, columns: Sequence[str], records: Sequence[Sequence[Any]]
    ) -> None:
        pool = self._local().pool
        connection = await pool.take()
        try:
            await connection.copy_records_to_table(
                table, records=_in_turns(records), columns=columns, timeout=SCAN_PATIENCE
            )
        except BaseException as error:
            await leave(pool, connection, error)
            raise
        pool.put_back(connection)

    def _local(self) -> _Local:
        if self._closed:
            raise StorageUnavailable(f"the database {self.where} is closed")
        loop = asyncio.get_running_loop()
        local = self._locals.get(loop)
        if local is None:
            for other in [other for other in self._locals if other.is_closed()]:
                del self._locals[other]
            pool = Pool(
                self._connect,
                self.where,
                kept=self._kept,
                overflow=self._overflow,
                patience=self._patience,
            )
            local = self._locals[loop] = _Local(pool, Later(self._write))
        return local

    async def _connect(self) -> Connection[Any]:
        return await connect(self._dsn)

    def _failed(self, error: Exception) -> Exception:
        """What the caller of a write is told; remembered for `health`."""
        told = fault(error, self.where)
        if isinstance(told, StorageError):
            self._failure = told.detail, self._clock.monotonic()
            self._count("penstock_db_errors_total", kind=told.slug)
        return told

    def _succeeded(self, changed: int) -> None:
        self._count("penstock_db_writes_total")
        self._count("penstock_db_commits_total")
        if changed:  # one that changes nothing says nothing
            self._failure = None

    def _last_failure(self) -> str:
        failure = self._failure
        if failure is None or self._clock.monotonic() - failure[1] >= REMEMBER_FAILURE:
            return ""
        return failure[0]

    def _count(self, name: str, **labels: str) -> None:
        if self._metrics is not None:
            self._metrics.count(name, **labels)


async def _in_turns(records: Sequence[Sequence[Any]]) -> AsyncIterator[Sequence[Any]]:
    """The records, with a pause for others after every few: encoding them takes a while."""
    for number, record in enumerate(records, 1):
        yield record
        if number % TOGETHER == 0:
            await asyncio.sleep(0)


def _call(statement: Statement) -> Call:
    return statement if isinstance(statement, tuple) else (statement, None)
