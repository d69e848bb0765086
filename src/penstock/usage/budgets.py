"""What keys may spend, and when that is spent: money or tokens, of a day or a month (UTC).

    check (memory): what the ledger had a second ago, of all servers, plus what this process counted
    keep: reads the sums of keys with a budget again, every second while they are in use

A request reads no database, but for the first of a key in a process. So servers learn within about
a second what the others spent: a budget is overrun by at most what goes out in that time. While the
ledger cannot be read, what is known of it stands, and this process goes on counting.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

import msgspec

from penstock.clock import Clock
from penstock.errors import BudgetExhausted, StorageError
from penstock.observe.logging import get_logger
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


class _Account:
    """What is known of one key."""

    __slots__ = ("base", "begins", "ends", "meter", "period", "read", "used_at")

    def __init__(self, period: Period, meter: Meter, *, now: float, used_at: float) -> None:
        self.period: Period = period
        self.meter = meter
        self.begins, self.ends = bounds(period, now)
        self.base: Counter[str] = Counter()  # without what the meter counted
        self.read = asyncio.Event()  # whether the ledger was asked
        self.used_at = used_at

    def spent(self, name: str) -> int:
        return self.base[name] + self.meter.counted[name]


class Budgets:
    """Watches the keys that have a budget. Belongs to one event loop, which runs `keep`."""

    def __init__(self, usage: Usage, *, clock: Clock) -> None:
        self._usage = usage
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._busy = asyncio.Event()  # whether there is a key to look after
        self._failing = False

    async def check(self, key_id: str, budget: Budget) -> None:
        """Raise BudgetExhausted when the key has spent what it may."""
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
        raise BudgetExhausted(
            f"the key's budget of this {budget.period} is used up: {said}",
            retry_after=account.ends - self._clock.now(),
        )

    async def spent(self, key_id: str, period: Period) -> Spent:
        """What a key spent of the present period, over all servers."""
        account = await self._account(key_id, period)
        used = {name: account.spent(name) for name in {*account.base, *account.meter.counted}}
        tokens = used.pop(TOKENS, 0)
        return Spent(used, tokens, account.ends)

    async def keep(self) -> None:
        """Read the sums of keys in use again and again, until cancelled."""
        while True:
            await self._busy.wait()
            await self._clock.sleep(REFRESH_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """Read the sums of all keys in use; forget those that are in use no more."""
        late = self._clock.monotonic() - IDLE_SECONDS
        for key_id in [key for key, found in self._accounts.items() if found.used_at < late]:
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
            meter = self._usage.meter(key_id)
            known = _Account(period, meter, now=now, used_at=used_at)
            if account is None and len(self._accounts) >= MOST_KEYS:
                self._forget(min(self._accounts, key=lambda key: self._accounts[key].used_at))
            account = self._accounts[key_id] = known
            self._busy.set()
            await self._read(key_id, account)
        elif not account.read.is_set():
            await account.read.wait()
        account.used_at = used_at
        return account

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
        finally:
            account.read.set()

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
