from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest

from penstock.clock import ManualClock
from penstock.db import Database, open_database
from penstock.errors import StorageUnavailable
from penstock.observe import effects
from penstock.observe.metrics import Metrics
from penstock.usage import Usage, UsageFilter, UsageRow
from penstock.usage import ledger as module
from penstock.usage.store import DAY, Counts, Group, Mark, Place, UsageStore, position
from tests.databases import DATABASES, Kind, open_for_test
from tests.usage.receipts import ASKED, CACHED, receipt


class SeenUsage(Usage):
    """Tells of every flush whether it wrote."""

    def __init__(self, database: Database, *, clock: ManualClock) -> None:
        super().__init__(database, clock=clock)
        self.flushed: asyncio.Queue[bool] = asyncio.Queue()

    async def flush(self) -> bool:
        wrote = await super().flush()
        self.flushed.put_nowait(wrote)
        return wrote


@pytest.fixture
def seen(database: Database, clock: ManualClock) -> SeenUsage:
    return SeenUsage(database, clock=clock)


class Unsure(UsageStore):
    """The ledger behind a line that breaks: before or after what was handed over arrived."""

    breaks = ""

    async def add(self, mark: Mark, counted: Iterable[tuple[Place, Counts]]) -> None:
        how, self.breaks = self.breaks, ""
        if how != "before":
            await super().add(mark, counted)
        if how:
            raise StorageUnavailable(f"the line broke {how} it arrived")


TODAY = 1_699_920_000_000
EVER = UsageFilter(0, 1 << 60)


def count(usage: Usage, *receipts: Any, key: str = "key_1", owner: str = "team") -> None:
    for one in receipts or (ASKED,):
        usage.add(key_id=key, owner=owner, service="moderation", receipt=one)


async def written(database: Database) -> int:
    """Calls in the file."""
    [row] = await database.rows("SELECT coalesce(sum(calls), 0) FROM usage_days")
    return int(row[0])


async def rows(usage: Usage, *group: Group, wanted: UsageFilter = EVER) -> list[UsageRow]:
    return await usage.page(wanted, group=group or ("day", "key"))


async def test_calls_tokens_and_money_of_a_key_are_added_up(usage: Usage) -> None:
    count(usage, ASKED, ASKED, CACHED)

    [row] = await rows(usage)

    assert row == UsageRow(
        calls=3,
        cached=1,
        tokens_in=200,
        tokens_out=40,
        tokens_saved=120,
        spent_micros={"USD": 14},
        saved_micros={"USD": 7},
        day=TODAY,
        owner="team",
        key_id="key_1",
    )


@pytest.mark.parametrize(
    ("source", "cached"),
    [
        *(("memory", 1), ("disk", 1), ("redis", 1)),
        *(("inflight", 0), ("prescreen", 0), ("local", 0), ("provider", 0)),
    ],
)
async def test_cached_are_those_that_the_cache_answered(
    usage: Usage, source: str, cached: int
) -> None:
    count(usage, receipt(source))

    assert (await usage.total(EVER)).cached == cached


async def test_money_of_different_currencies_is_not_added_up(usage: Usage) -> None:
    count(usage, receipt(spent=5), receipt(spent=3, currency="EUR"), receipt(spent=4))

    [row] = await rows(usage)

    assert row.calls == 3
    assert row.spent_micros == {"USD": 9, "EUR": 3}


async def test_a_new_day_has_its_own_row(usage: Usage, clock: ManualClock) -> None:
    count(usage)
    clock.advance(2 * 3600)  # past midnight, UTC
    count(usage, ASKED, ASKED)

    found = await rows(usage, "day")

    assert [(row.day, row.calls) for row in found] == [(TODAY + DAY, 2), (TODAY, 1)]


async def test_a_clock_that_was_set_back_counts_for_the_day_it_says(
    usage: Usage, clock: ManualClock
) -> None:
    count(usage)
    clock.advance(2 * 3600)
    count(usage)
    clock.advance(-3 * 3600)
    count(usage)

    found = await rows(usage, "day")

    assert [row.calls for row in found] == [1, 2]


