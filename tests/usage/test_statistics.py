from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from penstock.clock import ManualClock
from penstock.db import Database
from penstock.errors import StorageUnavailable
from penstock.observe.effects import Effects
from penstock.observe.metrics import Metrics
from penstock.usage import CounterStore, Statistics
from penstock.usage import statistics as module
from penstock.usage.counters import DAY, Batch, Counters, Place, Top
from penstock.usage.durations import percentile
from penstock.usage.statistics import (
    OTHER,
    REQUESTS,
    UPSTREAM,
    blocked_users,
    flags,
    times,
    users,
)
from tests.databases import DATABASES, Kind, open_for_test

TODAY = 1_699_920_000_000


class Unsure:
    """Counters behind a line that breaks: before or after what was handed over arrived."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self.breaks: list[str] = []

    async def add(self, batch: Batch) -> int:
        how = self.breaks.pop(0) if self.breaks else ""
        if how != "before":
            await self._counters.add(batch)
        if how:
            raise StorageUnavailable(f"the line broke {how} it arrived")
        return 0

    async def rows(
        self, kinds: Sequence[str], first: int, last: int, *, names: Sequence[str] | None = None
    ) -> dict[Place, int]:
        return await self._counters.rows(kinds, first, last, names=names)

    async def top(self, kind: str, first: int, last: int, *, limit: int) -> Top:
        return await self._counters.top(kind, first, last, limit=limit)


@pytest.fixture(params=DATABASES)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    kind: Kind = request.param
    async with open_for_test(kind, request, tmp_path) as opened:
        yield opened


@pytest.fixture
def store(database: Database) -> CounterStore:
    return CounterStore(database)


@pytest.fixture
def line(store: CounterStore) -> Unsure:
    return Unsure(store)


@pytest.fixture
def statistics(line: Unsure, clock: ManualClock, metrics: Metrics) -> Statistics:
    return started(line, clock, metrics)


def started(counters: Counters, clock: ManualClock, metrics: Metrics | None = None) -> Statistics:
    """The statistics of another process."""
    effects = Effects(clock=clock, metrics=metrics)
    return Statistics(counters, clock=clock, effects=effects, metrics=metrics)


async def numbers(
    statistics: Statistics, *kinds: str, first: int = TODAY, last: int = TODAY
) -> dict[str, int]:
    """Sums over the days by name."""
    sums: Counter[str] = Counter()
    for place, value in (await statistics.rows(kinds, first, last)).items():
        sums[place.name] += value
    return dict(sums)


async def test_ten_thousand_mixed_requests_are_counted_exactly(
    statistics: Statistics, store: CounterStore, clock: ManualClock
) -> None:
    """X-03, by two processes whose writes come in each other's way."""
    draw = random.Random(7)
    beside = started(store, clock)
    expected: dict[str, Counter[str]] = {
        kind: Counter() for kind in (REQUESTS, users("m"), blocked_users("m"), flags("m"))
    }

    for number in range(10_000):
        user = f"user-{draw.randrange(50)}"
        decision = draw.choice(["approved", "review", "rejected"])
        cached = draw.random() < 0.6
        flagged = draw.sample(["hate", "violence", "spam"], draw.randrange(3))
        one = draw.choice([statistics, beside])
        one.answered("m", user=user, decision=decision, cached=cached, flagged=flagged)
        expected[REQUESTS].update(
            ["m.total", *["m.cached"] * cached]
            + {"approved": [], "review": ["m.review"], "rejected": ["m.blocked"]}[decision]
        )
        expected[users("m")][user] += 1
        expected[blocked_users("m")].update([user] * (decision == "rejected"))
        expected[flags("m")].update(flagged)
        if number % 500 == 0:
            await asyncio.gather(statistics.flush(), beside.flush())
    await beside.flush()

    for kind, counts in expected.items():
        assert await numbers(statistics, kind) == {k: v for k, v in counts.items() if v}, kind


async def test_calls_of_providers_are_counted_by_kind_and_hour(
    statistics: Statistics, clock: ManualClock, metrics: Metrics
) -> None:
    """X-04: calls, total time, errors."""
    statistics.called("text", 0.25, failed=False)
    statistics.called("text", 0.5, failed=True)
    clock.advance(3600)
    statistics.called("image", 1.5, failed=False)

    assert await numbers(statistics, UPSTREAM) == {
        "text.22.calls": 2,
        "text.22.micros": 750_000,
        "text.22.errors": 1,
        "image.23.calls": 1,
        "image.23.micros": 1_500_000,
    }
    assert metrics.total("penstock_upstream_seconds", type="text") == 2
    assert metrics.total("penstock_upstream_seconds", type="text", outcome="error") == 1


async def test_days_are_counted_apart(statistics: Statistics, clock: ManualClock) -> None:
    statistics.answered("m", user="a", decision="approved")
    clock.advance(86_400)
    statistics.answered("m", user="a", decision="approved")
    statistics.answered("m", user="a", decision="approved")

    found = await statistics.rows([REQUESTS], TODAY, TODAY + DAY)

    assert found == {
        Place(TODAY, REQUESTS, "m.total"): 1,
        Place(TODAY + DAY, REQUESTS, "m.total"): 2,
    }


