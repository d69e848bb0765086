"""Jobs that may be run only once, when their process stops."""

from __future__ import annotations

import asyncio
import threading

import pytest

from penstock.clock import SystemClock
from penstock.observe.metrics import Metrics
from penstock.tasks.embedded import settle
from penstock.tasks.execution.run import Execution
from tests.tasks.embedded.embedded_jobs import Gate, Idle, add, declare, final, job, until
from tests.tasks.embedded.test_sharing import DEAD, die


def hasty(report):
    """An execution that gives up soon what does not end."""
    return Execution(clock=SystemClock(), metrics=Metrics(), report=report, cancel_grace=0.05)


async def test_a_coroutine_that_had_begun_when_its_process_stopped_is_failed(opened):
    gate = Gate(at_most_once=True)
    engine = await opened(gate.task)
    (job_id,) = await add(engine, job(gate.task))
    await gate.arrival.wait()

    await engine.stop(grace=0)

    record = await final(await opened(gate.task), job_id)
    assert (record.state, record.attempt, record.error.type) == ("failed", 1, "Stopped")
    assert "only once" in record.error.message
    assert gate.came == [0]


async def test_a_function_whose_thread_goes_on_after_the_stop_is_not_started_again(opened):
    begun, release, starts = threading.Event(), threading.Event(), []

    def block() -> None:
        starts.append(1)
        begun.set()
        release.wait(30)

    task = declare(block, at_most_once=True)
    engine = await opened(task, execution=hasty)
    (job_id,) = await add(engine, job(task))
    await asyncio.to_thread(begun.wait, 30)

    await engine.stop(grace=0)

    assert (await final(await opened(task), job_id)).error.type == "Stopped"
    assert starts == [1]
    release.set()


async def test_one_that_had_not_begun_is_run_by_the_next_process(opened):
    gate = Gate(at_most_once=True)
    gate.open.set()
    engine = await opened(gate.task, execution=Idle)
    (job_id,) = await add(engine, job(gate.task))
    await until(engine, job_id, lambda record: record.state == "running")

    await engine.stop(grace=0)

    record = await final(await opened(gate.task), job_id)
    assert (record.state, record.attempt, gate.came) == ("completed", 1, [0])


async def test_one_that_was_asked_to_end_before_the_stop_is_cancelled(opened):
    gate = Gate(at_most_once=True)
    engine = await opened(gate.task, execution=Idle)
    (job_id,) = await add(engine, job(gate.task))
    await engine.cancel(job_id)

    await engine.stop(grace=0)

    assert (await (await opened()).store.get(job_id)).state == "cancelled"


@pytest.mark.parametrize(("once", "state"), [(0, "queued"), (1, "failed")])
async def test_what_a_process_that_leaves_still_holds_is_run_again_unless_only_once(
    opened, path, sql, once, state
):
    engine = await opened()
    left = die(sql, path, once=once)

    settle.return_all(sql, DEAD, now=1, keep=settle.KEEP)

    assert (await engine.store.get(left)).state == state