@pytest.mark.parametrize(
    ("group", "calls"),
    [
        (("day",), {(TODAY,): 6}),
        (("key",), {("a", "key_1"): 3, ("a", "key_2"): 2, ("b", "key_3"): 1}),
        (("service",), {("moderation",): 6}),
        (
            ("service", "key"),
            {
                ("moderation", "a", "key_1"): 3,
                ("moderation", "a", "key_2"): 2,
                ("moderation", "b", "key_3"): 1,
            },
        ),
    ],
)
async def test_sums_are_grouped_as_asked(
    usage: Usage, group: tuple[Group, ...], calls: dict[tuple[Any, ...], int]
) -> None:
    count(usage, ASKED, ASKED, CACHED, key="key_1", owner="a")
    count(usage, ASKED, receipt(currency="EUR"), key="key_2", owner="a")
    count(usage, ASKED, key="key_3", owner="b")

    found = await rows(usage, *group)

    assert {position(row, group): row.calls for row in found} == calls


@pytest.mark.parametrize(
    ("wanted", "calls"),
    [
        (UsageFilter(0, 1 << 60, owner="a"), 2),
        (UsageFilter(0, 1 << 60, key_id="key_2"), 1),
        (UsageFilter(0, 1 << 60, owner="a", key_id="key_3"), 0),
        (UsageFilter(TODAY, TODAY), 3),
        (UsageFilter(0, TODAY - 1), 0),
        (UsageFilter(TODAY + 1, 1 << 60), 0),
        (UsageFilter(0, 1 << 60, owner="' OR 1=1 --"), 0),
    ],
)
async def test_sums_are_of_whom_and_when_was_asked(
    usage: Usage, wanted: UsageFilter, calls: int
) -> None:
    count(usage, key="key_1", owner="a")
    count(usage, key="key_2", owner="a")
    count(usage, key="key_3", owner="b")

    assert (await usage.total(wanted)).calls == calls
    assert sum(row.calls for row in await rows(usage, wanted=wanted)) == calls


async def test_pages_go_on_where_the_one_before_ended(usage: Usage) -> None:
    for n in range(7):
        count(usage, ASKED, receipt(currency="EUR"), key=f"key_{n}", owner=f"owner_{n % 2}")
    group: tuple[Group, ...] = ("day", "key")

    found: list[UsageRow] = []
    after = None
    while page := await usage.page(EVER, group=group, after=after, limit=2):
        found += page
        after = position(page[-1], group)

    assert sorted(str(row.key_id) for row in found) == [f"key_{n}" for n in range(7)]
    assert {row.calls for row in found} == {2}


async def test_counts_are_written_a_moment_after_the_first_call(
    seen: SeenUsage, clock: ManualClock, database: Database
) -> None:
    async with kept(seen):
        count(seen, ASKED, ASKED)
        await turn()
        assert await written(database) == 0

        clock.advance(effects.WINDOW_SECONDS)
        assert await seen.flushed.get()
        assert await written(database) == 2
        count(seen)
        await turn()
        clock.advance(effects.WINDOW_SECONDS)

        assert await seen.flushed.get()
        assert await written(database) == 3


async def test_what_storage_refuses_is_kept_and_tried_again(
    seen: SeenUsage, clock: ManualClock, database: Database
) -> None:
    async with kept(seen):
        with locked(database):
            count(seen)
            await turn()
            clock.advance(effects.WINDOW_SECONDS)
            assert not await seen.flushed.get()
            count(seen, CACHED)
            await turn()

        clock.advance(effects.RETRY_SECONDS)

        assert await seen.flushed.get()
        assert await written(database) == 2
        assert await seen.total(EVER) == UsageRow(
            calls=2,
            cached=1,
            tokens_in=100,
            tokens_out=20,
            tokens_saved=120,
            spent_micros={"USD": 7},
            saved_micros={"USD": 7},
        )


async def test_flush_says_that_storage_failed_and_raises_nothing(
    usage: Usage, database: Database
) -> None:
    count(usage)
    with locked(database):
        assert not await usage.flush()

    assert await usage.flush()
    assert await written(database) == 1


