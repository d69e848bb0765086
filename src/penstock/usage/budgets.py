"""What keys may spend, and when that is spent: money or tokens, of a day or a month (UTC).

    check (memory): what the ledger had a second ago, of all servers, plus what this process counted
    keep: reads the sums of keys with a budget again, every second while they are in use

It is asked where a provider would be: what is remembered is answered without. A check reads no
database, but for the first of a key in a process. So servers learn within about
a second what the others spent: a budget is overrun by at most what goes out in that time. While the
ledger cannot be read, what is known of it stands, and this process goes on counting; a key of which
nothing is known spends nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from penstock.clock import Clock
from penstock.db.look import Look
from penstock.errors import BudgetExhausted, StorageError, StorageUnavailable
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.usage.ledger import Usage
from penstock.usage.meter import TOKENS, Meter
from penstock.usage.store import DAY, UsageFilter

Period = Literal["day", "month"]

REFRESH_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 300.0  # without a request, until a key is not looked after any more
MOST_KEYS: Final = 10_000  # that are looked after at once
AT_ONCE: Final = 8  # sums that are read side by side

_log = get_logger("penstock.usage")


class Budget(msgspec.Struct, frozen=True):
    """The most that a key may spend of a period; None: no bound."""

    micros: int | None = None  # of each currency
    tokens: int | None = None
    period: Period = "month"


class Spent(NamedTuple):
    """What a key spent of the present period, and when that ends (seconds since 1970, UTC)."""

    micros: dict[str, int]
    tokens: int
    ends: float


class Known(Protocol):
    """The budgets of keys, by their ids."""

    async def budget(self, key_id: str) -> Budget | None:
        """The budget of a key, if it has one. Raises StorageError."""


class Verified(Protocol):
    """The budgets of keys that this process verifies anyway."""

    async def budget(self, key_id: str) -> Budget | None:
        """As it stands now. Raises KeyError for a key that is not among them."""


class _Account:
    """What is known of one key."""

    __slots__ = ("base", "begins", "ends", "is_read", "look", "meter", "period", "used_at")

    look: Look  # of those who wait for the first one

    def __init__(self, period: Period, meter: Meter, *, now: float, used_at: float) -> None:
        self.period: Period = period
        self.meter = meter
        self.begins, self.ends = bounds(period, now)
        self.base: Counter[str] = Counter()  # without what the meter counted
        self.is_read = False  # whether the ledger ever answered
        self.used_at = used_at

    def spent(self, name: str) -> int:
        return self.base[name] + self.meter.counted[name]


class Budgets:
    """Watches the keys that have a budget. Belongs to one event loop, which runs `keep`.

    `known` are the budgets themselves, for `check_key`; a server sets `verified`, which is asked
    first.
    """

    def __init__(
        self,
        usage: Usage,
        *,
        clock: Clock,
        known: Known | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.verified: Verified | None = None
        self._usage = usage
        self._clock = clock
        self._known = known
        self._metrics = metrics
        self._found: dict[str, tuple[Budget | None, float]] = {}  # by key, and when it was read
        self._accounts: dict[str, _Account] = {}
        self._busy = asyncio.Event()  # whether there is a key to look after
        self._failing = False

    async def check(self, key_id: str, budget: Budget) -> None:
        """Raise BudgetExhausted when the key has spent what it may.

        And StorageUnavailable where nobody can say, as the ledger never answered about this key.
        """
        account = await self._account(key_id, budget.period)
        used = {name: account.spent(name) for name in {*account.base, *account.meter.counted}}
        tokens = used.pop(TOKENS, 0)
        if budget.tokens is not None and tokens >= budget.tokens:
            said = f"{tokens} of {budget.tokens} tokens"
        elif budget.micros is not None and max(used.values(), default=0) >= budget.micros:
            currency = max(used, key=used.__getitem__)
            said = f"{used[currency]} of {budget.micros} millionths of {currency or 'a unit'}"
        elif budget.micros == 0:
            said = "it is 0"
        else:
            return
        if self._metrics is not None:
            self._metrics.count("penstock_limited_total", reason="budget")
        raise BudgetExhausted(
            f"the key's budget of this {budget.period} is used up: {said}",
            retry_after=account.ends - self._clock.now(),
        )

    async def check_key(self, key_id: str | None) -> None:
        """As `check`, of the budget that the key has.

        For who knows a key by its id alone: what may ask a provider, and a batch before each item.
        A process that does not verify keys reads budgets every second. Raises StorageError also
        while the budget itself cannot be read and never was.
        """
        if key_id is None or self._known is None:
            return
        budget = await self._budget_of(key_id, self._known)
        if budget is not None:
            await self.check(key_id, budget)

    async def spent(self, key_id: str, period: Period) -> Spent:
        """What a key spent of the present period, over all servers. Raises StorageUnavailable."""
        account = await self._account(key_id, period)
        used = {name: account.spent(name) for name in {*account.base, *account.meter.counted}}
        tokens = used.pop(TOKENS, 0)
        return Spent(used, tokens, account.ends)

    async def keep(self) -> None:
        """Read the sums of keys in use again and again, until cancelled."""
        try:
            while True:
                await self._busy.wait()
                await self._clock.sleep(REFRESH_SECONDS)
                await self.refresh()
        finally:
            await asyncio.gather(*(each.look.aclose() for each in self._accounts.values()))

    async def refresh(self) -> None:
        """Read the sums of all keys in use; forget those that are in use no more.

        But nobody while sums cannot be read: what is known could not be learnt again.
        """
        late = self._clock.monotonic() - IDLE_SECONDS
        idle = [key for key, found in self._accounts.items() if found.used_at < late]
        for key_id in () if self._failing else idle:
            self._forget(key_id)
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(key_id: str, account: _Account) -> None:
            async with turns:
                await self._read(key_id, account)

        await asyncio.gather(*(one(*item) for item in list(self._accounts.items())))
        if not self._accounts:
            self._busy.clear()

    async def _account(self, key_id: str, period: Period) -> _Account:
        now, used_at = self._clock.now(), self._clock.monotonic()
        account = self._accounts.get(key_id)
        if account is None or account.period != period or not account.begins <= now < account.ends:
            if account is None and len(self._accounts) >= MOST_KEYS:
                self._forget(min(self._accounts, key=lambda key: self._accounts[key].used_at))
            account = _Account(period, self._usage.meter(key_id), now=now, used_at=used_at)
            account.look = Look(partial(self._learn, key_id, account))
            self._accounts[key_id] = account
            self._busy.set()
        account.used_at = used_at
        if not account.is_read:
            await account.look.share()  # one for all; who goes away stops no look
        if not account.is_read:
            raise StorageUnavailable("what the key has spent cannot be read; try again in a moment")
        return account

    async def _learn(self, key_id: str, account: _Account) -> None:
        await self._read(key_id, account)
        if not account.is_read:
            raise StorageUnavailable("the ledger cannot be read")

    async def _read(self, key_id: str, account: _Account) -> None:
        """Ask the ledger, whatever else is being written to it meanwhile.

        What is written between the two looks is in both sums until the next time: never too little.
        """
        now = self._clock.now()
        if not account.begins <= now < account.ends:
            return  # the next request opens another one
        first, last = int(account.begins * 1000), int(account.ends * 1000) - DAY
        wanted = UsageFilter(first, last, key_id=key_id)
        try:
            written = Counter(account.meter.written)
            total = await self._usage.on_record(wanted)
        except StorageError as error:
            if not self._failing:
                _log.warning("budgets.unread", detail=error.detail)
            self._failing = True
        else:
            self._failing = False
            base = Counter(total.spent_micros)
            base[TOKENS] = total.tokens_in + total.tokens_out
            base.subtract(written)
            account.base = base
            account.is_read = True

    async def _budget_of(self, key_id: str, known: Known) -> Budget | None:
        if self.verified is not None:
            with suppress(KeyError):
                return await self.verified.budget(key_id)
        now = self._clock.monotonic()
        found = self._found.get(key_id)
        if found is not None and now - found[1] < REFRESH_SECONDS:
            return found[0]
        try:
            budget = await known.budget(key_id)
        except StorageError:
            if found is None:
                raise
            budget = found[0]  # what is known stands
        if len(self._found) >= MOST_KEYS:
            self._found.clear()
        self._found[key_id] = (budget, now)
        return budget

    def _forget(self, key_id: str) -> None:
        self._accounts.pop(key_id, None)
        self._usage.drop_meter(key_id)


def bounds(period: Period, now: float) -> tuple[float, float]:
    """First instant of the present period and of the next one, in seconds since 1970, UTC."""
    today = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return today.timestamp(), (today + timedelta(days=1)).timestamp()
    first = today.replace(day=1)
    return first.timestamp(), (first + timedelta(days=32)).replace(day=1).timestamp()
