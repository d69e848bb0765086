"""Lets one writer of cases at a time see all that the others wrote: on PostgreSQL by a lock.

A write to cases says itself what it depends on: that a verdict waits nowhere, that no case came up
since it was looked, that nobody else has claimed it. SQLite has one writer, so that this stays true
while it writes. PostgreSQL has many, and numbers rows before it commits them, so that a case may
come to light after a later one. Behind one lock, held until the commit, both are as on SQLite.
Serializable transactions would keep the conditions true but not the numbers in order, and on small
tables nearly all that write at once would have to begin again.
"""

from __future__ import annotations

import asyncio
from typing import Final

from penstock.db import Database
from penstock.db.database import Call
from penstock.errors import StorageUnavailable

PATIENCE: Final = 5.0  # seconds that a write waits for others of its process

# Of all advisory locks in the database: a name of eight bytes.
_NUMBER: Final = int.from_bytes(b"psreview", "big")
_LOCK: Final[Call] = (f"SELECT pg_advisory_xact_lock({_NUMBER})", None)


class Alone:
    """Writes to cases as if there were no other writer.

    One of this process at a time is at the lock, so that those who wait for it do not have all the
    connections that others need. Who waits too long is told so: StorageUnavailable.
    """

    def __init__(self, database: Database, *, patience: float = PATIENCE) -> None:
        self._database = database
        self._patience = patience
        self._is_shared = database.dialect == "postgresql"
        self._turns = asyncio.Lock()

    async def write(self, *statements: Call) -> int:
        """Run the statements as one transaction; the number of changed rows."""
        if not self._is_shared:
            return await self._database.write(*statements)
        await self._wait()
        try:
            return await self._database.write(_LOCK, *statements, serial=False)
        finally:
            self._turns.release()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._turns.acquire()
        except TimeoutError:
            raise StorageUnavailable(
                f"other writes to cases took more than {self._patience:g} s; repeat the request"
            ) from None
