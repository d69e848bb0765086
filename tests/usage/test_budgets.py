from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.db import Database
from penstock.errors import BudgetExhausted, StorageUnavailable
from penstock.hub import LocalHub
from penstock.server.keys import KeyRing
from penstock.usage import Budget, Budgets, BudgetStore, Usage, UsageFilter, UsageRow
from penstock.usage import budgets as module
from penstock.usage.budgets import REFRESH_SECONDS, bounds
from tests.databases import DATABASES, Kind, open_for_test
from tests.usage.receipts import ASKED, CACHED, receipt

TEN = Budget(micros=10, period="day")


class CountedUsage(Usage):
    """Counts how often the ledger is read."""

    reads = 0
    failing = False
    gate: asyncio.Event | None = None

    async def on_record(self, wanted: UsageFilter) -> UsageRow:
        self.reads += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failing:
            raise StorageUnavailable("the database does not answer")
        return await super().on_record(wanted)


@pytest.fixture(params=DATABASES)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    kind: Kind = request.param
    async with open_for_test(kind, request, tmp_path) as opened:
        yield opened


@pytest.fixture
def here(database: Database, clock: ManualClock) -> CountedUsage:
    return CountedUsage(database, clock=clock)


@pytest.fixture
def elsewhere(database: Database, clock: ManualClock) -> Usage:
    """The ledger of another server."""
    return Usage(database, clock=clock)


@pytest.fixture
def budgets(here: Usage, clock: ManualClock) -> Budgets:
    return Budgets(here, clock=clock)


def spend(
    usage: Usage, micros: int = 0, *, tokens: int = 0, key: str = "key_1", **more: str
) -> None:
    one = receipt(spent=micros, tokens=(tokens, 0, 0), **more)  # type: ignore[arg-type]
    usage.add(key_id=key, owner="team", service="moderation", receipt=one)


async def allowed(budgets: Budgets, budget: Budget, key: str = "key_1") -> bool:
    try:
        await budgets.check(key, budget)
    except BudgetExhausted:
        return False
    return True


async def test_a_key_is_stopped_at_once_by_what_this_process_counted(
    budgets: Budgets, here: Usage
) -> None:
    spend(here, 4)
    before = await allowed(budgets, TEN)
    spend(here, 5)
    close = await allowed(budgets, TEN)
    spend(here, 1)

    assert (before, close, await allowed(budgets, TEN)) == (True, True, False)


async def test_a_key_is_stopped_by_what_other_servers_wrote(
    budgets: Budgets, here: Usage, elsewhere: Usage
) -> None:
    assert await allowed(budgets, TEN)
    spend(here, 5)
    spend(elsewhere, 5)
    await elsewhere.flush()
    unknown = await allowed(budgets, TEN)

    await budgets.refresh()

    assert (unknown, await allowed(budgets, TEN)) == (True, False)


async def test_what_is_written_is_not_counted_twice(budgets: Budgets, here: Usage) -> None:
    spend(here, 3)
    assert await allowed(budgets, TEN)
    for _ in range(3):
        await here.flush()
        await budgets.refresh()
        spend(here, 2)

    spent = await budgets.spent("key_1", "day")

    assert spent.micros["USD"] == 9
    assert await allowed(budgets, TEN)


async def test_what_is_being_written_when_a_key_is_first_seen_counts_once(
    budgets: Budgets, here: Usage
) -> None:
    spend(here, 3)
    writing = asyncio.ensure_future(here.flush())
    await asyncio.sleep(0)
    spend(here, 2)
    await allowed(budgets, TEN)
    await writing
    await budgets.refresh()

    assert (await budgets.spent("key_1", "day")).micros["USD"] == 5


async def test_requests_read_no_database_but_the_first(
    budgets: Budgets, here: CountedUsage
) -> None:
    await asyncio.gather(*(allowed(budgets, TEN) for _ in range(50)))
    for _ in range(50):
        spend(here)
        await allowed(budgets, TEN)

    assert here.reads == 1


async def test_keys_in_use_are_read_again_every_second(
    budgets: Budgets, here: CountedUsage, elsewhere: Usage, clock: ManualClock
) -> None:
    keeping = asyncio.ensure_future(budgets.keep())
    try:
        await allowed(budgets, TEN)
        spend(elsewhere, 10)
        await elsewhere.flush()
        async with asyncio.timeout(30):
            while await allowed(budgets, TEN):
                await asyncio.sleep(0)
                clock.advance(REFRESH_SECONDS)
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


async def test_keys_out_of_use_are_read_no_more(
    budgets: Budgets, here: CountedUsage, clock: ManualClock
) -> None:
    await allowed(budgets, TEN)
    clock.advance(module.IDLE_SECONDS + 1)

    await budgets.refresh()

    assert here.reads == 1
    spend(here, 10)
    assert not await allowed(budgets, TEN)


