"""Jobs that run where they are enqueued."""

from __future__ import annotations

import asyncio

import pytest

from penstock.tasks import JobFilter, Retry, Task, TaskQueue, ctx, open_queue

PATIENCE = 30.0


async def ended(queue: TaskQueue, job_id: str) -> str:
    return (await asyncio.wait_for(queue.store.ended(job_id), PATIENCE)).state


async def accepted(queue: TaskQueue, count: int) -> None:
    found = 0
    async with asyncio.timeout(PATIENCE):
        while found < count:
            found = sum((await queue.store.count(JobFilter())).values())


@pytest.mark.parametrize("workers", [0, {"analytics": 0}, {"default": 1}])
async def test_jobs_of_every_queue_run_however_many_workers_are_named(workers):
    async def run() -> None:
        pass

    async with open_queue("inline://", workers=workers) as queue:
        jobs = [
            await queue.enqueue(Task(run, name=name, queue=name))
            for name in ("default", "analytics")
        ]

        assert [(await job.status()).state for job in jobs] == ["completed"] * 2


async def test_an_attempt_that_is_due_soon_is_waited_for():
    async def second() -> int:
        if ctx.attempt == 1:
            raise Retry(after=0.01)
        return ctx.attempt

    async with open_queue("inline://") as queue:
        job = await queue.enqueue(Task(second, name="second", retries=1))

        assert (await job.status()).result == 2


async def test_an_attempt_that_is_due_in_a_minute_is_not_waited_for():
    def later() -> None:
        raise Retry(after=60)

    async with open_queue("inline://") as queue:
        job = await queue.enqueue(Task(later, name="later", retries=3))

        record = await job.status()
        assert (record.state, record.attempt) == ("queued", 1)


async def test_a_task_that_enqueues_itself_for_later_is_not_waited_for():
    async def again() -> None:
        await queue.enqueue(task, options={"delay": "1h"})

    task = Task(again, name="again")
    async with open_queue("inline://") as queue:
        job = await queue.enqueue(task)

        assert (await job.status()).state == "completed"
        assert await queue.store.count(JobFilter()) == {"completed": 1, "queued": 1}


@pytest.mark.parametrize("back", [{"delay": "1h"}, {}], ids=["later", "at once"])
async def test_tasks_that_enqueue_each_other_for_later_are_not_waited_for(back):
    runs: list[str] = []

    async def ping() -> None:
        runs.append("ping")
        await queue.enqueue(tasks["pong"], options={"delay": "1h"})

    async def pong() -> None:
        runs.append("pong")
        await queue.enqueue(tasks["ping"], options=back)

    tasks = {"ping": Task(ping, name="ping"), "pong": Task(pong, name="pong")}
    async with open_queue("inline://") as queue:
        job = await asyncio.wait_for(queue.enqueue(tasks["ping"]), PATIENCE)

        assert (await job.status()).state == "completed"
        assert runs == (["ping", "pong"] if back else ["ping", "pong", "ping"])
        assert (await queue.store.count(JobFilter()))["queued"] == 1


async def test_a_delay_is_not_waited_for_however_often_its_task_ran_beside():
    told: list[str] = []

    async def tell(who: str) -> None:
        told.append(who)

    async def item(who: str) -> None:
        await queue.enqueue(telling, (who,), options={"delay": "1h"})

    async def all_items() -> None:
        await queue.enqueue_many(each, ["a", "b"])

    telling, each = Task(tell, name="tell"), Task(item, name="item")
    async with open_queue("inline://") as queue:
        await asyncio.wait_for(queue.enqueue(Task(all_items, name="all")), PATIENCE)

        assert sorted(told) == ["a", "b"]


async def test_nobody_waits_for_the_jobs_of_others():
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go.wait()

    async def quick() -> None:
        pass

    async with open_queue("inline://") as queue:
        other = asyncio.ensure_future(queue.enqueue(Task(slow, name="slow")))
        await begun.wait()
        job = await asyncio.wait_for(queue.enqueue(Task(quick, name="quick")), PATIENCE)

        assert (await job.status()).state == "completed"
        assert not other.done()
        go.set()
        assert (await (await other).status()).state == "completed"


async def test_what_a_paused_queue_holds_is_not_waited_for():
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go.wait()

    task = Task(slow, name="slow")
    async with open_queue("inline://", workers=1) as queue:
        running = asyncio.ensure_future(queue.enqueue(task))
        await begun.wait()
        before = asyncio.ensure_future(queue.enqueue(task))
        await accepted(queue, 2)
        await queue.engine.pause("default")
        jobs = [await asyncio.wait_for(before, PATIENCE), await queue.enqueue(task)]
        states = [(await job.status()).state for job in jobs]
        go.set()
        await running
        await queue.engine.resume("default")

        assert states == ["queued", "queued"]
        assert [await ended(queue, job.id) for job in jobs] == ["completed", "completed"]


async def test_a_job_that_is_retried_by_hand_has_ended_when_the_call_returns():
    async def flaky() -> None:
        if not broken:
            return
        broken.clear()
        raise ValueError("broken")

    broken = {"yes"}
    async with open_queue("inline://", workers=0) as queue:
        job = await queue.enqueue(Task(flaky, name="flaky", retries=0))
        was = (await job.status()).state

        assert (was, (await queue.engine.retry(job.id)).state) == ("failed", "completed")
