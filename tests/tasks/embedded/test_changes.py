"""What users change about jobs: cancel, retry, order, pauses, keys, forgetting."""

from __future__ import annotations

import asyncio

import pytest

from penstock.errors import Conflict, NotFound
from penstock.tasks.context import ctx
from penstock.tasks.job import JobFilter, job_id
from tests.tasks.embedded.embedded_jobs import (
    PATIENCE,
    Gate,
    add,
    at_once,
    declare,
    final,
    finals,
    job,
    until,
)


async def test_a_queued_job_that_is_cancelled_never_runs(opened):
    gate = Gate()
    engine = await opened(gate.task, workers=1)
    first, second, delayed = await add(
        engine, job(gate.task, 1), job(gate.task, 2), job(gate.task, 3, delay=99)
    )

    records = [await engine.cancel(second), await engine.cancel(delayed)]
    gate.open.set()
    await final(engine, first)

    assert [record.state for record in records] == ["cancelled", "cancelled"]
    assert gate.came == [1]


async def test_a_running_coroutine_that_is_cancelled_ends(opened):
    gate = Gate()
    engine = await opened(gate.task)
    (job_id,) = await add(engine, job(gate.task))
    await gate.arrival.wait()

    record = await engine.cancel(job_id)

    assert (record.state, record.cancelling) == ("running", True)
    record = await final(engine, job_id)
    assert (record.state, record.cancelling, record.worker) == ("cancelled", False, None)


async def test_a_job_that_ends_in_failure_while_it_is_cancelled_is_not_tried_again(opened):
    started = asyncio.Event()

    async def stubborn() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError

    task = declare(stubborn, **at_once(3))
    engine = await opened(task)
    (job_id,) = await add(engine, job(task))
    await started.wait()

    await engine.cancel(job_id)

    record = await final(engine, job_id)
    assert (record.state, record.attempt) == ("cancelled", 1)


async def test_a_job_that_has_ended_cannot_be_cancelled_and_the_error_says_how_it_ended(opened):
    async def nothing() -> None: ...

    engine = await opened(declare(nothing))
    (done,) = await add(engine, job(declare(nothing)))
    await final(engine, done)

    with pytest.raises(Conflict, match="it is completed"):
        await engine.cancel(done)


@pytest.mark.parametrize("unknown", [job_id(5), "job_", "batch_1", ""])
async def test_an_unknown_job_is_said_to_be_unknown(opened, unknown):
    engine = await opened()

    with pytest.raises(NotFound):
        await engine.cancel(unknown)
    with pytest.raises(NotFound):
        await engine.retry(unknown)
    with pytest.raises(NotFound):
        await engine.reprioritise(unknown, 0)
    with pytest.raises(NotFound):
        await anext(aiter(engine.store.watch(unknown)))
    assert await engine.store.get(unknown) is None
    assert await engine.store.result(unknown) is None


async def test_a_failed_job_that_is_retried_begins_anew(opened):
    healthy = asyncio.Event()

    async def work() -> str:
        if not healthy.is_set():
            raise ValueError
        return "well"

    task = declare(work, retries=0)
    engine = await opened(task)
    (job_id,) = await add(engine, job(task))
    await final(engine, job_id)
    healthy.set()

    record = await engine.retry(job_id)

    assert (record.state, record.attempt) == ("queued", 0)
    record = await until(engine, job_id, lambda record: record.state == "completed")
    assert (record.result, record.attempt, record.error) == ("well", 1, None)
    with pytest.raises(Conflict, match="is completed"):
        await engine.retry(job_id)


async def test_a_cancelled_job_can_be_retried_even_while_its_old_place_is_remembered(opened):
    gate = Gate()
    engine = await opened(gate.task, workers=1)
    _, second, third = await add(engine, *(job(gate.task, number) for number in range(3)))
    await engine.cancel(second)

    await engine.retry(second)
    gate.open.set()

    await until(engine, second, lambda record: record.state == "completed")
    await final(engine, third)
    assert gate.came == [0, 1, 2]


