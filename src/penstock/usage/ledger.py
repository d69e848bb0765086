"""Counts in memory and adds to the day's rows a moment later.

Every process adds what it counted itself, so any number of them share one table. What could not be
written is kept as it is and handed over again with its number, which is added once; what is counted
meanwhile gathers behind it, and only the number of rows that wait is bounded. The same
call is counted in the statistics, and by the meter of a key that has a budget.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence
from itertools import islice
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from penstock.clock import Clock
from penstock.db import Database
from penstock.errors import StorageError
from penstock.observe.effects import Effects
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.usage.counter_store import CounterStore
from penstock.usage.counters import Counters
from penstock.usage.meter import Meter
from penstock.usage.statistics import Statistics
from penstock.usage.store import (
    DAY,
    Counts,
    Group,
    Mark,
    Place,
    UsageFilter,
    UsageRow,
    UsageStore,
)

if TYPE_CHECKING:
    from penstock.pipeline import Receipt

EFFECT: Final = "usage"
MOST_ROWS: Final = 10_000  # that gather, beside those that are being written
TOGETHER: Final = 500  # rows of one part, which is one transaction

_STORED: Final = frozenset({"memory", "disk", "redis"})  # sources that are the cache
_DAY_SECONDS: Final = DAY // 1000

_log = get_logger("penstock.usage")


class Outcome(NamedTuple):
    """What came of a call, for the statistics."""

    decision: str  # approved, review or rejected
    flags: Sequence[str] = ()
    user: str | None = None  # the caller's word for a person; None: the key stands for its user


class _Part(NamedTuple):
    """Rows that are written together, or may have been; they do not change any more."""

    mark: Mark
    rows: list[tuple[Place, Counts]]


class Usage:
    """Counts what keys use and sums it up. Belongs to one event loop.

    `counters` are where statistics are added up, by default the database; `effects` when things are
    written: whoever hands them over runs their `keep`.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        metrics: Metrics | None = None,
        effects: Effects | None = None,
        counters: Counters | None = None,
    ) -> None:
        self._store = UsageStore(database)
        self._clock = clock
        self._metrics = metrics
        self._effects = effects or Effects(clock=clock, metrics=metrics)
        self._effect = self._effects.effect(EFFECT, self.flush, waiting=lambda: self.waiting)
        self.statistics = Statistics(
            counters or CounterStore(database), clock=clock, effects=self._effects, metrics=metrics
        )
        self._counted: dict[Place, Counts] = {}
        self._today: dict[tuple[str, str, str], Counts] = {}  # the same objects, found faster
        self._begins = self._ends = 0.0  # of the day that `_today` is about, in seconds
        self._writing: asyncio.Future[bool] | None = None
        self._meters: dict[str, Meter] = {}  # by key
        self._ready: deque[_Part] = deque()  # the oldest first; it may be on record already
        self._last = Mark(int(clock.now() * 1000) // DAY * DAY, secrets.token_hex(6), 0)
        self._failing = False
        self._full = False

    @property
    def waiting(self) -> int:
        """How many rows are not written yet."""
        return len(self._counted) + sum(len(part.rows) for part in self._ready)

    def add(
        self,
        *,
        key_id: str | None,
        owner: str,
        service: str,
        receipt: Receipt,
        outcome: Outcome | None = None,
    ) -> None:
        """Count one answer. Costs a few microseconds; never raises, never waits."""
        if outcome is not None:
            self.statistics.answered(
                service,
                user=outcome.user or key_id or owner,
                decision=outcome.decision,
                cached=receipt.source in _STORED,
                flagged=outcome.flags,
            )
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
        if self._meters and (meter := self._meters.get(key_id or "")) is not None:
            meter.count(cost.currency, cost.spent_micros, tokens.in_ + tokens.out)

    async def keep(self) -> None:
        """Write what is counted, a moment after it was, until cancelled; then what is left."""
        await self._effects.keep()

    def meter(self, key_id: str) -> Meter:
        """What a key spends from now on in this process; the same object for the same key."""
        meter = self._meters.get(key_id)
        if meter is None:
            meter = self._meters[key_id] = Meter()
            gone = [row for part in self._ready for row in part.rows]
            for place, counts in [*self._counted.items(), *gone]:
                if place[1] == key_id:  # not on record yet, and settled later
                    tokens = counts.tokens_in + counts.tokens_out
                    meter.count(place[3], counts.spent_micros, tokens)
        return meter

    def drop_meter(self, key_id: str) -> None:
        """Measure a key no longer."""
        self._meters.pop(key_id, None)

    async def flush(self) -> bool:
        """Write everything counted so far; False, and it stays counted, where storage fails.

        A caller that is cancelled stops waiting; the write goes on and is counted once.
        """
        if self._writing is not None:  # it may have begun before the caller's last `add`
            await asyncio.shield(self._writing)
        if self._writing is None:
            if not self._counted and not self._ready:
                return True
            self._writing = asyncio.ensure_future(self._write())
        return await asyncio.shield(self._writing)

    async def total(self, wanted: UsageFilter) -> UsageRow:
        """The sum of everything that `wanted` names; other processes' to the last 50 ms."""
        await self.flush()
        return await self._store.total(wanted)

    async def on_record(self, wanted: UsageFilter) -> UsageRow:
        """The same of what is written already: waits for no write."""
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
        self._effect.wake()
        return counts

    async def _write(self) -> bool:
        try:
            await self._hand_over()
            self._gather()
            await self._hand_over()
        except Exception as error:
            self._tell_failure(error)
            return False
        finally:
            self._writing = None
        self._failing = self._full = False
        return True

    def _gather(self) -> None:
        """Make parts of what was counted since; from here on they do not change."""
        # In the order of the key, so that two servers never wait for each other in a circle.
        left = iter(sorted(self._counted.items(), key=itemgetter(0)))
        self._counted, self._today = {}, {}
        while rows := list(islice(left, TOGETHER)):
            self._last = self._last._replace(number=self._last.number + 1)
            self._ready.append(_Part(self._last, rows))

    async def _hand_over(self) -> None:
        while self._ready:
            part = self._ready[0]
            await self._store.add(part.mark, part.rows)
            self._ready.popleft()
            self._settle(part.rows)

    def _settle(self, written: Sequence[tuple[Place, Counts]]) -> None:
        for (_, key_id, _, currency), counts in written:
            if (meter := self._meters.get(key_id)) is not None:
                tokens = counts.tokens_in + counts.tokens_out
                meter.settle(currency, counts.spent_micros, tokens)

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
