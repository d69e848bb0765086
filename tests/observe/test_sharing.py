"""What several processes count is one sum in Redis, exact whatever becomes of them and of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, suppress

import pytest
from redis.asyncio import Redis

from benchmarks.rigs.servers import RedisServer
from penstock.clock import ManualClock
from penstock.errors import StorageUnavailable
from penstock.hub.factory import open_hub
from penstock.hub.hub import Hub
from penstock.observe import sharing as module
from penstock.observe.effects import WINDOW_SECONDS, Effects
from penstock.observe.metrics import Metrics
from penstock.observe.sharing import EVERY, KEPT, Sharing

TODAY = 1_699_920_000  # ManualClock begins on this day
KEY = "penstock:hub:count:metrics:2023-11-14"
CALLS, SECONDS, TOKENS = "penstock_calls_total", "penstock_call_seconds", "penstock_call_tokens"


class Line:
    """A hub behind a line that breaks: before or after what was handed over arrived."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self.breaks: list[str] = []
        self.batches: list[int] = []  # how many numbers each had that was tried

    async def add(
        self, counters: Mapping[str, Mapping[str, int]], *, once: str = "", kept: float = KEPT
    ) -> int:
        how = self.breaks.pop(0) if self.breaks else ""
        self.batches += [len(numbers) for numbers in counters.values()]
        gone = 0
        if how != "before":
            gone = await self._hub.add(counters, once=once, kept=kept)
        if how:
            raise StorageUnavailable(f"the line broke {how} it arrived")
        return gone

    async def read(self, name: str) -> dict[str, int]:
        return await self._hub.read(name)


class Process:
    """What one process counts, and its line to Redis."""

    def __init__(self, hub: Hub, clock: ManualClock) -> None:
        self.line = Line(hub)
        self.metrics = Metrics()
        self.own = Metrics()  # what effects count of themselves
        self.effects = Effects(clock=clock, metrics=self.own)
        self.sharing = Sharing(self.metrics, self.line, clock=clock, effects=self.effects)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def join(redis: RedisServer, clock: ManualClock) -> AsyncIterator[Callable[..., object]]:
    """`await join()` is one more process."""
    async with AsyncExitStack() as stack:

        async def joined(server: RedisServer = redis) -> Process:
            hub = await open_hub(server.url, None)
            stack.push_async_callback(hub.aclose)
            return Process(hub, clock)

        yield joined


async def test_counters_of_all_are_added_up_by_their_labels(join):
    here, there = await join(), await join()
    here.metrics.count(CALLS, 2, model="a", outcome="ok")
    there.metrics.count(CALLS, 3, outcome="ok", model="a")
    there.metrics.count(CALLS, 4, outcome="error", model='a "quoted", name')
    await there.sharing.flush()

    together = (await here.sharing.read()).metrics

    assert together.total(CALLS) == 9
    assert together.total(CALLS, outcome="ok") == 5
    assert together.total(CALLS, model='a "quoted", name') == 4
    assert here.metrics.total(CALLS) == 2


async def test_histograms_are_one_over_all_processes_and_labels(join):
    rng, values = random.Random(7), []
    processes = [await join() for _ in range(3)]
    for process in processes:
        for route in ("a", "b"):
            for _ in range(1500):
                values.append(rng.lognormvariate(-3, 1))
                process.metrics.observe(SECONDS, values[-1], route=route)
                process.metrics.observe(TOKENS, 100)
        await process.sharing.flush()

    together = (await processes[0].sharing.read()).metrics

    told, values = together.summary(SECONDS), sorted(values)
    assert (told.count, told.exact) == (9000, False)
    assert told.sum == pytest.approx(sum(values), rel=1e-5)
    for quantile, said in ((0.5, told.p50), (0.95, told.p95), (0.99, told.p99)):
        assert said == pytest.approx(values[int(quantile * 9000)], rel=0.01)
    assert (told.min, told.max) == (
        pytest.approx(values[0], rel=0.01),
        pytest.approx(values[-1], rel=0.01),
    )
    assert together.summary(TOKENS).sum == 900_000
    (shared,) = (one for one in together.series() if one.name == SECONDS)
    bounds = [sum(value <= bound for value in values) for bound in shared.bounds]
    assert [sum(shared.bounds_counts[: at + 1]) for at in range(len(bounds))] == bounds


