"""Many items through one worker: order, limits, equal items, failures, time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.batch.operation import Answer
from penstock.batch.progress import Progress
from penstock.batch.runner import Limits, Outcome, Run, run_batch
from penstock.clock import ManualClock
from penstock.errors import InvalidInput, ProviderThrottled, ProviderUnavailable

SOON = 60.0


async def double(item: int) -> Answer[int]:
    await asyncio.sleep(0)
    return Answer(item * 2)


class Gate:
    """A worker whose items wait until they are let go."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.at_once = 0
        self.most = 0
        self.open = asyncio.Event()
        self.changed = asyncio.Condition()

    async def __call__(self, item: int) -> Answer[int]:
        self.begun.append(item)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        async with self.changed:
            self.changed.notify_all()
        try:
            await self.open.wait()
        finally:
            self.at_once -= 1
        return Answer(item)

    async def until(self, fulfilled: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON), self.changed:
            await self.changed.wait_for(fulfilled)


async def test_outcomes_come_in_the_order_of_the_items():
    outcomes = await run_batch(range(50), double, concurrency=7)

    assert [outcome.value for outcome in outcomes] == [item * 2 for item in range(50)]


async def test_no_items_are_no_outcomes():
    assert await run_batch([], double) == []


async def test_never_more_than_the_bound_run_at_once():
    gate = Gate()
    run = asyncio.ensure_future(run_batch(range(20), gate, concurrency=4))
    await gate.until(lambda: len(gate.begun) == 4)

    gate.open.set()
    await run

    assert gate.most == 4


async def test_a_failing_item_fails_alone():
    async def picky(item: int) -> Answer[int]:
        if item == 1:
            raise InvalidInput("is odd", errors=[{"pointer": "/input/0", "detail": "is odd"}])
        return Answer(item)

    outcomes = await run_batch([0, 1, 2], picky)

    assert [outcome.value for outcome in outcomes] == [0, None, 2]
    error = outcomes[1].error
    assert error is not None
    assert (error.code, error.status, error.param) == ("invalid_input", 422, "input")


async def test_a_fault_of_ours_says_nothing_of_itself():
    async def broken(item: int) -> Answer[int]:
        raise ZeroDivisionError("secret")

    (outcome,) = await run_batch([1], broken)

    assert outcome.error is not None
    assert outcome.error.code == "internal"
    assert "secret" not in outcome.error.message


async def test_equal_items_are_computed_once_even_while_the_first_runs():
    gate = Gate()
    run = asyncio.ensure_future(run_batch([7, 7, 8, 7, 8], gate, concurrency=5, key=str))
    await gate.until(lambda: len(gate.begun) == 2)

    gate.open.set()
    outcomes = await run

    assert sorted(gate.begun) == [7, 8]
    assert [outcome.value for outcome in outcomes] == [7, 7, 8, 7, 8]
    assert [outcome.cached for outcome in outcomes] == [False, True, False, True, True]


async def test_items_that_are_known_do_not_run():
    gate = Gate()
    gate.open.set()

    outcomes = await run_batch([1, 2, 3], gate, known={1: Outcome(20)})

    assert gate.begun == [1, 3]
    assert [outcome.value for outcome in outcomes] == [1, 20, 3]


async def test_when_the_time_is_up_what_is_finished_stays():
    async def one_hangs(item: int) -> Answer[int]:
        if item == 1:
            await asyncio.Event().wait()
        return Answer(item)

    outcomes = await run_batch([0, 1, 2], one_hangs, concurrency=2, timeout=1.0)

    assert [outcome.value for outcome in outcomes] == [0, None, 2]
    assert outcomes[1].error is not None
    assert outcomes[1].error.code == "timeout"


async def test_an_item_that_takes_too_long_is_given_up():
    async def one_hangs(item: int) -> Answer[int]:
        if item == 1:
            await asyncio.Event().wait()
        return Answer(item)

    outcomes = await run_batch([0, 1, 2], one_hangs, item_timeout=0.05)

    assert [outcome.error and outcome.error.code for outcome in outcomes] == [None, "timeout", None]


