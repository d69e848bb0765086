"""From an accepted job to its result."""

from __future__ import annotations

import asyncio

import pytest

from penstock.clock import ManualClock
from penstock.errors import QueueStopped
from penstock.tasks.job import JobFilter
from tests.tasks.embedded.embedded_jobs import (
    Gate,
    add,
    at_once,
    declare,
    final,
    finals,
    job,
    until,
)


async def double(number: int) -> int:
    return number * 2


DOUBLE = declare(double)


async def test_a_job_runs_and_its_result_is_kept(opened):
    engine = await opened(DOUBLE)

    (job_id,) = await add(engine, job(DOUBLE, 21, owner="ann", batch_id="b", request_id="r"))

    record = await final(engine, job_id)
    assert (record.state, record.result, record.attempt) == ("completed", 42, 1)
    assert (record.owner, record.batch_id, record.request_id) == ("ann", "b", "r")
    assert record.created_at <= record.started_at <= record.finished_at
    assert await engine.store.result(job_id) == b"42"


async def test_every_one_of_many_jobs_runs_once(opened):
    ran: list[int] = []

    async def note(number: int) -> None:
        ran.append(number)

    engine = await opened(declare(note), workers=16)

    ids = await add(engine, *(job(declare(note), number) for number in range(1500)))
    await finals(engine, ids)

    assert sorted(ran) == list(range(1500))
    assert await engine.store.count(JobFilter()) == {"completed": 1500}


async def test_equal_jobs_start_in_the_order_in_which_they_were_accepted(opened):
    gate = Gate()
    gate.open.set()
    engine = await opened(gate.task, workers=1)

    ids = [(await add(engine, job(gate.task, number)))[0] for number in range(30)]
    await finals(engine, ids)

    assert gate.came == list(range(30))
    assert ids == sorted(ids)


async def test_an_urgent_job_overtakes_those_that_wait(opened):
    gate = Gate()
    engine = await opened(gate.task, workers=1)
    await add(engine, job(gate.task, 0))
    ids = await add(
        engine,
        *(job(gate.task, 1, priority="bulk") for _ in range(3)),
        job(gate.task, 2, priority="urgent"),
        job(gate.task, 3),
    )

    gate.open.set()
    await finals(engine, ids)

    assert gate.came == [0, 2, 3, 1, 1, 1]


async def test_no_more_jobs_of_a_queue_run_at_once_than_it_has_workers(opened):
    gate = Gate()
    other = Gate(name="other", queue="analytics")
    engine = await opened(gate.task, other.task, workers={"default": 2, "analytics": 1})

    ids = await add(engine, *(job(gate.task, n) for n in range(5)), job(other.task, 9))
    await asyncio.wait_for(other.arrival.wait(), 60)
    queues = {queue.name: queue for queue in await engine.store.queues()}

    assert gate.came == [0, 1]
    assert (queues["default"].running, queues["default"].queued) == (2, {5: 3})
    assert queues["default"].workers == 2
    assert queues["notifications"].workers == 0
    gate.open.set()
    other.open.set()
    await finals(engine, ids)


async def test_jobs_of_a_queue_without_workers_here_are_left_alone(opened):
    engine = await opened(DOUBLE, workers={"analytics": 1})

    (left,) = await add(engine, job(DOUBLE, 1))
    (taken,) = await add(engine, job(DOUBLE, 1, queue="analytics"))

    assert (await final(engine, taken)).state == "completed"
    assert (await engine.store.get(left)).state == "queued"


async def test_a_job_of_a_task_that_is_declared_elsewhere_waits_for_it(opened):
    engine = await opened(DOUBLE)
    (foreign,) = await add(engine, job("elsewhere"))
    (own,) = await add(engine, job(DOUBLE, 1))
    await final(engine, own)
    assert (await engine.store.get(foreign)).state == "queued"

    async def elsewhere() -> str:
        return "here"

    await engine.start({"elsewhere": declare(elsewhere)})

    assert (await final(engine, foreign)).result == "here"


async def test_large_arguments_come_through_from_memory_and_from_disk(opened):
    async def size(text: str) -> int:
        return len(text)

    task = declare(size)
    engine = await opened()
    ids = await add(engine, job(task, "x" * 300_000), job(task, "é"))

    await engine.start({"size": task})
    ids += await add(engine, job(task, "y" * 200_000))

    assert [record.result for record in await finals(engine, ids)] == [300_000, 1, 200_000]