async def test_what_waits_is_bounded_and_what_is_lost_counted(
    usage: Usage, database: Database, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    with locked(database):
        for n in range(3):
            count(usage, key=f"key_{n}")
        await usage.flush()  # those are kept as they are
        for n in range(4):
            count(usage, key=f"key_{n}")
        count(usage, key="key_0")  # has a row already
        await usage.flush()
        assert usage.waiting == 6

    await usage.flush()

    assert await written(database) == 7
    assert metrics.total("penstock_usage_lost_total") == 1


@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("breaks", ["before", "after"])
async def test_what_may_or_may_not_have_arrived_is_counted_once(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, kind: Kind, breaks: str
) -> None:
    """A connection that dies between COMMIT and its answer tells nobody which it was."""
    async with open_for_test(kind, request, tmp_path / "own") as database:
        usage = Usage(database, clock=clock)
        usage._store = line = Unsure(database)
        meter = usage.meter("key_1")
        for _ in range(3):
            line.breaks = breaks
            count(usage)
            assert not await usage.flush()
        count(usage, CACHED)

        total = await usage.total(EVER)

        assert (total.calls, total.spent_micros) == (4, {"USD": 21})
        assert usage.waiting == 0
        assert meter.written == meter.counted


async def test_many_rows_are_written_in_several_transactions(
    usage: Usage, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER", 10)
    for n in range(95):
        count(usage, key=f"key_{n}")

    await usage.flush()

    assert await written(database) == 95


async def test_a_cancelled_flush_neither_loses_nor_doubles_a_count(
    usage: Usage, database: Database
) -> None:
    for _ in range(50):
        count(usage)
        flushing = asyncio.ensure_future(usage.flush())
        await turn()
        flushing.cancel()
        with suppress(asyncio.CancelledError):
            await flushing
        count(usage)

    await usage.flush()

    assert await written(database) == 100


async def test_flushes_beside_one_another_count_everything_once(
    usage: Usage, database: Database
) -> None:
    async def counting() -> None:
        for _ in range(20):
            count(usage)
            await usage.flush()

    await asyncio.gather(*(counting() for _ in range(10)))

    assert await written(database) == 200


async def test_a_request_without_a_key_is_counted_too(usage: Usage) -> None:
    usage.add(key_id=None, owner="local", service="moderation", receipt=ASKED)

    [row] = await rows(usage)

    assert (row.key_id, row.owner, row.calls) == ("", "local", 1)


COUNT_MANY = """
import asyncio, sys
from pathlib import Path
from penstock.clock import SystemClock
from penstock.db import open_database
from penstock.usage import Usage
from tests.usage.receipts import ASKED

async def main():
    database = open_database(folder=Path(sys.argv[1]))
    usage = Usage(database, clock=SystemClock())
    keeping = asyncio.ensure_future(usage.keep())
    for n in range(2000):
        usage.add(key_id=f"key_{n % 3}", owner="team", service="moderation", receipt=ASKED)
        if n % 50 == 0:
            await usage.flush()
    keeping.cancel()
    await usage.flush()
    await database.aclose()

asyncio.run(main())
"""


@pytest.mark.slow
def test_processes_of_one_folder_add_to_the_same_rows(tmp_path: Path) -> None:
    asyncio.run(open_database(folder=tmp_path).aclose())
    command = [sys.executable, "-c", COUNT_MANY, str(tmp_path)]

    running = [subprocess.Popen(command) for _ in range(3)]

    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    with closing(sqlite3.connect(tmp_path / "penstock.db")) as raw:
        sums = "SELECT sum(calls), sum(tokens_in), sum(spent_micros), count(*) FROM usage_days"
        calls, tokens, spent, rows = raw.execute(sums).fetchone()
    assert (calls, tokens, spent) == (6000, 600_000, 42_000)
    assert rows in {3, 6}  # six when midnight passed meanwhile


def locked(database: Database) -> closing[sqlite3.Connection]:
    """While open, no other connection can write."""
    raw = sqlite3.connect(database.path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    return closing(raw)


async def turn() -> None:
    """Let everything that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def kept(usage: Usage) -> AsyncIterator[None]:
    """While open, the usage writes itself, for 30 seconds at most."""
    keeping = asyncio.ensure_future(usage.keep())
    try:
        async with asyncio.timeout(30):
            yield
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
