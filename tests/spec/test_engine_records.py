"""What every task engine tells about jobs, and keeps over the end of a process."""

from __future__ import annotations

import asyncio
import sys

import pytest

from penstock.errors import (
    InvalidInput,
    JobCancelled,
    JobFailed,
    NotFound,
    QueueStopped,
)
from penstock.observe.logging import request_id
from penstock.tasks import (
    JobFilter,
    JobRecord,
    Progress,
    Task,
    ctx,
    declare,
    group,
)
from tests.spec.jobs import PATIENCE, echo, reached

# --- progress, groups, lists ----------------------------------------------------------------------


async def test_a_job_says_how_far_it_is(queue, gate):
    @declare()
    async def work() -> None:
        ctx.progress(3, 10, "reading", failed=1, cached=2)
        gate.begun.set()
        await gate.open.wait()

    job = await queue.enqueue(work)
    await gate.begun.wait()

    seen = [job.progress, (await job.status()).progress]
    gate.open.set()
    await job.result()

    expected = Progress(3, 10, 1, 2, "reading")
    assert seen == [expected, expected]
    assert (await job.status()).progress == expected


async def test_who_watches_sees_every_state_and_the_progress(queue, gate):
    @declare()
    def work() -> None:
        ctx.progress(1, 2)

    await gate.close(queue)
    job = await queue.enqueue(work)
    seen: list[JobRecord] = []
    async for record in job.watch():
        seen.append(record)
        gate.open.set()

    states = [record.state for record in seen]
    assert states[0] == "queued"
    assert states[-1] == "completed"
    assert seen[-1].progress == Progress(1, 2)


async def test_a_group_is_awaited_together(queue):
    mirror = Task(echo.function, name="mirror", source=queue)

    jobs = await group(*(mirror.call(letter) for letter in "abc"))

    assert await jobs.results() == ["a", "b", "c"]
    assert await jobs.progress() == Progress(3, 3)
    assert await queue.store.count(JobFilter(batch_id=jobs.id)) == {"completed": 3}


async def test_a_group_tells_which_of_it_failed(queue):
    @declare(queue, retries=0)
    async def half(number: int) -> int:
        if number % 2:
            raise ValueError("odd")
        return number // 2

    jobs = await group(half.call(2), half.call(3), half.call(4))

    first, second, third = await jobs.outcomes()
    assert (first, third) == (1, 2)
    assert isinstance(second, JobFailed)
    with pytest.raises(JobFailed, match="odd"):
        await jobs.results()


async def test_a_group_with_one_wrong_argument_enqueues_nothing(queue):
    mirror = Task(echo.function, name="mirror", source=queue)

    with pytest.raises(InvalidInput, match="call 1"):
        await group(mirror.call("a"), mirror.call(1))

    assert await queue.store.count(JobFilter()) == {}


async def test_a_group_can_be_cancelled(queue, gate):
    await gate.close(queue)
    mirror = Task(echo.function, name="mirror", source=queue)
    jobs = await group(mirror.call("a"), mirror.call("b"))

    await jobs.cancel()

    assert [type(outcome) for outcome in await jobs.outcomes()] == [JobCancelled, JobCancelled]


async def test_jobs_are_listed_newest_first_and_page_by_page(queue):
    jobs = await queue.enqueue_many(echo, "abcde")
    await asyncio.gather(*(job.result() for job in jobs))

    first = await queue.store.page(JobFilter(), limit=3)
    second = await queue.store.page(JobFilter(), before=first[-1].id, limit=3)

    assert [record.id for record in (*first, *second)] == [job.id for job in reversed(jobs)]


async def test_jobs_are_found_by_what_is_known_of_them(queue):
    named = Task(echo.function, name="named")
    job = await queue.enqueue(
        named, ("a",), options={"owner": "ann", "batch_id": "b1", "queue": "analytics"}
    )
    await (await queue.enqueue(echo, ("b",))).result()
    record = await reached(job, "completed")

    for known in (
        JobFilter(owner="ann"),
        JobFilter(batch_id="b1"),
        JobFilter(queue="analytics"),
        JobFilter(task="named"),
        JobFilter(created_before=record.created_at + 1, owner="ann"),
        JobFilter(created_after=record.created_at - 1, owner="ann", states=("completed",)),
    ):
        assert [found.id for found in await queue.store.page(known)] == [job.id]
        assert await queue.store.count(known) == {"completed": 1}
    assert await queue.store.page(JobFilter(owner="bob")) == []


async def test_a_job_knows_its_owner_and_the_request_it_came_from(queue):
    @declare()
    async def whose() -> tuple[str | None, str | None]:
        return ctx.owner, request_id.get()

    token = request_id.set("req-7")
    job = await queue.enqueue(whose, options={"owner": "ann"})
    request_id.reset(token)

    assert await job.result() == ("ann", "req-7")
    record = await job.status()
    assert (record.owner, record.request_id) == ("ann", "req-7")


# --- the end, and after it ------------------------------------------------------------------------


