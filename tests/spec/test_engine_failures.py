"""What every task engine does with jobs that fail, are cancelled, or come twice."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from penstock.errors import (
    Conflict,
    InvalidInput,
    JobCancelled,
    JobFailed,
    NotFound,
)
from penstock.tasks import (
    JobFilter,
    Retry,
    Task,
    ctx,
    declare,
)
from tests.spec.jobs import echo, reached

# --- failures -------------------------------------------------------------------------------------


async def test_a_job_that_fails_twice_succeeds_at_the_third_attempt(queue):
    attempts: list[int] = []

    @declare(retries=2, backoff=0)
    async def flaky() -> str:
        attempts.append(ctx.attempt)
        if len(attempts) < 3:
            raise OSError(f"attempt {ctx.attempt}")
        return "at last"

    job = await queue.enqueue(flaky)

    assert await job.result() == "at last"
    record = await job.status()
    assert attempts == [1, 2, 3]
    assert (record.attempt, record.state) == (3, "completed")
    assert [(e.type, e.message, e.attempt) for e in record.errors] == [
        ("OSError", "attempt 1", 1),
        ("OSError", "attempt 2", 2),
    ]


async def test_a_job_that_fails_every_time_is_a_dead_letter(queue):
    @declare(retries=1, backoff=0)
    def broken(path: str) -> None:
        raise FileNotFoundError(path)

    job = await queue.enqueue(broken, ("here",))

    with pytest.raises(JobFailed, match="failed after 2 attempts: FileNotFoundError: here") as told:
        await job.result()
    (dead,) = await queue.store.page(JobFilter(states=("failed",)))
    assert (dead.id, dead.attempt, dead.error) == (job.id, 2, told.value.errors[-1])
    assert "broken" in dead.error.traceback


async def test_a_dead_letter_can_be_tried_again(queue):
    mended = False

    @declare(retries=1, backoff=0)
    async def work() -> str:
        if not mended:
            raise ValueError("broken")
        return f"mended at attempt {ctx.attempt}"

    job = await queue.enqueue(work)
    await reached(job, "failed")
    mended = True

    record = await job.retry()

    assert record.state in ("queued", "running", "completed")
    assert await job.result() == "mended at attempt 1"
    with pytest.raises(Conflict, match="completed"):
        await job.retry()


async def test_a_job_remembers_its_last_five_errors(queue):
    @declare(retries=6, backoff=0)
    async def broken() -> None:
        raise ValueError(ctx.attempt)

    record = await reached(await queue.enqueue(broken), "failed")

    assert [error.attempt for error in record.errors] == [3, 4, 5, 6, 7]


async def test_a_function_can_say_when_it_wants_to_be_tried_again(queue):
    @declare(backoff=3600)
    async def throttled() -> int:
        if ctx.attempt == 1:
            raise Retry(after=0.05)
        return ctx.attempt

    job = await queue.enqueue(throttled)

    assert await job.result() == 2
    record = await job.status()
    assert record.started_at >= record.errors[0].at + 50


@pytest.mark.parametrize("error", [ValueError("a bug"), InvalidInput("never right")])
async def test_an_error_that_will_not_pass_is_not_tried_again(queue, error):
    @declare(retries=5, backoff=0, retry_on=(OSError, InvalidInput))
    async def wrong() -> None:
        raise error

    record = await reached(await queue.enqueue(wrong), "failed")

    assert record.attempt == 1


async def test_a_function_that_wants_to_end_the_process_only_fails(queue):
    @declare(retries=0)
    async def leave() -> None:
        sys.exit(3)

    await reached(await queue.enqueue(leave), "failed")

    assert await (await queue.enqueue(echo, ("still here",))).result() == "still here"


# --- cancelling -----------------------------------------------------------------------------------


async def test_a_queued_job_that_is_cancelled_never_runs(queue, gate):
    await gate.close(queue)
    job = await queue.enqueue(echo, ("a",))

    record = await job.cancel()

    assert (record.state, record.started_at) == ("cancelled", None)
    gate.open.set()
    await (await queue.enqueue(echo, ("next",))).result()
    assert (await job.status()).state == "cancelled"
    with pytest.raises(JobCancelled, match="was cancelled"):
        await job.result()


async def test_a_delayed_job_can_be_cancelled(queue):
    job = await queue.enqueue(echo, ("a",), options={"delay": "1h"})

    assert (await job.cancel()).state == "cancelled"


async def test_a_running_coroutine_is_interrupted(queue):
    begun, cleaned = asyncio.Event(), asyncio.Event()

    @declare()
    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    job = await queue.enqueue(work)
    await begun.wait()

    await job.cancel()

    with pytest.raises(JobCancelled):
        await job.result()
    assert cleaned.is_set()


async def test_a_running_plain_function_ends_where_it_checks(queue):
    begun, steps = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @declare()
    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        while True:
            ctx.check()
            steps.wait(0.005)

    job = await queue.enqueue(work)
    await begun.wait()

    await job.cancel()

    assert (await reached(job, "cancelled")).attempt == 1


async def test_a_job_that_has_ended_cannot_be_cancelled(queue):
    job = await queue.enqueue(echo, ("a",))
    await job.result()

    with pytest.raises(Conflict, match="completed"):
        await job.cancel()


@pytest.mark.parametrize("id", ["job_0000000000001", "job_", "nothing", "", "job_zzzzzzzzzzzzz"])
async def test_a_job_that_nobody_knows_is_not_found(queue, id):
    job = queue.job(id)

    for ask in (job.status, job.result, job.cancel, job.retry):
        with pytest.raises(NotFound):
            await ask()
    with pytest.raises(NotFound):
        await job.reprioritise("low")


# --- unique keys ----------------------------------------------------------------------------------


async def test_one_key_has_one_live_job(queue, gate):
    keyed = Task(echo.function, name="keyed", key="{value}")
    await gate.close(queue)
    first = await queue.enqueue(keyed, ("a",))

    second = await queue.enqueue(keyed, ("a",))
    other = await queue.enqueue(keyed, ("b",))

    assert (second.id, second.existed, first.existed) == (first.id, True, False)
    assert other.id != first.id
    gate.open.set()
    await first.result()
    assert (await queue.enqueue(keyed, ("a",))).id != first.id


async def test_tasks_do_not_share_their_keys(queue, gate):
    one, other = (Task(echo.function, name=name, key="{value}") for name in ("one", "other"))
    await gate.close(queue)

    jobs = [await queue.enqueue(task, ("a",)) for task in (one, other, one)]

    assert [job.existed for job in jobs] == [False, False, True]


async def test_a_key_given_twice_in_one_transaction_is_one_job(queue, gate):
    keyed = Task(echo.function, name="keyed", key="{value}")
    await gate.close(queue)

    jobs = await queue.enqueue_many(keyed, ["a", "b", "a"])

    assert jobs[0].id == jobs[2].id != jobs[1].id
    assert [job.existed for job in jobs] == [False, False, True]


async def test_a_job_drains_what_is_added_while_it_runs(queue):
    """A conversation is one job with its id as the key: nothing that is said may be left lying."""
    inbox, done = ["a"], []
    drained, more = asyncio.Event(), asyncio.Event()

    @declare(key="conversation:{id}", again=True)
    async def converse(id: int) -> int:
        while inbox:
            done.append(inbox.pop(0))
        drained.set()
        await more.wait()  # it has looked for the last time; what comes now it will not see
        return len(done)

    job = await queue.enqueue(converse, (7,))
    await drained.wait()
    inbox.append("b")
    again = await queue.enqueue(converse, (7,))
    more.set()

    assert (again.id, again.existed) == (job.id, True)
    assert await job.result() == 2
    assert done == ["a", "b"]


async def test_without_again_it_does_not_run_once_more(queue, gate):
    runs: list[str] = []

    @declare(key="one")
    async def work() -> None:
        runs.append("run")
        gate.begun.set()
        await gate.open.wait()

    job = await queue.enqueue(work)
    await gate.begun.wait()
    await queue.enqueue(work)
    gate.open.set()

    await job.result()
    assert runs == ["run"]