async def test_large_arguments_of_a_job_that_waits_are_left_on_disk(opened):
    gate = Gate()

    async def size(text: str) -> int:
        return len(text)

    engine = await opened(gate.task, declare(size), workers=1)
    await add(engine, job(gate.task))
    (job_id,) = await add(engine, job(declare(size), "x" * 500_000))

    (waiting,) = engine._core.dispatcher.lanes["default"].waiting.values()
    gate.open.set()

    assert waiting.arguments == b""
    assert (await final(engine, job_id)).result == 500_000


async def test_text_of_any_kind_is_kept_as_it_is(opened):
    async def echo(text: str) -> str:
        return text

    engine = await opened(declare(echo))
    text = 'quote " backslash \\ nul \x00 line \n emoji 🎈 العربية'

    (job_id,) = await add(engine, job(declare(echo), text))

    assert (await final(engine, job_id)).result == text


async def test_a_failing_job_is_tried_again_then_failed_with_its_errors(opened):
    async def fail() -> None:
        raise ValueError("no luck")

    task = declare(fail, **at_once(3))
    engine = await opened(task)

    (job_id,) = await add(engine, job(task))

    record = await final(engine, job_id)
    assert (record.state, record.attempt) == ("failed", 3)
    assert [(error.type, error.attempt) for error in record.errors] == [
        ("ValueError", 1),
        ("ValueError", 2),
        ("ValueError", 3),
    ]
    assert record.error == record.errors[-1]


async def test_only_the_last_five_errors_are_kept(opened):
    async def fail() -> None:
        raise ValueError

    task = declare(fail, **at_once(8))
    engine = await opened(task)

    (job_id,) = await add(engine, job(task))

    assert [error.attempt for error in (await final(engine, job_id)).errors] == [4, 5, 6, 7, 8]


async def test_a_retry_waits_for_its_time(opened, clock: ManualClock):
    tries: list[int] = []

    async def flaky() -> int:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        return len(tries)

    task = declare(flaky, backoff=(100, 100))
    engine = await opened(task, clock=clock)
    (job_id,) = await add(engine, job(task))
    await until(engine, job_id, lambda record: record.state == "queued" and bool(record.errors))

    clock.advance(101)

    assert (await final(engine, job_id)).result == 2


async def test_a_delayed_job_starts_when_its_time_has_come(opened, clock: ManualClock):
    engine = await opened(DOUBLE, clock=clock)
    later, at = await add(
        engine,
        job(DOUBLE, 1, delay=60),
        job(DOUBLE, 2, run_at=int((clock.now() + 30) * 1000)),
    )
    (queue,) = [queue for queue in await engine.store.queues() if queue.name == "default"]
    assert queue.delayed == 2
    assert (await engine.store.get(later)).state == "queued"

    clock.advance(31)
    assert (await final(engine, at)).result == 4
    assert (await engine.store.get(later)).state == "queued"
    clock.advance(30)

    assert (await final(engine, later)).result == 2


async def test_a_time_that_has_passed_is_now(opened):
    engine = await opened(DOUBLE)

    (job_id,) = await add(engine, job(DOUBLE, 1, run_at=5))

    assert (await final(engine, job_id)).state == "completed"


async def test_a_job_that_could_not_start_in_time_expires(opened, clock: ManualClock):
    gate = Gate()
    engine = await opened(gate.task, clock=clock, workers=1)
    first, late, delayed = await add(
        engine,
        job(gate.task, 1),
        job(gate.task, 2, expires=5),
        job(gate.task, 3, delay=9, expires=5),
    )
    await asyncio.wait_for(gate.arrival.wait(), 60)

    clock.advance(6)
    records = await finals(engine, [late, delayed])
    gate.open.set()

    assert [record.state for record in records] == ["expired", "expired"]
    assert (await final(engine, first)).state == "completed"
    assert gate.came == [1]


