from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from penstock.clock import ManualClock
from penstock.observe import effects as module
from penstock.observe.effects import RETRY_SECONDS, WINDOW_SECONDS, EffectQueue, Effects
from penstock.observe.metrics import Metrics


class Sink:
    """Where items go; may be shut, or fail so many times."""

    def __init__(self) -> None:
        self.writes: list[list[int]] = []
        self.begun: asyncio.Queue[int] = asyncio.Queue()  # how much each write has
        self.done: asyncio.Queue[int] = asyncio.Queue()
        self.open = asyncio.Event()
        self.open.set()
        self.failures = 0

    async def write(self, items: list[int]) -> None:
        self.begun.put_nowait(len(items))
        await self.open.wait()
        if self.failures:
            self.failures -= 1
            self.done.put_nowait(0)
            raise OSError("the line is cut")
        self.writes.append(items)
        self.done.put_nowait(len(items))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def effects(clock: ManualClock, metrics: Metrics) -> AsyncIterator[Effects]:
    effects = Effects(clock=clock, metrics=metrics)
    async with kept(effects):
        yield effects


@asynccontextmanager
async def kept(effects: Effects) -> AsyncIterator[None]:
    keeping = asyncio.ensure_future(effects.keep())
    try:
        async with asyncio.timeout(30):
            await turn()
            yield
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