async def drained(worker, items, *, limits: Limits, clock: ManualClock, **more):
    """Run to the end on a clock that is pushed whenever somebody sleeps; outcomes and the run."""
    outcomes: dict[int, Outcome[int]] = {}
    run = Run(
        worker,
        limits=limits,
        on_outcome=outcomes.__setitem__,
        clock=clock,
        draw=lambda most: most,
        **more,
    )

    async def source():
        for number, item in enumerate(items):
            yield number, item

    work = asyncio.ensure_future(run.drain(source()))
    async with asyncio.timeout(SOON):
        while not work.done():
            await asyncio.sleep(0)
            clock.advance(0.5)
    await work
    return outcomes, run


async def test_what_may_pass_is_tried_again_and_what_may_not_is_not():
    calls = {"busy": 0, "wrong": 0}

    async def worker(item: str) -> Answer[str]:
        calls[item] += 1
        if item == "wrong":
            raise InvalidInput
        if calls[item] < 3:
            raise ProviderUnavailable
        return Answer(item)

    outcomes, _ = await drained(worker, list(calls), limits=Limits(), clock=ManualClock())

    assert calls == {"busy": 3, "wrong": 1}
    assert outcomes[0].value == "busy"


async def test_the_provider_s_own_time_is_waited_for():
    clock = ManualClock()
    asked: list[float] = []

    async def worker(item: int) -> Answer[int]:
        asked.append(clock.monotonic())
        if len(asked) == 1:
            raise ProviderThrottled(retry_after=30.0)
        return Answer(item)

    await drained(worker, [1], limits=Limits(), clock=clock)

    assert asked[1] - asked[0] >= 30.0


async def test_a_stopgap_is_asked_for_again_and_stands_when_nothing_better_comes():
    calls = 0

    async def worker(item: int) -> Answer[str]:
        nonlocal calls
        calls += 1
        return Answer("stopgap", again=1.0)

    outcomes, _ = await drained(worker, [1], limits=Limits(retries=2), clock=ManualClock())

    assert calls == 3
    assert outcomes[0] == Outcome("stopgap")


async def test_resistance_makes_a_batch_narrower_and_success_wider_again():
    widths: list[int] = []

    async def worker(item: int) -> Answer[int]:
        widths.append(run_of[0].width if run_of else 8)
        await asyncio.sleep(0)
        if item == 0 and widths.count(8) <= 8:
            raise ProviderThrottled(retry_after=0.0)
        return Answer(item)

    run_of: list[Run] = []
    outcomes: dict[int, Outcome[int]] = {}
    run = Run(
        worker,
        limits=Limits(concurrency=8, retries=0),
        on_outcome=outcomes.__setitem__,
        clock=ManualClock(),
    )
    run_of.append(run)

    async def source():
        for item in range(200):
            yield item, item

    await run.drain(source())

    assert len(outcomes) == 200
    assert min(widths) == 4
    assert run.width == 8


async def test_one_failure_of_an_item_is_no_verdict_on_equal_ones_that_come_later():
    calls = 0

    async def worker(item: int) -> Answer[int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ProviderUnavailable
        return Answer(item)

    limits = Limits(concurrency=1, retries=0)
    outcomes, _ = await drained(worker, [5, 5], limits=limits, clock=ManualClock(), key=str)

    assert outcomes[0].error is not None
    assert outcomes[1].value == 5


async def test_progress_is_told_after_every_item():
    told: list[Progress] = []

    await run_batch([1, 2, 3, 2], double, concurrency=1, key=str, on_progress=told.append)

    assert [(p.done, p.total, p.cached) for p in told] == [
        (1, 4, 0),
        (2, 4, 0),
        (3, 4, 0),
        (4, 4, 1),
    ]
    assert [p.percent for p in told] == [25.0, 50.0, 75.0, 100.0]


async def test_a_run_that_is_cancelled_ends_its_items():
    gate = Gate()
    run = asyncio.ensure_future(run_batch([1, 2, 3], gate, concurrency=2))
    await gate.until(lambda: len(gate.begun) == 2)

    run.cancel()
    await asyncio.wait([run])

    assert run.cancelled()
    assert gate.at_once == 0
