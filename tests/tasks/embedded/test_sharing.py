"""Several engines on one file."""

from __future__ import annotations

import asyncio
import os

from penstock.tasks.context import ctx
from penstock.tasks.embedded.liveness import lock_path
from penstock.tasks.job import JobFilter
from tests.tasks.embedded.embedded_jobs import (
    PATIENCE,
    Gate,
    add,
    declare,
    final,
    finals,
    job,
    until,
)

DEAD = 77


def die(sql, path, *, task: str = "work", attempt: int = 1, **columns) -> str:
    """A job that ran in a process which died."""
    from penstock.tasks.job import job_id

    sql.execute(
        "INSERT OR IGNORE INTO worker (id, pid, host, started_at, runs) VALUES (?, 1, '', 0, 1)",
        (DEAD,),
    )
    lock_path(path, DEAD).touch()
    number = 4096 + sql.execute("SELECT count(*) FROM job").fetchone()[0]
    row = {
        "id": number,
        "task": task,
        "queue": "default",
        "priority": 5,
        "state": 1,
        "attempt": attempt,
        "max_attempts": 3,
        "run_at": 1,
        "created_at": 1,
        "worker": DEAD,
        "arguments": "{}",
        **columns,
    }
    marks = ", ".join("?" * len(row))
    sql.execute(f"INSERT INTO job ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    return job_id(number)


async def test_two_engines_share_the_jobs_and_run_each_once(opened):
    ran: list[tuple[str, int]] = []
    both = asyncio.Event()

    def note(name: str):
        async def note(number: int) -> None:
            ran.append((name, number))
            if {name for name, _ in ran} == {"first", "second"}:
                both.set()
            await both.wait()

        return declare(note)

    first, _ = [await opened(note(name), workers=8) for name in ("first", "second")]

    ids = []
    for start in range(0, 1000, 100):
        ids += await add(first, *(job(note(""), start + number) for number in range(100)))
    await finals(first, ids)

    assert sorted(number for _, number in ran) == list(range(1000))
    assert len({status.id for status in await first.store.workers()}) == 2


async def test_a_job_added_where_nobody_runs_it_is_started_elsewhere_at_once(opened):
    async def work() -> str:
        return "done"

    task = declare(work)
    await opened(task)
    adder = await opened()

    (job_id,) = await add(adder, job(task))

    assert (await final(adder, job_id)).state == "completed"


async def test_a_delayed_job_that_another_process_added_starts_in_time(opened, clock):
    async def work() -> None: ...

    task = declare(work)
    runner = await opened(task, clock=clock)
    adder = await opened(clock=clock)
    (job_id,) = await add(adder, job(task, delay=30))
    (marker,) = await add(adder, job(task))
    await final(runner, marker)  # by now it has looked at the file

    clock.advance(31)

    assert (await final(runner, job_id)).state == "completed"


async def test_a_cancel_reaches_the_process_that_runs_the_job(opened):
    gate = Gate()
    engine = await opened(gate.task)
    other = await opened()
    (job_id,) = await add(engine, job(gate.task))
    await gate.arrival.wait()

    record = await other.cancel(job_id)

    assert record.cancelling
    assert (await final(other, job_id)).state == "cancelled"


async def test_a_job_of_another_process_can_be_watched(opened):
    gate = Gate()
    engine = await opened(gate.task)
    other = await opened()
    (job_id,) = await add(engine, job(gate.task, 5))
    await until(other, job_id, lambda record: record.state == "running")

    gate.open.set()

    assert (await final(other, job_id)).result == 5


async def test_progress_is_seen_from_another_process(opened):
    go = asyncio.Event()

    async def work() -> None:
        ctx.progress(3, 10)
        ctx.progress(4, 10)
        await go.wait()

    engine = await opened(declare(work))
    other = await opened()
    (job_id,) = await add(engine, job("work"))

    record = await until(other, job_id, lambda record: bool(record.progress.done))
    go.set()

    assert (record.progress.done, record.state) == (4, "running")
    assert other.store.progress(job_id).done == 4
    assert (await final(other, job_id)).progress.total == 10


async def test_a_pause_holds_in_every_process(opened):
    async def work() -> None: ...

    engine = await opened(declare(work))
    other = await opened()

    await other.pause("default")

    async with asyncio.timeout(PATIENCE):
        state = ""
        while state != "queued":  # it hears of it soon
            held, marker = await add(engine, job("work"), job("work", queue="analytics"))
            await final(engine, marker)
            state = (await engine.store.get(held)).state
    await other.resume("default")
    assert (await final(engine, held)).state == "completed"


async def test_an_engine_without_workers_only_adds_and_looks(opened):
    gate = Gate()
    engine = await opened(gate.task, workers=0)

    (job_id,) = await add(engine, job(gate.task))

    assert (await engine.store.get(job_id)).state == "queued"
    assert await engine.store.workers() == []


async def test_the_jobs_of_a_dead_process_are_run_again_at_the_start_of_another(opened, path, sql):
    async def work() -> str:
        return "rescued"

    await opened()
    lost = die(sql, path)

    engine = await opened(declare(work))

    record = await final(engine, lost)
    assert (record.result, record.attempt, record.errors[0].type) == ("rescued", 2, "Lost")
    assert not lock_path(path, DEAD).exists()
    assert sql.execute("SELECT count(*) FROM worker WHERE id = ?", (DEAD,)).fetchone() == (0,)


async def test_a_process_that_dies_later_is_noticed_within_two_seconds(opened, path, sql, clock):
    async def work() -> str:
        return "rescued"

    engine = await opened(declare(work), clock=clock)
    lost = die(sql, path)

    while await engine.store.count(JobFilter(states=("running",))):
        clock.advance(1)

    assert (await final(engine, lost)).result == "rescued"


async def test_a_job_that_kills_its_process_each_time_is_failed(opened, path, sql):
    async def work() -> None: ...

    await opened()
    lost = die(sql, path, attempt=3)

    engine = await opened(declare(work))

    record = await final(engine, lost)
    assert (record.state, record.error.type) == ("failed", "Lost")


async def test_a_job_that_may_run_only_once_is_not_run_again(opened, path, sql):
    async def work() -> None: ...

    await opened()
    lost = die(sql, path, once=1)

    engine = await opened(declare(work, at_most_once=True))

    record = await final(engine, lost)
    assert (record.state, record.attempt) == ("failed", 1)
    assert "only once" in record.error.message


async def test_a_claim_notes_that_a_job_may_run_only_once(opened, sql):
    gate = Gate(at_most_once=True)
    engine = await opened(gate.task, workers=1)

    await add(engine, job(gate.task), job(gate.task))
    await gate.arrival.wait()
    gate.open.set()
    for record in await engine.store.page(JobFilter()):
        await final(engine, record.id)

    assert sql.execute("SELECT sum(once) FROM job").fetchone() == (2,)


async def test_a_job_that_was_to_end_when_its_process_died_is_cancelled(opened, path, sql):
    async def work() -> None: ...

    await opened()
    lost = die(sql, path, cancelling=1)

    engine = await opened(declare(work))

    assert (await final(engine, lost)).state == "cancelled"


async def test_a_process_that_lives_keeps_its_jobs(opened):
    gate = Gate()
    engine = await opened(gate.task)
    (job_id,) = await add(engine, job(gate.task))
    await gate.arrival.wait()

    await opened(Gate().task)  # it looks for dead ones when it starts

    record = await engine.store.get(job_id)
    (first, _) = await engine.store.workers()
    assert (record.state, record.attempt, record.worker) == ("running", 1, first.id)
    assert (first.alive, first.pid, first.running) == (True, os.getpid(), (job_id,))
    gate.open.set()
    await final(engine, job_id)


async def test_the_number_of_a_process_that_left_is_used_again(opened):
    first = await opened()
    await opened()
    await first.stop(grace=0)

    third = await opened(declare(Gate().gate))

    assert (await third.store.workers())[0].id == "worker-1"