async def turn() -> None:
    """Let everything that can go on do so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def pass_window(clock: ManualClock, seconds: float = WINDOW_SECONDS) -> None:
    await turn()
    clock.advance(seconds)


async def test_what_comes_in_a_window_leaves_together(effects: Effects, clock: ManualClock) -> None:
    """X-02: what all requests of 50 ms left behind is one write."""
    sink = Sink()
    queue = effects.queue("sink", sink.write)

    for item in range(200):
        queue.put(item)
    await turn()
    assert sink.writes == []
    await pass_window(clock)
    await sink.done.get()

    assert sink.writes == [list(range(200))]


async def test_who_puts_does_not_wait_for_a_slow_write(
    effects: Effects, clock: ManualClock
) -> None:
    """X-01: a response that leaves bookkeeping behind ends before the bookkeeping does."""
    sink = Sink()
    sink.open.clear()
    queue = effects.queue("sink", sink.write)
    order: list[str] = []

    async def respond() -> None:
        queue.put(1)
        order.append("response")

    await respond()
    await pass_window(clock)
    await sink.begun.get()
    for _ in range(3):
        await respond()
    order.append("bookkeeping")
    sink.open.set()
    await sink.done.get()

    assert order == ["response"] * 4 + ["bookkeeping"]


async def test_effects_run_side_by_side(effects: Effects, clock: ManualClock) -> None:
    """X-05: statistics and a cache write take as long as the slower one, not as both."""
    first, second = Sink(), Sink()
    first.open.clear()
    second.open.clear()
    queues = [effects.queue("first", first.write), effects.queue("second", second.write)]

    for queue in queues:
        queue.put(1)
    await pass_window(clock)

    # Both have begun before either may end: one after the other, this would wait for ever.
    await first.begun.get()
    await second.begun.get()
    first.open.set()
    second.open.set()
    await first.done.get()
    await second.done.get()


@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_one_that_fails_or_hangs_harms_no_other(
    effects: Effects, clock: ManualClock, fault: str
) -> None:
    """X-06: a cache write that raises loses no statistics, and the reverse."""
    broken, healthy = Sink(), Sink()
    if fault == "hangs":
        broken.open.clear()
    broken.failures = 1000
    bad, good = effects.queue("bad", broken.write), effects.queue("good", healthy.write)

    for round_ in range(5):
        bad.put(round_)
        good.put(round_)
        await pass_window(clock, RETRY_SECONDS)
        await healthy.done.get()

    assert healthy.writes == [[0], [1], [2], [3], [4]]
    broken.open.set()


async def test_what_a_write_could_not_take_is_written_later_in_its_order(
    effects: Effects, clock: ManualClock, metrics: Metrics
) -> None:
    sink = Sink()
    sink.failures = 2
    queue = effects.queue("sink", sink.write)

    queue.put(1)
    await pass_window(clock)
    await sink.done.get()
    queue.put(2)
    await pass_window(clock, RETRY_SECONDS)
    await sink.done.get()
    queue.put(3)
    await pass_window(clock, RETRY_SECONDS)
    await sink.done.get()

    assert sink.writes == [[1, 2, 3]]
    assert metrics.total("penstock_effects_failures_total", effect="sink") == 2
    assert metrics.total("penstock_effects_lost_total", effect="sink") == 0


async def test_after_a_failure_the_next_try_comes_later_than_a_window(
    effects: Effects, clock: ManualClock
) -> None:
    sink = Sink()
    sink.failures = 1
    queue = effects.queue("sink", sink.write)
    queue.put(1)
    await pass_window(clock)
    await sink.done.get()

    await pass_window(clock)
    await turn()
    tried_early = not sink.begun.empty() and sink.begun.qsize() > 1
    await pass_window(clock, RETRY_SECONDS)
    await sink.done.get()

    assert not tried_early
    assert sink.writes == [[1]]


async def test_what_finds_no_room_is_counted(
    effects: Effects, clock: ManualClock, metrics: Metrics
) -> None:
    sink = Sink()
    queue = effects.queue("sink", sink.write, most=3)

    taken = [queue.put(item) for item in range(5)]
    await pass_window(clock)
    await sink.done.get()

    assert taken == [True, True, True, False, False]
    assert metrics.total("penstock_effects_lost_total", effect="sink") == 2


async def test_many_items_leave_in_parts(effects: Effects, clock: ManualClock) -> None:
    sink = Sink()
    queue = effects.queue("sink", sink.write, together=2)

    for item in range(5):
        queue.put(item)
    await pass_window(clock)
    for _ in range(3):
        await sink.done.get()

    assert sink.writes == [[0, 1], [2, 3], [4]]


async def test_every_write_is_timed(effects: Effects, clock: ManualClock, metrics: Metrics) -> None:
    """X-07."""
    sink = Sink()
    sink.open.clear()
    queue = effects.queue("sink", sink.write)
    queue.put(1)
    await pass_window(clock)
    await sink.begun.get()

    clock.advance(0.6)
    sink.open.set()
    await sink.done.get()
    await turn()

    found = metrics.summary("penstock_effect_seconds", effect="sink")
    assert (found.count, round(found.max, 3)) == (1, 0.6)


async def test_the_end_writes_what_is_left(clock: ManualClock, metrics: Metrics) -> None:
    sink = Sink()
    effects = Effects(clock=clock, metrics=metrics)
    queue = effects.queue("sink", sink.write)

    async with kept(effects):
        queue.put(1)

    assert sink.writes == [[1]]


async def test_the_end_waits_for_a_write_that_has_begun(
    clock: ManualClock, metrics: Metrics
) -> None:
    sink = Sink()
    sink.open.clear()
    effects = Effects(clock=clock, metrics=metrics)
    queue = effects.queue("sink", sink.write)
    keeping = asyncio.ensure_future(effects.keep())
    await turn()
    queue.put(1)
    await pass_window(clock)
    await sink.begun.get()

    keeping.cancel()
    await turn()
    queue.put(2)
    sink.open.set()
    with suppress(asyncio.CancelledError):
        await keeping

    assert sink.writes == [[1], [2]]


async def test_the_end_does_not_wait_for_ever_and_counts_what_it_leaves(
    clock: ManualClock, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.01)
    stuck, healthy = Sink(), Sink()
    stuck.open.clear()
    effects = Effects(clock=clock, metrics=metrics)
    queues = [effects.queue("stuck", stuck.write), effects.queue("healthy", healthy.write)]

    async with kept(effects):
        for queue in queues:
            queue.put(1)

    assert healthy.writes == [[1]]
    assert metrics.total("penstock_effects_lost_total", effect="stuck") == 1
    assert metrics.total("penstock_effects_lost_total", effect="healthy") == 0


async def test_a_write_that_takes_too_long_is_given_up_and_tried_again(
    effects: Effects, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.01)
    sink = Sink()
    sink.open.clear()
    queue = effects.queue("sink", sink.write)
    queue.put(1)
    await pass_window(clock)
    await sink.begun.get()
    given_up = await effects.flush()  # waits for the write before it, and hangs in its own

    sink.open.set()
    await pass_window(clock, RETRY_SECONDS)
    await sink.done.get()

    assert given_up is False
    assert sink.writes == [[1]]


async def test_who_flushes_and_is_cancelled_breaks_no_write(
    effects: Effects, clock: ManualClock
) -> None:
    sink = Sink()
    sink.open.clear()
    queue = effects.queue("sink", sink.write)
    queue.put(1)
    flushing = asyncio.ensure_future(effects.flush())
    await sink.begun.get()

    flushing.cancel()
    await turn()
    sink.open.set()
    await sink.done.get()

    assert sink.writes == [[1]]


async def test_flush_says_whether_anything_is_left(clock: ManualClock) -> None:
    effects = Effects(clock=clock)
    sink = Sink()
    queue = effects.queue("sink", sink.write)
    queue.put(1)
    sink.failures = 1

    assert [await effects.flush(), await effects.flush(), await effects.flush()] == [
        False,
        True,
        True,
    ]


async def test_a_part_may_gather_for_itself(effects: Effects, clock: ManualClock) -> None:
    counted, done = {"hits": 0}, asyncio.Event()
    flush: Callable[[], Awaitable[bool]]

    async def flush() -> bool:
        counted["written"] = counted.pop("hits", 0)
        done.set()
        return True

    effect = effects.effect("own", flush, waiting=lambda: counted.get("hits", 0))

    counted["hits"] += 7
    effect.wake()
    await pass_window(clock)
    await done.wait()

    assert counted == {"written": 7}


def test_a_queue_knows_its_length(clock: ManualClock) -> None:
    sink = Sink()
    queue: EffectQueue[int] = Effects(clock=clock).queue("sink", sink.write)

    queue.put(1)
    queue.put(2)

    assert len(queue) == 2
