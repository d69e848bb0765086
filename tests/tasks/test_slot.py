"""`@task` as the user of a script, of a plain FastAPI application and of a test meets it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

import penstock
from penstock import ctx, group, task
from penstock.default import slot
from penstock.errors import ConfigurationError
from penstock.tasks import JobFilter, TaskQueue, open_queue


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder of the test's own; the slot is empty before and after."""
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "data"
    slot.swap(None, None)
    slot.close()


@task
async def double(number: int) -> int:
    return 2 * number


@task(retries=0)
def where() -> str | None:
    return ctx.job_id


def open_jobs(home: Path, *, workers: int = 0) -> TaskQueue:
    return open_queue(f"embedded://{home}/tasks.db", workers=workers)


def test_declaring_a_task_builds_nothing(home: Path):
    task(retries=1)(double.function)

    assert not home.exists()


def test_a_script_enqueues_and_waits(home: Path):
    async def main() -> tuple[int, list[int]]:
        jobs = await group(double.call(1), double.call(2))
        return await (await double.enqueue(21)).result(), await jobs.results()

    assert asyncio.run(main()) == (42, [2, 4])
    assert (home / "tasks.db").is_file()


def test_a_second_loop_opens_a_queue_of_its_own():
    async def main(number: int) -> int:
        return await (await double.enqueue(number)).result()

    assert [asyncio.run(main(number)) for number in (1, 2, 3)] == [2, 4, 6]


async def test_who_asks_first_at_the_same_time_gets_one_queue():
    queues = await asyncio.gather(*(slot.queue() for _ in range(5)))

    assert len(set(map(id, queues))) == 1
    await slot.aclose()


def test_a_script_that_ends_leaves_its_jobs_queued(home: Path):
    async def script() -> list[str]:
        begun = asyncio.Event()

        @task(name="slow")
        async def slow(number: int) -> None:
            begun.set()
            await asyncio.Event().wait()

        jobs = await slow.enqueue_many(range(10))
        await begun.wait()
        return [job.id for job in jobs]

    async def look() -> list[tuple[str, str, int]]:
        async with open_jobs(home) as queue:
            return [(r.id, r.state, r.attempt) for r in await queue.store.page(JobFilter())]

    ids = asyncio.run(script())

    left = asyncio.run(look())
    assert sorted(left) == [(id, "queued", 0) for id in sorted(ids)]


def test_a_plain_script_enqueues_and_waits():
    job = double.enqueue_sync(21)

    assert job.result_sync() == 42
    assert double.options(priority="low").enqueue_sync(1).status_sync().priority == 7


async def test_plain_functions_use_the_queue_of_the_loop_beside_them():
    """A plain task, or a plain route of FastAPI, that enqueues from its thread."""
    first = await double.enqueue(1)

    second = await asyncio.to_thread(double.enqueue_sync, 2)

    assert second._queue is first._queue
    await slot.aclose()


async def test_an_application_runs_its_jobs_itself(home: Path):
    app = FastAPI()

    @app.post("/double/{number}")
    async def enqueue(number: int) -> dict[str, Any]:
        job = await double.enqueue(number)
        return {"result": await job.result(), "request": (await job.status()).request_id}

    penstock.install(app)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://app") as client,
    ):
        reply = await client.post("/double/4", headers={"X-Request-ID": "req-1"})

    assert reply.json() == {"result": 8, "request": "req-1"}
    async with open_jobs(home) as queue:  # it has let go of the file
        assert await queue.store.workers() == []


async def test_a_test_puts_its_own_queue_in(home: Path):
    async with open_queue("inline://") as queue:
        with penstock.using(queue=queue):
            job = await double.enqueue(2)
            in_thread = await where.enqueue()

        assert (await job.status()).state == "completed"
        assert await in_thread.result() == in_thread.id
    assert not home.exists()


async def test_what_cannot_be_opened_is_said_and_tried_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PENSTOCK_INCLUDE", "nowhere.at_all")
    with pytest.raises(ConfigurationError, match=r"no module 'nowhere\.at_all'"):
        await double.enqueue(1)
    monkeypatch.delenv("PENSTOCK_INCLUDE")

    assert await (await double.enqueue(1)).result() == 2
    await slot.aclose()


async def test_without_workers_it_only_enqueues(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TASK_QUEUE_WORKERS", "0")

    job = await double.enqueue(1)

    assert (await job.status()).state == "queued"
    await slot.aclose()
    gc.collect()