async def test_durations_have_a_sum_and_percentiles(statistics: Statistics) -> None:
    for milliseconds in range(1, 101):
        statistics.answered("m", user="a", decision="approved", seconds=milliseconds / 1000)

    found = await numbers(statistics, times("m"))

    assert found["micros"] == 5_050_000
    assert 0.095 <= percentile(found, 0.95) <= 0.095 * 1.1
    assert 0.050 <= percentile(found, 0.5) <= 0.050 * 1.1


@pytest.mark.parametrize("breaks", ["before", "after"])
async def test_what_may_or_may_not_have_arrived_is_counted_once(
    statistics: Statistics, line: Unsure, breaks: str
) -> None:
    """X-08: exact, although nobody knows whether the first attempt was committed."""
    line.breaks = [breaks] * 3
    for _ in range(3):
        statistics.answered("m", user="a", decision="rejected")
        with pytest.raises(StorageUnavailable):
            await statistics.flush()
    statistics.answered("m", user="a", decision="approved")

    assert await numbers(statistics, REQUESTS, users("m")) == {
        "m.total": 4,
        "m.blocked": 3,
        "a": 4,
    }
    assert statistics.waiting == 0


async def test_a_flush_that_is_cancelled_counts_once(statistics: Statistics) -> None:
    for _ in range(20):
        statistics.answered("m", user="a", decision="approved")
        flushing = asyncio.ensure_future(statistics.flush())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)

    assert await numbers(statistics, REQUESTS) == {"m.total": 20}


async def test_users_beyond_the_bound_are_counted_together(
    statistics: Statistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_USERS", 3)
    for user in ("a", "b", "c", "d", "e", "a", "d"):
        statistics.answered("m", user=user, decision="approved")
    await statistics.flush()
    for user in ("f", "a"):
        statistics.answered("m", user=user, decision="approved")

    assert await numbers(statistics, users("m")) == {"a": 3, "b": 1, "c": 1, OTHER: 4}


async def test_the_bound_holds_over_processes_of_a_day(
    statistics: Statistics,
    store: CounterStore,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_USERS", 2)
    for user in ("a", "b"):
        statistics.answered("m", user=user, decision="approved")
    await statistics.flush()
    later = started(store, clock)
    later.answered("m", user="a", decision="approved")
    await later.flush()

    later.answered("m", user="c", decision="approved")
    later.answered("m", user="b", decision="approved")
    await later.flush()

    assert await numbers(statistics, users("m")) == {"a": 2, "b": 2, OTHER: 1}


@pytest.mark.parametrize("user", ["x" * 500, "line\nbreak", "nul\x00", "\ud800"])
async def test_a_name_that_is_none_is_counted_with_the_others(
    statistics: Statistics, user: str
) -> None:
    statistics.answered("m", user=user, decision="approved")

    assert await numbers(statistics, users("m")) == {OTHER: 1}


async def test_what_waits_is_bounded_and_what_is_lost_counted(
    statistics: Statistics, line: Unsure, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_FIELDS", 5)
    line.breaks = ["before"]
    for user in "abcdefgh":
        statistics.answered("m", user=user, decision="approved")
    with pytest.raises(StorageUnavailable):
        await statistics.flush()
    statistics.answered("m", user="a", decision="approved")

    found = await numbers(statistics, REQUESTS, users("m"))

    assert metrics.total("penstock_effects_lost_total", effect="statistics") == 3 + 1
    assert found == {"m.total": 9, **dict.fromkeys("abcde", 1)}  # sums lose nothing


async def test_many_numbers_are_handed_over_in_parts(
    statistics: Statistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOGETHER", 7)
    for number in range(100):
        statistics.answered("m", user=f"u{number}", decision="approved")

    found = await numbers(statistics, users("m"))

    assert len(found) == sum(found.values()) == 100


async def test_the_top_names_are_those_with_the_highest_sums(
    statistics: Statistics, clock: ManualClock
) -> None:
    for user in "aabbbc":
        statistics.answered("m", user=user, decision="approved")
    clock.advance(86_400)
    for user in "aad":
        statistics.answered("m", user=user, decision="approved")

    top = await statistics.top(users("m"), TODAY, TODAY + DAY, limit=2)

    assert top == Top(4, [("a", 4), ("b", 3)])


async def test_rows_of_names_are_those_alone(statistics: Statistics) -> None:
    for user in "aab":
        statistics.answered("m", user=user, decision="approved")

    found = await statistics.rows([users("m")], TODAY, TODAY, names=["a", "nobody"])

    assert found == {Place(TODAY, users("m"), "a"): 2}


async def test_old_days_are_forgotten(
    statistics: Statistics, store: CounterStore, clock: ManualClock
) -> None:
    statistics.answered("m", user="a", decision="rejected")
    clock.advance(86_400)
    statistics.answered("m", user="a", decision="approved")
    statistics.answered("m", user="b", decision="approved")
    await statistics.flush()

    purged = await store.purge(TODAY + DAY)

    assert purged == 5  # total, blocked, twice of the user, and the mark of the batch
    assert await numbers(statistics, REQUESTS, users("m"), last=TODAY + DAY) == {
        "m.total": 2,
        "a": 1,
        "b": 1,
    }