@pytest.mark.parametrize(
    ("budget", "is_allowed"),
    [
        (Budget(tokens=121), True),
        (Budget(tokens=120), False),
        (Budget(micros=8), True),
        (Budget(micros=7), False),
        (Budget(micros=8, tokens=120), False),
        (Budget(micros=0), False),
        (Budget(tokens=0), False),
    ],
)
async def test_money_and_tokens_are_bounded_apart(
    budgets: Budgets, here: Usage, budget: Budget, is_allowed: bool
) -> None:
    here.add(key_id="key_1", owner="team", service="moderation", receipt=ASKED)

    assert await allowed(budgets, budget) is is_allowed


async def test_currencies_are_not_added_up(budgets: Budgets, here: Usage) -> None:
    spend(here, 9)
    spend(here, 9, currency="EUR")

    assert await allowed(budgets, TEN)


async def test_cached_answers_cost_nothing(budgets: Budgets, here: Usage) -> None:
    here.add(key_id="key_1", owner="team", service="moderation", receipt=CACHED)

    assert await allowed(budgets, Budget(micros=1, tokens=1))


async def test_keys_do_not_spend_each_others_budget(budgets: Budgets, here: Usage) -> None:
    spend(here, 10, key="key_2")

    assert await allowed(budgets, TEN)


async def test_a_new_period_begins_at_nothing(
    budgets: Budgets, here: Usage, clock: ManualClock
) -> None:
    spend(here, 10)
    await here.flush()
    with pytest.raises(BudgetExhausted) as refused:
        await budgets.check("key_1", TEN)

    clock.advance(refused.value.retry_after)

    assert refused.value.retry_after == 6400.0  # to midnight
    assert await allowed(budgets, TEN)
    assert not await allowed(budgets, Budget(micros=10, period="month"))


async def test_while_the_ledger_cannot_be_read_what_is_known_stands(
    budgets: Budgets, here: CountedUsage
) -> None:
    spend(here, 9)
    await here.flush()
    await allowed(budgets, TEN)
    here.failing = True
    await budgets.refresh()
    known = await allowed(budgets, TEN)
    spend(here, 1)

    assert (known, await allowed(budgets, TEN)) == (True, False)


async def test_a_key_of_which_nothing_is_known_spends_nothing(
    budgets: Budgets, here: CountedUsage, elsewhere: Usage
) -> None:
    spend(elsewhere, 10)
    await elsewhere.flush()
    here.failing = True

    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            await budgets.check("key_1", TEN)
    await budgets.refresh()
    with pytest.raises(StorageUnavailable):
        await budgets.spent("key_1", "day")
    here.failing = False

    assert not await allowed(budgets, TEN)


async def test_who_stops_waiting_for_the_first_look_takes_it_from_nobody(
    budgets: Budgets, here: CountedUsage, elsewhere: Usage
) -> None:
    spend(elsewhere, 10)
    await elsewhere.flush()
    here.gate = asyncio.Event()
    first = asyncio.ensure_future(budgets.check("key_1", TEN))
    second = asyncio.ensure_future(allowed(budgets, TEN))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    here.gate.set()

    assert not await second
    assert not await allowed(budgets, TEN)
    assert here.reads == 1


async def test_nobody_is_forgotten_while_the_ledger_cannot_be_read(
    budgets: Budgets, here: CountedUsage, clock: ManualClock
) -> None:
    spend(here, 10)
    await here.flush()
    await allowed(budgets, TEN)
    here.failing = True
    await budgets.refresh()
    clock.advance(module.IDLE_SECONDS + 1)

    await budgets.refresh()

    assert not await allowed(budgets, TEN)


async def test_the_budget_on_record_of_a_key_holds_for_work_that_goes_on(
    here: Usage, database: Database, clock: ManualClock
) -> None:
    ring = KeyRing(database, LocalHub(), clock)
    budgets = Budgets(here, clock=clock, known=BudgetStore(database))
    key = (await ring.create("a", actor="test", role="operator", budget=TEN)).record.id
    free = (await ring.create("b", actor="test", role="operator")).record.id
    spend(here, 10, key=key)
    spend(here, 10, key=free)

    for unbounded in (None, free, "env"):
        await budgets.check_key(unbounded)
    with pytest.raises(BudgetExhausted):
        await budgets.check_key(key)
    await ring.change(key, {"budget_micros": 11}, actor="test")
    clock.advance(REFRESH_SECONDS)
    await budgets.check_key(key)


@pytest.mark.parametrize(
    ("period", "now", "ends"),
    [
        ("day", 1_700_000_000.0, 1_700_006_400.0),
        ("month", 1_700_000_000.0, 1_701_388_800.0),  # December 1st
        ("month", 1_701_388_800.0, 1_704_067_200.0),  # and from its first instant, the year's end
        ("month", 1_706_659_200.0, 1_706_745_600.0),  # January 31st
    ],
)
def test_periods_end_at_midnight_utc(period: module.Period, now: float, ends: float) -> None:
    begins, found = bounds(period, now)

    assert begins <= now < found == ends
