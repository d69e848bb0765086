"""Counts in memory and adds to the day's rows a moment later.

Every process adds what it counted itself, so any number of them share one table. What could not be
written stays counted and is tried again; only the number of rows that wait is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from penstock.clock import Clock
from penstock.db import Database
from penstock.errors import StorageError
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.usage.store import DAY, Counts, Group, Place, UsageFilter, UsageRow, UsageStore

if TYPE_CHECKING:
    from penstock.pipeline import Receipt

PAUSE_SECONDS: Final = 0.05  # from the first uncommitted call to its commit
RETRY_SECONDS: Final = 1.0  # after a write that failed
MOST_ROWS: Final = 10_000  # that wait to be written
TOGETHER: Final = 500  # rows of one transaction

_STORED: Final = frozenset({"memory", "disk", "redis"})  # sources that are the cache
_DAY_SECONDS: Final = DAY // 1000

_log = get_logger("penstock.usage")


class Usage:
    """Counts what keys use and sums it up. Belongs to one event loop."""

    def __init__(self, database: Database, *, clock: Clock, metrics: Metrics | None = None) -> None:
        self._store = UsageStore(database)
        self._clock = clock
        self._metrics = metrics
        self._counted: dict[Place, Counts] = {}
        self._today: dict[tuple[str, str, str], Counts] = {}  # the same objects, found faster
        self._begins = self._ends = 0.0  # of the day that `_today` is about, in seconds
        self._changed = asyncio.Event()
        self._writing: asyncio.Future[bool] | None = None
        self._failing = False
        self._full = False

    def add(self, *, key_id: str | None, owner: str, service: str, receipt: Receipt) -> None:
        """Count one answer. Costs about a microsecond; never raises, never waits."""
        now = self._clock.now()
        if not self._begins <= now < self._ends:
            self._turn(now)
        cost, tokens = receipt.cost, receipt.tokens
        counts = self._today.get((key_id or "", service, cost.currency))
        if counts is None:
            counts = self._open(key_id or "", owner, service=service, currency=cost.currency)
            if counts is None:
                return
        counts.calls += 1
        if receipt.source in _STORED:
            counts.cached += 1
        counts.tokens_in += tokens.in_
        counts.tokens_out += tokens.out
        counts.tokens_saved += tokens.saved
        counts.spent_micros += cost.spent_micros
        counts.saved_micros += cost.saved_micros

    async def keep(self) -> None:
        """Write what is counted, a moment after it was, until cancelled."""
        while True:
            await self._changed.wait()
            await self._clock.sleep(RETRY_SECONDS if self._failing else PAUSE_SECONDS)
            await self.flush()

    async def flush(self) -> bool:
        """Write everything counted so far; False, and it stays counted, where storage fails.

        A caller that is cancelled stops waiting; the write goes on and is counted once.
        """
        if self._writing is not None:  # it may have begun before the caller's last `add`
            await asyncio.shield(self._writing)
        if self._writing is None:
            if not self._counted:
                return True
            self._writing = asyncio.ensure_future(self._write())
        return await asyncio.shield(self._writing)

    async def total(self, wanted: UsageFilter) -> UsageRow:
        """The sum of everything that `wanted` names; other processes' to the last 50 ms."""
        await self.flush()
        return await self._store.total(wanted)

    async def page(
        self,
        wanted: UsageFilter,
        *,
        group: Sequence[Group],
        after: tuple[Any, ...] | None = None,
        limit: int = 50,
    ) -> list[UsageRow]:
        """At most `limit` sums by `group`, the newest day first, behind `after`."""
        await self.flush()
        return await self._store.page(wanted, group=group, after=after, limit=limit)

    def _turn(self, now: float) -> None:
        """Count for the day of `now` from here on."""
        self._begins = now // _DAY_SECONDS * _DAY_SECONDS
        self._ends = self._begins + _DAY_SECONDS
        day = int(self._begins) * 1000
        self._today = {
            place[1:]: counts for place, counts in self._counted.items() if place[0] == day
        }

    def _open(self, key_id: str, owner: str, *, service: str, currency: str) -> Counts | None:
        if len(self._counted) >= MOST_ROWS:
            self._lose(1)
            return None
        counts = Counts(owner)
        self._counted[(int(self._begins) * 1000, key_id, service, currency)] = counts
        self._today[(key_id, service, currency)] = counts
        self._changed.set()
        return counts

    async def _write(self) -> bool:
        counted, self._counted, self._today = self._counted, {}, {}
        self._changed.clear()
        waiting = iter(counted.items())
        part: list[tuple[Place, Counts]] = []
        try:
            while part := list(islice(waiting, TOGETHER)):
                await self._store.add(part)
        except Exception as error:
            self._put_back([*part, *waiting])
            self._tell_failure(error)
            return False
        finally:
            self._writing = None
        if self._failing:
            self._failing = self._full = False
            _log.info("usage.written_again")
        return True

    def _put_back(self, unwritten: Sequence[tuple[Place, Counts]]) -> None:
        """Add what was not written to what was counted meanwhile."""
        for place, counts in unwritten:
            found = self._counted.get(place)
            if found is not None:
                found.add(counts)
            elif len(self._counted) < MOST_ROWS:
                self._counted[place] = counts
            else:
                self._lose(counts.calls)
        self._begins = self._ends = 0.0  # the next call looks for its row again
        self._changed.set()

    def _tell_failure(self, error: Exception) -> None:
        if self._failing:
            return
        self._failing = True
        if isinstance(error, StorageError):
            _log.error("usage.not_written", detail=error.detail)
        else:
            _log.exception("usage.not_written")

    def _lose(self, calls: int) -> None:
        if self._metrics is not None:
            self._metrics.count("penstock_usage_lost_total", calls)
        if not self._full:
            self._full = True
            _log.error("usage.too_many_rows", rows=MOST_ROWS)