async def test_a_job_whose_key_is_taken_meanwhile_cannot_be_retried(opened):
    engine = await opened()
    (first,) = await add(engine, job("elsewhere", key="k"))
    await engine.cancel(first)
    await add(engine, job("elsewhere", key="k"))

    with pytest.raises(Conflict, match="another live job has the key"):
        await engine.retry(first)


async def test_a_reprioritised_job_moves_in_the_queue(opened):
    gate = Gate()
    engine = await opened(gate.task, workers=1)
    ids = await add(engine, *(job(gate.task, number) for number in range(4)))

    record = await engine.reprioritise(ids[3], 0)
    await engine.reprioritise(ids[1], 9)
    gate.open.set()
    await finals(engine, ids)

    assert record.priority == 0
    assert gate.came == [0, 3, 2, 1]
    with pytest.raises(Conflict, match="is completed; only a queued job"):
        await engine.reprioritise(ids[0], 1)


async def test_a_paused_queue_starts_nothing_until_it_is_resumed_even_after_a_restart(opened):
    gate = Gate()
    gate.open.set()
    engine = await opened(gate.task)
    await engine.pause("default")
    (job_id,) = await add(engine, job(gate.task))
    (status,) = [queue for queue in await engine.store.queues() if queue.name == "default"]
    await engine.stop(grace=0)
    engine = await opened(gate.task)
    await engine.reprioritise(job_id, 1)
    assert (status.paused, status.queued, gate.came) == (True, {5: 1}, [])

    await engine.resume("default")

    assert (await final(engine, job_id)).state == "completed"


async def test_there_is_one_live_job_for_a_key(opened):
    gate = Gate()
    engine = await opened(gate.task, workers=1)

    first = await engine.add([job(gate.task, 1, key="a"), job(gate.task, 2, key="a")])
    second = await engine.add([job(gate.task, 3, key="a"), job(gate.task, 4, key="b")])
    gate.open.set()
    await finals(engine, [first[0].id, second[1].id])
    third = await engine.add([job(gate.task, 5, key="a")])

    assert [added.existed for added in (*first, *second, *third)] == [
        *(False, True),
        *(True, False),
        *(False,),
    ]
    assert first[0].id == first[1].id == second[0].id != third[0].id
    await final(engine, third[0].id)
    assert gate.came == [1, 4, 5]


async def test_a_job_enqueued_again_while_it_runs_runs_once_more(opened):
    gate = Gate()
    engine = await opened(gate.task)
    (first,) = await engine.add([job(gate.task, key="a")])
    await gate.arrival.wait()

    twice = [await engine.add([job(gate.task, key="a", again=True)]) for _ in range(2)]
    gate.open.set()
    record = await final(engine, first.id)

    assert [added.id for (added,) in twice] == [first.id, first.id]
    assert gate.came == [0, 0]
    assert (record.state, record.attempt) == ("completed", 1)


async def test_a_failed_job_enqueued_again_while_it_ran_runs_once_more(opened):
    gate = Gate()
    results = iter([ValueError(), "well"])

    async def work() -> str:
        await gate.gate()
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    task = declare(work, retries=0)
    engine = await opened(task)
    (added,) = await engine.add([job(task, key="a")])
    await gate.arrival.wait()
    await engine.add([job(task, key="a", again=True)])

    gate.open.set()

    assert (await final(engine, added.id)).result == "well"