async def test_results_expire(queue):
    brief = Task(echo.function, name="brief", keep=0.001)
    job, other = await queue.enqueue(brief, ("a",)), await queue.enqueue(echo, ("b",))
    await reached(other, "completed")

    while (await queue.store.get(job.id)) is not None:
        await queue.prune()

    with pytest.raises(NotFound, match="may have expired"):
        await job.status()
    assert await other.result() == "b"


async def test_jobs_that_ended_before_an_instant_can_be_forgotten(queue, gate):
    done = await queue.enqueue(echo, ("a",))
    await done.result()
    live = await gate.close(queue)

    ended = (await done.status()).finished_at

    assert await queue.prune(before=ended - 1) == 0
    assert await queue.prune(before=ended + 1) == 1
    assert [record.id for record in await queue.store.page(JobFilter())] == [live.id]


async def test_a_graceful_stop_lets_jobs_end_and_keeps_the_rest(opened, gate):
    first = await opened(workers=1)
    running = await gate.close(first)
    waiting = await first.enqueue_many(echo, ["a", "b", "c"])

    stopping = asyncio.ensure_future(first.stop(grace=PATIENCE))
    await asyncio.sleep(0)
    gate.open.set()
    await stopping

    second = await opened(echo)
    assert (await second.get(running.id)).state == "completed"
    assert [await second.job(job.id).result() for job in waiting] == ["a", "b", "c"]


async def test_a_job_that_does_not_end_in_time_is_done_by_the_next_process(opened, gate):
    first = await opened(workers=1)
    job = await gate.close(first)

    await first.stop(grace=0.01)

    gate.open.set()
    second = await opened(gate.task)
    assert await second.job(job.id).result() == "through"
    assert (await second.get(job.id)).attempt == 1  # it was no fault of its own


async def test_a_stopped_queue_takes_no_more(queue):
    await queue.stop()

    with pytest.raises(QueueStopped):
        await queue.enqueue(echo, ("a",))
    await queue.stop()


async def test_who_waits_for_a_job_is_told_when_the_queue_stops(queue, gate):
    job = await gate.close(queue)
    waiting = [asyncio.ensure_future(ask) for ask in (job.result(), reached(job, "completed"))]
    await asyncio.sleep(0)

    await queue.stop(grace=0)

    for each in waiting:
        with pytest.raises(QueueStopped):
            await each


async def test_a_delayed_job_outlives_the_process(opened):
    first = await opened(workers=1)
    job = await first.enqueue(echo, ("a",), options={"delay": 0.1})
    await first.stop()

    second = await opened(echo)

    assert await second.job(job.id).result() == "a"


async def test_a_task_that_a_process_does_not_know_waits_for_one_that_does(opened):
    known = Task(echo.function, name="known.elsewhere")
    first = await opened(workers=0)
    job = await first.enqueue(known, ("a",))
    second = await opened(workers=2)
    await (await second.enqueue(echo, ("b",))).result()
    assert (await job.status()).state == "queued"

    await opened(known)

    assert await job.result() == "a"


async def test_a_process_that_only_enqueues_gets_the_result_of_another(opened):
    asking, working = await opened(workers=0), await opened(echo)

    job = await asking.enqueue(echo, ("a",))

    assert await job.result() == "a"
    assert await working.job(job.id).result() == "a"
    assert (await job.status()).worker is None


async def test_a_job_of_another_process_can_be_cancelled(opened, gate):
    asking, _ = await opened(workers=0), await opened(gate.task)
    job = await asking.enqueue(gate.task)
    await gate.begun.wait()

    await job.cancel()

    assert (await reached(job, "cancelled")).state == "cancelled"


VICTIM = """
import asyncio, sys
from penstock.tasks import Task, open_queue

async def work():
    print("begun", flush=True)
    await asyncio.Event().wait()

async def main():
    queue = open_queue(sys.argv[1])
    queue.register([Task(work, name="work"), Task(work, name="once", at_most_once=True)])
    async with queue:
        if sys.argv[1].startswith("celery"):
            from tests.spec.hosted import host
            await host(queue, sys.argv[1], 4)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.slow
async def test_what_a_killed_process_was_doing_is_done_by_another(opened, url):
    async def work() -> int:
        return ctx.attempt

    again, once = Task(work, name="work"), Task(work, name="once", at_most_once=True)
    asking = await opened(workers=0)
    jobs = [await asking.enqueue(task) for task in (again, once)]
    victim = await asyncio.create_subprocess_exec(
        sys.executable, "-c", VICTIM, url, stdout=asyncio.subprocess.PIPE
    )
    assert victim.stdout is not None
    try:
        begun = [await victim.stdout.readline() for _ in jobs]
    finally:
        victim.kill()
        await victim.wait()

    await opened(again, once)

    assert begun == [b"begun\n", b"begun\n"]
    assert await jobs[0].result() == 2
    with pytest.raises(JobFailed, match="Lost"):
        await jobs[1].result()
