"""`expires` is about the start: what has begun is not ended by it."""

from __future__ import annotations

from penstock.tasks.retry import Retry
from tests.tasks.embedded.embedded_jobs import Gate, Idle, add, declare, final, job, until


async def test_a_job_that_waits_to_be_tried_again_does_not_expire(opened, clock):
    attempts: list[int] = []

    async def slow() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise Retry(after=60)
        return "done"

    engine = await opened(declare(slow), clock=clock)
    (job_id,) = await add(engine, job(declare(slow), expires=5))
    await until(engine, job_id, lambda record: bool(record.errors))

    clock.advance(30)
    clock.advance(31)

    assert (await final(engine, job_id)).result == "done"


async def test_a_job_enqueued_again_while_it_ran_runs_once_more_although_it_was_tried_again(
    opened, clock
):
    gate = Gate()
    attempts: list[int] = []

    async def drain() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            await gate.gate()
            raise Retry(after=60)
        return len(attempts)

    engine = await opened(declare(drain), clock=clock)
    work = job(declare(drain), key="k", again=True, expires=5)
    (job_id,) = await add(engine, work)
    await gate.arrival.wait()
    await add(engine, work)
    gate.open.set()
    await until(engine, job_id, lambda record: bool(record.errors))

    clock.advance(61)

    assert (await final(engine, job_id)).result == 3


async def test_a_job_that_had_begun_when_its_process_stopped_does_not_expire(opened, clock):
    gate = Gate()
    engine = await opened(gate.task, clock=clock)
    (job_id,) = await add(engine, job(gate.task, expires=5))
    await gate.arrival.wait()
    await engine.stop(grace=0)
    gate.open.set()

    clock.advance(6)

    assert (await final(await opened(gate.task, clock=clock), job_id)).state == "completed"


async def test_a_job_that_was_given_back_before_it_began_expires(opened, clock):
    gate = Gate()
    engine = await opened(gate.task, clock=clock, execution=Idle)
    (job_id,) = await add(engine, job(gate.task, expires=5))
    await engine.stop(grace=0)

    clock.advance(6)

    assert (await final(await opened(gate.task, clock=clock), job_id)).state == "expired"


async def test_one_for_which_somebody_came_meanwhile_does_not(opened, clock):
    gate = Gate()
    gate.open.set()
    engine = await opened(gate.task, clock=clock, execution=Idle)
    work = job(gate.task, key="k", again=True, expires=5)
    (job_id,) = await add(engine, work)
    await add(engine, work)
    await engine.stop(grace=0)

    clock.advance(6)

    assert (await final(await opened(gate.task, clock=clock), job_id)).state == "completed"
