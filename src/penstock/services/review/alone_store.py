"""Lets a writer of cases see all that others wrote of the same matter: on PostgreSQL by locks.

A write to cases says itself what it depends on: that a verdict waits nowhere, that no case came up
since it was looked, that nobody else has claimed it. SQLite has one writer, so that this stays true
while it writes. PostgreSQL has many. There a write holds, until its commit, a lock for each matter
that it is about: its verdict, its content, what it is like (`similar.meetings`), its case. Two
writes that could be in each other's way have one of them in common; all others pass side by side.
Locks are taken in one statement and in one order, so that nobody waits in a circle. What changes
many cases at once takes the lock that all others share.

PostgreSQL numbers rows before it commits them, so that a case may come to light after a later one,
but not among those that have a matter in common: who asks for the latest number waits for those
that hold a lock of its matters, and sees what they wrote; who takes one after that gets a later
number.

Serializable transactions would keep the conditions true but not the numbers in order, and on small
tables nearly all that write at once would have to begin again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any, Final

import msgspec

from penstock.db import Database
from penstock.db.database import Call
from penstock.db.dialect import each
from penstock.errors import StorageUnavailable

PATIENCE: Final = 5.0  # seconds that a write waits for others of its process
AT_ONCE: Final = 8  # writes of a process: those that wait at a lock must not have all connections

# Of all advisory locks in the database: a name of eight bytes.
_NUMBER: Final = int.from_bytes(b"psreview", "big")
_LOCK: Final[Call] = (f"SELECT pg_advisory_xact_lock({_NUMBER})", None)
_MATTERS: Final = each("postgresql", "?", "bigint")
_SHARE: Final = f"""
SELECT pg_advisory_xact_lock_shared({_NUMBER}), count(pg_advisory_xact_lock(m.value))
FROM {_MATTERS} m
"""
_AFTER: Final = f"SELECT ({{value}}), count(pg_advisory_xact_lock(m.value)) FROM {_MATTERS} m"


class Alone:
    """Writes to cases as if nobody else wrote about the same.

    Few of this process at a time are at the locks. Who waits too long for its turn is told so:
    StorageUnavailable.
    """

    def __init__(
        self, database: Database, *, patience: float = PATIENCE, at_once: int = AT_ONCE
    ) -> None:
        self._database = database
        self._patience = patience
        self._is_shared = database.dialect == "postgresql"
        self._turns = asyncio.Semaphore(at_once)

    async def write(self, *statements: Call, about: Iterable[int] | None = None) -> int:
        """Run the statements as one transaction; the number of changed rows.

        `about` are the `matter`s that they read or change; None: all there are.
        """
        if not self._is_shared:
            return await self._database.write(*statements)
        lock = _LOCK if about is None else (_SHARE, (_json(about),))
        async with self._turn():
            return await self._database.write(lock, *statements, serial=False)

    async def value(self, sql: str, *, about: Iterable[int]) -> Any:
        """What a query for one value finds; those who wrote about the same meanwhile are done.

        So whatever is looked at next shows what they wrote.
        """
        if not self._is_shared:
            row = await self._database.row(sql)
        else:
            async with self._turn():
                row = await self._database.row(_AFTER.format(value=sql), (_json(about),))
        return row[0] if row else None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            raise StorageUnavailable(
                f"other writes to cases took more than {self._patience:g} s; repeat the request"
            ) from None
        try:
            yield
        finally:
            self._turns.release()


def matter(kind: str, *names: str) -> int:
    """The number of what a write is about: within 63 bits, and others' locks do not have it."""
    said = "\0".join(("penstock.review", kind, *names)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(said, digest_size=8).digest(), "big") >> 1


def _json(about: Iterable[int]) -> str:
    return msgspec.json.encode(sorted(set(about))).decode()