async def test_a_job_is_not_started_after_its_time_even_if_nobody_looked_before(opened, clock):
    gate = Gate()
    engine = await opened(gate.task, clock=clock, workers=1)
    engine._core.due = lambda _: None
    first, late = await add(engine, job(gate.task, 1), job(gate.task, 2, expires=5))
    await asyncio.wait_for(gate.arrival.wait(), 60)

    clock.advance(6)
    gate.open.set()

    assert (await final(engine, late)).state == "expired"
    assert (await final(engine, first)).state == "completed"
    assert gate.came == [1]


async def test_a_rate_bounds_the_starts_and_holds_up_nobody_else(opened, clock: ManualClock):
    ran: list[int] = []

    async def limited(number: int) -> None:
        ran.append(number)

    task = declare(limited, rate="2/m")
    engine = await opened(task, DOUBLE, clock=clock, workers=1)

    ids = await add(engine, *(job(task, number, priority="urgent") for number in range(4)))
    (other,) = await add(engine, job(DOUBLE, 1, priority="bulk"))
    await final(engine, other)
    assert ran == [0, 1]
    clock.advance(61)
    await finals(engine, ids[:3])
    clock.advance(61)
    await finals(engine, ids)

    assert ran == [0, 1, 2, 3]


async def test_more_throttled_jobs_than_memory_keeps_do_not_block_others(opened, clock):
    async def limited() -> None: ...

    task = declare(limited, rate="1/h")
    engine = await opened(task, DOUBLE, clock=clock, workers=1, bound=150)

    await add(engine, *(job(task, priority="urgent") for _ in range(400)))
    (other,) = await add(engine, job(DOUBLE, 1))

    assert (await final(engine, other)).state == "completed"


async def test_progress_is_seen_at_once_and_kept(opened):
    from penstock.tasks.context import ctx

    going = asyncio.Event()
    end = asyncio.Event()

    async def work() -> None:
        ctx.progress(3, 10, note="third")
        going.set()
        await end.wait()

    engine = await opened(declare(work))
    (job_id,) = await add(engine, job(declare(work)))
    await going.wait()

    seen = engine.store.progress(job_id)
    listed = (await engine.store.page(JobFilter()))[0].progress
    end.set()
    record = await final(engine, job_id)

    assert (seen.done, seen.total, seen.note) == (3, 10, "third")
    assert listed == record.progress == seen


async def test_a_stop_returns_what_did_not_end_without_an_attempt(opened):
    gate = Gate()
    engine = await opened(gate.task, workers=2)
    ids = await add(engine, *(job(gate.task, number) for number in range(4)))
    await asyncio.wait_for(gate.arrival.wait(), 60)

    await engine.stop(grace=0)

    looker = await opened()
    records = [await looker.store.get(job_id) for job_id in ids]
    assert [(record.state, record.attempt) for record in records] == [("queued", 0)] * 4
    assert await looker.store.workers() == []
    with pytest.raises(QueueStopped):
        await engine.add([job(gate.task)])
    with pytest.raises(QueueStopped):
        await engine.cancel(ids[0])


async def test_a_stop_waits_for_what_ends_in_time(opened):
    gate = Gate()
    engine = await opened(gate.task)
    (job_id,) = await add(engine, job(gate.task, 7))
    await asyncio.wait_for(gate.arrival.wait(), 60)

    stopping = asyncio.ensure_future(engine.stop(grace=10))
    gate.open.set()
    await stopping

    looker = await opened()
    assert (await looker.store.get(job_id)).result == 7


async def test_other_loops_may_use_an_engine(opened):
    engine = await opened(DOUBLE)

    def elsewhere() -> str:
        return asyncio.run(add(engine, job(DOUBLE, 4)))[0]

    job_id = await asyncio.to_thread(elsewhere)

    assert (await final(engine, job_id)).result == 8


async def test_an_engine_that_was_not_started_accepts_jobs_on_one_loop_after_another(opened):
    engine = await opened()

    for _ in range(2):
        await asyncio.to_thread(lambda: asyncio.run(add(engine, job(DOUBLE, 1))))

    assert await engine.store.count(JobFilter()) == {"queued": 2}


async def test_the_file_and_its_folder_are_left_clean(opened, path):
    engine = await opened(DOUBLE)

    await engine.stop(grace=1)

    assert [entry.name for entry in path.parent.iterdir()] == ["tasks.db"]
