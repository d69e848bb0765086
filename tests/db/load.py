"""Writers and readers that go on whatever happens, and remember what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

from penstock.db import Database
from penstock.errors import StorageUnavailable

TABLE = "CREATE TABLE pairs (number BIGINT, half BIGINT, PRIMARY KEY (number, half))"
PATIENCE = 60.0
_ADD = "INSERT INTO pairs (number, half) VALUES (?, ?)"
_READ = "SELECT count(*) FROM pairs WHERE number = ?"


class Load:
    """Adds two rows in each write; either both are there afterwards or none."""

    def __init__(self, database: Database, *, writers: int = 8, readers: int = 8) -> None:
        self.acknowledged: set[int] = set()
        self.seen = 0  # reads that were answered
        self.refused = 0
        self.reads_refused = 0
        self.wrong: list[object] = []  # reads that saw half a pair
        self._database = database
        self._numbers = count()
        self._counts = (writers, readers)
        self._over = asyncio.Event()
        self._turn = asyncio.Condition()

    async def __aenter__(self) -> Load:
        writers, readers = self._counts
        work = [self._write() for _ in range(writers)] + [self._read() for _ in range(readers)]
        self._tasks = [asyncio.ensure_future(each) for each in work]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await asyncio.gather(*self._tasks)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when `holds` does, looked at after each answer."""
        async with asyncio.timeout(PATIENCE), self._turn:
            await self._turn.wait_for(holds)

    async def until_more(self, answers: int = 100) -> None:
        """Return after that many further writes and reads."""
        written, seen = len(self.acknowledged) + answers, self.seen + answers
        await self.until(lambda: len(self.acknowledged) >= written and self.seen >= seen)

    async def until_refused(self, times: int = 20) -> None:
        """Return after that many further refusals of each kind."""
        writes, reads = self.refused + times, self.reads_refused + times
        await self.until(lambda: self.refused >= writes and self.reads_refused >= reads)

    async def _write(self) -> None:
        while not self._over.is_set():
            number = next(self._numbers)
            try:
                await self._database.write((_ADD, (number, 0)), (_ADD, (number, 1)))
                self.acknowledged.add(number)
            except StorageUnavailable:
                self.refused += 1
            await self._tell()

    async def _read(self) -> None:
        while not self._over.is_set():
            number = max(self.acknowledged, default=-1)
            try:
                found = await self._database.row(_READ, (number,))
                if number >= 0 and found != (2,):
                    self.wrong.append((number, found))
                self.seen += 1
            except StorageUnavailable:
                self.reads_refused += 1
            await self._tell()

    async def _tell(self) -> None:
        async with self._turn:
            self._turn.notify_all()


async def halves_and_lost(database: Database, load: Load) -> tuple[list[object], set[int]]:
    """What is there by half, and what was acknowledged and is not there."""
    rows = await database.rows("SELECT number, count(*) FROM pairs GROUP BY number")
    halves = [row for row in rows if row[1] != 2]
    return halves, load.acknowledged - {number for number, _ in rows}
