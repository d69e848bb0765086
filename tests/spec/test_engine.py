"""What every task engine promises to those who write `@task`, over every one of them."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from penstock.errors import (
    Conflict,
    InvalidInput,
    JobCancelled,
    JobFailed,
    NotFound,
    TooLarge,
)
from penstock.tasks import (
    JobFilter,
    Task,
    ctx,
    declare,
)
from tests.spec.jobs import Point, echo, reached

# --- results --------------------------------------------------------------------------------------


async def test_a_coroutine_function_runs_and_its_result_comes_back(queue):
    @declare()
    async def double(number: int) -> int:
        return 2 * number

    job = await queue.enqueue(double, (21,))

    assert await job.result() == 42
    record = await job.status()
    assert (record.id, record.state, record.result) == (job.id, "completed", 42)
    assert (record.task, record.queue, record.priority) == (double.name, "default", 5)
    assert (record.attempt, record.max_attempts, record.error) == (1, 3, None)
    assert record.created_at <= record.started_at <= record.finished_at


async def test_a_plain_function_runs_in_a_thread(queue):
    @declare()
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    assert await (await queue.enqueue(where)).result() is False


@pytest.mark.slow
async def test_a_process_task_runs_in_another_process(queue):
    task = Task(os.getpid, name="pid", process=True)

    assert await (await queue.enqueue(task)).result() != os.getpid()


async def test_results_and_arguments_keep_their_types(queue):
    @declare()
    async def mirror(point: Point) -> Point:
        return Point(point.y, point.x)

    assert await (await queue.enqueue(mirror, (Point(1, 2),))).result() == Point(2, 1)


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
async def test_an_empty_result_is_a_result(queue, value):
    @declare()
    async def give(value):
        return value

    job = await queue.enqueue(give, (value,))

    assert await job.result() == value
    assert (await job.status()).state == "completed"


async def test_a_result_can_be_asked_for_by_the_id_alone(queue):
    id = (await queue.enqueue(echo, ("a",))).id

    assert await queue.job(id).result() == "a"
    assert await queue.job(id).result() == "a"


async def test_many_are_enqueued_in_order(opened, monkeypatch):
    monkeypatch.setattr("penstock.tasks.queue.CHUNK", 100)
    queue = await opened(echo, workers=8)

    jobs = await queue.enqueue_many(echo, [str(n) for n in range(250)])

    assert len({job.id for job in jobs}) == 250
    assert [await job.result() for job in jobs] == [str(n) for n in range(250)]


async def test_who_waits_too_long_is_told_and_the_job_goes_on(queue, gate):
    job = await gate.close(queue)

    with pytest.raises(TimeoutError, match=f"{job.id} has not ended within 0.01 s; it goes on"):
        await job.result(timeout=0.01)

    gate.open.set()
    assert await job.result() == "through"


async def test_a_job_enqueues_others(opened):
    @declare()
    async def total(number: int) -> int:
        if number == 0:
            return 0
        return number + await (await total.enqueue(number - 1)).result()

    await opened(total, workers=8)

    assert await (await total.enqueue(4)).result() == 10


async def test_a_plain_function_in_a_thread_enqueues_and_waits(opened):
    queue = await opened(echo)

    def plain() -> str:
        return queue.run(queue.enqueue(echo, ("a",))).result_sync()

    assert await asyncio.to_thread(plain) == "a"


async def test_no_more_run_at_once_than_there_are_workers(opened):
    running, most = 0, 0
    full = asyncio.Event()

    @declare()
    async def work() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await full.wait()
        await asyncio.sleep(0.05)  # long beside the way of a job to its worker
        running -= 1

    queue = await opened(workers={"default": 3})
    jobs = await queue.enqueue_many(work, [()] * 30)

    await asyncio.gather(*(job.result() for job in jobs))
    assert most == 3


# --- arguments ------------------------------------------------------------------------------------


async def test_bad_arguments_are_refused_at_enqueue(queue):
    """P-101"""
    with pytest.raises(InvalidInput, match="value: Expected `str`, got `int`"):
        await queue.enqueue(echo, (1,))
    with pytest.raises(InvalidInput) as raised:
        await queue.enqueue_many(echo, ["a", "b", 3])

    assert raised.value.fields["errors"][0]["pointer"] == "/2/arguments/value"
    assert await queue.store.count(JobFilter()) == {}


async def test_huge_arguments_are_refused(queue):
    with pytest.raises(TooLarge):
        await queue.enqueue(echo, ("x" * (1 << 20),))

    assert await queue.store.count(JobFilter()) == {}


async def test_large_arguments_and_results_arrive(queue):
    text = "ä" * 400_000

    assert await (await queue.enqueue(echo, (text,))).result() == text


async def test_a_result_that_cannot_be_kept_fails_the_job_for_good(queue):
    @declare(retries=5)
    async def strange() -> object:
        return object()

    job = await queue.enqueue(strange)

    with pytest.raises(JobFailed, match="cannot be written as JSON"):
        await job.result()
    assert (await job.status()).attempt == 1


# --- order ----------------------------------------------------------------------------------------


async def test_urgent_jobs_run_first_and_equals_in_the_order_they_came(queue, gate):
    """C-11: 0 is first. Arguments that cannot be compared must not matter among equals."""
    order: list[tuple[int, int]] = []

    @declare()
    async def note(priority: int, number: dict[str, int]) -> None:
        order.append((priority, number["n"]))

    await gate.close(queue)
    given = [(9, 0), (5, 1), (0, 2), (5, 3), (7, 4), (0, 5), (2, 6), (9, 7), (5, 8)]
    jobs = [
        await queue.enqueue(note, (level, {"n": n}), options={"priority": level})
        for level, n in given
    ]
    gate.open.set()

    await asyncio.gather(*(job.result() for job in jobs))
    assert order == sorted(given)


@pytest.mark.parametrize(
    ("word", "number"), [("urgent", 0), ("high", 2), ("normal", 5), ("low", 7), ("bulk", 9)]
)
async def test_priorities_have_names(queue, word, number):
    job = await queue.enqueue(echo, ("a",), options={"priority": word})

    assert (await job.status()).priority == number


async def test_a_queued_job_can_be_moved_to_the_front(queue, gate):
    order: list[str] = []

    @declare()
    async def note(name: str) -> None:
        order.append(name)

    await gate.close(queue)
    jobs = await queue.enqueue_many(note, ["a", "b", "c"])

    moved = await jobs[2].reprioritise("urgent")
    gate.open.set()

    await asyncio.gather(*(job.result() for job in jobs))
    assert (moved.priority, moved.state) == (0, "queued")
    assert order == ["c", "a", "b"]


async def test_a_job_that_is_not_queued_cannot_be_moved(queue, gate):
    job = await gate.close(queue)

    with pytest.raises(Conflict, match="running"):
        await job.reprioritise(0)


async def test_a_long_line_in_one_queue_does_not_hold_another_up(opened, gate):
    queue = await opened(workers=1)
    await gate.close(queue)

    job = await queue.enqueue(echo, ("a",), options={"queue": "notifications"})

    assert await job.result() == "a"
    assert (await job.status()).queue == "notifications"


# --- time -----------------------------------------------------------------------------------------


async def test_a_delayed_job_waits_and_holds_nobody_up(queue):
    job = await queue.enqueue(echo, ("later",), options={"delay": 0.15})
    waiting = await job.status()

    assert await (await queue.enqueue(echo, ("now",))).result() == "now"
    assert waiting.state == "queued"
    assert waiting.run_at - waiting.created_at >= 150
    assert await job.result() == "later"
    record = await job.status()
    assert record.started_at >= record.run_at


async def test_a_job_behind_its_time_is_never_started(queue, gate):
    await gate.close(queue)
    job = await queue.enqueue(echo, ("a",), options={"expires": 0.02})

    record = await reached(job, "expired")

    assert record.started_at is None
    with pytest.raises(JobCancelled, match="was expired"):
        await job.result()


async def test_a_job_that_takes_too_long_fails(queue):
    @declare(timeout=0.03, retries=0)
    async def forever() -> None:
        await asyncio.Event().wait()

    job = await queue.enqueue(forever)

    with pytest.raises(JobFailed) as raised:
        await job.result()
    assert raised.value.errors[-1].type == "Timeout"


async def test_a_scheduled_task_runs_by_itself_and_can_be_held(opened):
    ticks: asyncio.Queue[str | None] = asyncio.Queue()

    @declare(schedule="every 200ms")
    async def tick() -> None:
        ticks.put_nowait(ctx.job_id)

    queue = await opened(tick)

    first, second = await ticks.get(), await ticks.get()
    held = await queue.pause_schedule(tick.name, paused=True)
    assert first != second
    assert (held.task, held.when, held.paused) == (tick.name, "every 200ms", True)
    assert [status.name for status in await queue.store.schedules()] == [tick.name]


async def test_a_schedule_can_be_run_now(opened):
    @declare(schedule="@yearly")
    async def report() -> str:
        return "done"

    queue = await opened(report)

    assert await (await queue.fire(report.name)).result() == "done"
    with pytest.raises(NotFound):
        await queue.fire("nothing")


# --- queues ---------------------------------------------------------------------------------------


async def test_a_paused_queue_starts_nothing_until_it_goes_on(queue):
    await queue.pause("analytics")
    job = await queue.enqueue(echo, ("a",), options={"queue": "analytics"})
    await (await queue.enqueue(echo, ("b",))).result()

    state = (await job.status()).state
    status = {queue.name: queue for queue in await queue.store.queues()}
    await queue.resume("analytics")

    assert state == "queued"
    assert (status["analytics"].paused, status["analytics"].queued) == (True, {5: 1})
    assert status["default"].paused is False
    assert await job.result() == "a"


async def test_a_pause_outlives_the_process(opened):
    first = await opened(workers=1)
    await first.pause("default")
    job = await first.enqueue(echo, ("a",))
    await first.stop()

    second = await opened(echo)
    await (await second.enqueue(echo, ("b",), options={"queue": "maintenance"})).result()

    assert (await second.get(job.id)).state == "queued"
    await second.resume("default")
    assert await second.job(job.id).result() == "a"


async def test_a_rate_bounds_the_starts_and_holds_nobody_else_up(queue):
    slow = Task(echo.function, name="slow", rate="2/h")
    jobs = await queue.enqueue_many(slow, ["a", "b", "c"])

    assert [await job.result() for job in jobs[:2]] == ["a", "b"]
    assert await (await queue.enqueue(echo, ("d",))).result() == "d"
    assert (await jobs[2].status()).state == "queued"