async def test_a_cancel_takes_along_what_was_enqueued_before_it_and_nothing_after(opened):
    gate = Gate()
    engine = await opened(gate.task)
    (before,) = await engine.add([job(gate.task, key="a")])
    (after,) = await engine.add([job(gate.task, key="b")])
    while len(gate.came) < 2:
        gate.arrival.clear()
        await gate.arrival.wait()
    await engine.add([job(gate.task, key="a", again=True)])
    await engine.cancel(before.id)

    # In one turn of the loop, so that the second comes before the first has its end.
    cancelled = asyncio.ensure_future(engine.cancel(after.id))
    await asyncio.sleep(0)
    again = engine.add([job(gate.task, key="b", again=True)])
    gate.open.set()
    await asyncio.gather(cancelled, again)

    assert (await final(engine, before.id)).state == "cancelled"
    assert (await final(engine, after.id)).state == "completed"


async def test_a_key_may_be_used_while_its_job_drains_work_that_was_added(opened):
    """The pattern of a conversation: one job per key, which looks again before it ends."""
    messages: list[int] = []
    handled: list[int] = []

    async def drain() -> None:
        while messages:
            handled.append(messages.pop(0))
            await asyncio.sleep(0)

    task = declare(drain)
    engine = await opened(task)

    ids = set()
    for number in range(200):
        messages.append(number)
        (added,) = await engine.add([job(task, key="conversation", again=True)])
        ids.add(added.id)
    await finals(engine, sorted(ids))

    assert handled == list(range(200))


async def test_expired_results_are_forgotten_and_others_stay(opened, clock):
    async def nothing() -> None: ...

    short, long = declare(nothing, name="short", keep=10), declare(nothing, name="long")
    engine = await opened(short, long, clock=clock)
    ids = await add(engine, *(job(short) for _ in range(1200)), job(long))
    await finals(engine, ids)
    assert await engine.prune() == 0

    clock.advance(11)

    assert await engine.prune() == 1200
    assert [record.task for record in await engine.store.page(JobFilter())] == ["long"]


async def test_what_ended_before_an_instant_can_be_forgotten_and_live_jobs_never(opened, clock):
    gate = Gate()
    engine = await opened(gate.task, clock=clock, workers=1)
    running, queued, done = await add(engine, *(job(gate.task, n) for n in range(3)))
    await engine.cancel(done)
    clock.advance(100)

    assert await engine.prune(before=int(clock.now() * 1000)) == 1

    assert await engine.store.get(done) is None
    assert await engine.store.count(JobFilter()) == {"running": 1, "queued": 1}
    gate.open.set()
    await finals(engine, [running, queued])


async def test_records_are_listed_newest_first_and_page_by_page(opened):
    engine = await opened()
    ids = await add(
        engine,
        *(job("a", owner="ann", batch_id="x") for _ in range(5)),
        *(job("b", owner="bob", queue="analytics") for _ in range(3)),
    )
    store = engine.store

    first = await store.page(JobFilter(), limit=3)
    rest = await store.page(JobFilter(), before=first[-1].id, limit=9)

    assert [record.id for record in first + rest] == ids[::-1]
    assert {record.id for record in await store.page(JobFilter(owner="ann"))} == set(ids[:5])
    assert len(await store.page(JobFilter(task="b", states=("queued",)))) == 3
    assert len(await store.page(JobFilter(queue="analytics"))) == 3
    assert len(await store.page(JobFilter(batch_id="x"))) == 5
    assert await store.page(JobFilter(states=("failed", "running"))) == []
    assert await store.count(JobFilter(owner="bob")) == {"queued": 3}
    made = first[0].created_at
    assert await store.page(JobFilter(created_after=made)) == []
    assert len(await store.page(JobFilter(created_before=made + 1))) == 8


async def test_a_watch_shows_every_change_and_ends(opened):
    go = asyncio.Event()

    async def work() -> str:
        ctx.progress(1, 2)
        await go.wait()
        return "done"

    engine = await opened(declare(work))
    (job_id,) = await add(engine, job(declare(work)))

    seen = []
    async with asyncio.timeout(PATIENCE):
        async for record in engine.store.watch(job_id):
            seen.append((record.state, record.progress.done))
            if record.progress.done:
                go.set()

    assert seen[-2:] == [("running", 1), ("completed", 1)]