async def test_what_is_handed_over_again_counts_once(join):
    process = await join()
    for count, breaks in enumerate(["after", "before", "after"], start=1):
        process.metrics.count(CALLS, count)
        process.metrics.observe(SECONDS, 0.25)
        process.line.breaks = [breaks]
        with pytest.raises(StorageUnavailable):
            await process.sharing.flush()

    together = (await process.sharing.read()).metrics

    assert (together.total(CALLS), together.total(SECONDS)) == (6, 3)
    assert together.summary(SECONDS).sum == 0.75


async def test_a_sum_stays_when_its_process_ends_and_has_its_last_numbers(join):
    first, second = await join(), await join()
    keeping = asyncio.ensure_future(first.effects.keep())
    await asyncio.sleep(0)
    first.metrics.count(CALLS, 5)
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping
    second.metrics.count(CALLS)

    assert (await second.sharing.read()).metrics.total(CALLS) == 6


async def test_it_is_handed_over_every_few_seconds_and_nothing_when_nothing_is_new(join, clock):
    process = await join()
    tasks = [asyncio.ensure_future(one) for one in (process.effects.keep(), process.sharing.keep())]

    for rounds, counted in enumerate((3, 0, 0, 4), start=1):
        await turn()
        process.metrics.count(CALLS, counted)
        clock.advance(EVERY)
        await turn()
        clock.advance(WINDOW_SECONDS)
        await flushed(process, rounds)

    assert process.line.batches == [1, 1]
    assert (await process.sharing.read()).metrics.total(CALLS) == 7
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def flushed(process: Process, times: int) -> None:
    ends = time.monotonic() + 30
    while process.own.total("penstock_effect_seconds") < times:
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(0.001)


async def turn() -> None:
    """Let everything that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_came_while_redis_was_away_is_added_when_it_is_back(own_redis, join):
    server = own_redis("--appendonly", "yes")
    process = await join(server)
    process.metrics.count(CALLS)
    await process.sharing.flush()
    server.stop()
    for _ in range(3):
        process.metrics.count(CALLS)
        with pytest.raises(StorageUnavailable):
            await process.sharing.flush()
    with pytest.raises(StorageUnavailable):
        await process.sharing.read()

    server.start()

    assert (await process.sharing.read()).metrics.total(CALLS) == 4


async def test_what_redis_forgot_is_counted_as_lost(join, redis):
    process = await join()
    for _ in range(3):
        process.metrics.count(CALLS)
        await process.sharing.flush()
    redis.empty()
    process.metrics.count(CALLS)

    assert (await process.sharing.read()).metrics.total(CALLS) == 1
    assert process.own.total("penstock_effects_lost_total", effect="metrics") == 3


async def test_a_day_has_sums_of_its_own_that_are_kept_for_two(join, clock, redis):
    process = await join()
    process.metrics.count(CALLS, 5)
    today = await process.sharing.read()
    clock.advance(86_400)
    process.metrics.count(CALLS, 2)

    tomorrow = await process.sharing.read()

    assert [one.metrics.total(CALLS) for one in (today, tomorrow)] == [5, 2]
    assert [one.since for one in (today, tomorrow)] == [TODAY, TODAY + 86_400]
    async with Redis.from_url(redis.url) as client:
        assert KEPT - 60 < await client.ttl(KEY) <= KEPT


async def test_more_than_fits_in_one_batch_goes_in_several(join, monkeypatch):
    monkeypatch.setattr(module, "MOST_NUMBERS", 100)
    process = await join()
    for number in range(450):
        process.metrics.count(CALLS, label=str(number))
    process.line.breaks = ["", "", "after"]
    with pytest.raises(StorageUnavailable):
        await process.sharing.flush()
    process.metrics.count(CALLS, label="0")

    assert (await process.sharing.read()).metrics.total(CALLS) == 451
    assert process.line.batches == [100, 100, 100, 100, 100, 50, 1]


async def test_a_gauge_stays_with_its_process(join):
    process = await join()
    process.metrics.gauge("penstock_waiting_items", 3)

    assert not list((await process.sharing.read()).metrics.series())
