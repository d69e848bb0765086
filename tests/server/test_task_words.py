"""Tasks on the paths and in the words of Halilit and Pixel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import pytest_asyncio

from tests.server.asking import assert_problem
from tests.server.conftest import SHARED, App, Start
from tests.server.jobs import double, ended, enqueue, fail, hold, reach, within

pytestmark = SHARED

UNKNOWN = "job_0000000000001"


@pytest_asyncio.fixture(loop_scope="module")
async def app(shared: App) -> AsyncIterator[App]:
    """The shared server, whose default queue starts nothing."""
    await shared.runtime.jobs.pause("default")
    yield shared
    await shared.runtime.jobs.resume("default")


async def test_halilit_a_task_is_queued_processing_completed_or_failed(app: App):
    """H-27, C-13."""
    waits = await enqueue(app, double, 1)
    runs = await enqueue(app, hold)
    done = await enqueue(app, double, 21, queue="analytics")
    broken = await enqueue(app, fail, "no luck", queue="analytics")
    await reach(runs, "running")
    await within(done.result())
    await within(ended(app, broken.id))

    told = {
        name: (await app.client.get(f"/api/v2/tasks/{job.id}")).json()
        for name, job in (("waits", waits), ("runs", runs), ("done", done), ("broken", broken))
    }
    await runs.cancel()

    assert told["waits"]["status"] == "queued"
    assert told["runs"]["status"] == "processing"
    assert (told["done"]["status"], told["done"]["result"]) == ("completed", 42)
    assert (told["broken"]["status"], told["broken"]["error"]) == ("failed", "no luck")
    assert told["done"]["task_id"] == done.id


async def test_halilit_a_cancelled_task_is_failed_and_says_why(app: App):
    job = await enqueue(app, double, 1)
    await job.cancel()

    told = (await app.client.get(f"/api/v2/tasks/{job.id}")).json()

    assert told["status"] == "failed"
    assert "cancelled" in told["error"]


async def test_halilit_an_unknown_task_is_not_found_in_its_words(app: App):
    reply = await app.client.get(f"/api/v2/tasks/{UNKNOWN}")

    assert reply.status_code == 404
    assert (reply.json()["task_id"], reply.json()["status"]) == (UNKNOWN, "not_found")


async def test_halilit_the_queue_tells_what_waits_and_runs(app: App):
    """H-28, H-39."""
    before = (await app.client.get("/api/v2/tasks/queue/status")).json()
    await enqueue(app, double, 1)

    told = (await app.client.get("/api/v2/tasks/queue/status")).json()

    assert told["running"] is True
    assert told["workers"] == 4
    assert told["queue_size"] == before["queue_size"] + 1
    assert told["total_tasks"] == before["total_tasks"] + 1
    assert told["status_breakdown"]["queued"] == before["status_breakdown"]["queued"] + 1
    assert set(told["status_breakdown"]) == {"queued", "processing", "completed", "failed"}


async def test_halilit_the_number_of_workers_is_a_setting(start: Start):
    async with start(task_workers=7) as app:
        told = (await app.client.get("/api/v2/tasks/queue/status")).json()

    assert told["workers"] == 7


async def test_halilit_the_workers_are_this_process(app: App):
    told = (await app.client.get("/api/v2/workers/status")).json()

    assert told["active_workers"] == told["total_workers"] == 1
    assert told["workers"][0]["alive"] is True
    assert told["workers"][0]["pid"] > 0


async def test_pixel_active_tasks_run_or_wait(app: App):
    """P-42."""
    runs = await enqueue(app, hold, owner="pixel")
    await reach(runs, "running")
    waits = await enqueue(app, double, 1, owner="pixel")
    viewer = await app.key("viewer", owner="pixel")

    told = (await viewer.get("/api/performance/tasks/active")).json()
    await runs.cancel()

    assert told["status"] == "success"
    assert datetime.fromisoformat(told["timestamp"])
    assert told["task_count"] == 2
    first, second = told["active_tasks"]
    assert (first["task_id"], first["status"], first["name"]) == (runs.id, "STARTED", "test.hold")
    assert first["worker"]
    assert (second["task_id"], second["status"]) == (waits.id, "PENDING")


async def test_pixel_a_task_has_a_status_and_a_result(app: App):
    """P-43."""
    job = await enqueue(app, double, 21, queue="analytics")
    await within(job.result())

    told = (await app.client.get(f"/api/performance/tasks/{job.id}")).json()

    assert told["status"] == "success"
    assert told["task_status"]["status"] == "SUCCESS"
    assert told["task_status"]["result"] == 42


async def test_pixel_a_waiting_task_that_is_deleted_never_runs(app: App):
    """P-44."""
    job = await enqueue(app, double, 1)

    told = (await app.client.delete(f"/api/performance/tasks/{job.id}")).json()

    assert told["cancelled"] is True
    assert told["task_status"]["status"] == "REVOKED"
    assert (await job.status()).started_at is None


async def test_pixel_a_running_task_that_is_deleted_ends(app: App):
    job = await enqueue(app, hold)
    await reach(job, "running")

    reply = await app.client.delete(f"/api/performance/tasks/{job.id}")

    assert reply.status_code == 200
    assert (await within(ended(app, job.id))).state == "cancelled"


async def test_pixel_an_unknown_a_foreign_and_a_finished_task_are_refused(app: App):
    job = await enqueue(app, double, 1, queue="analytics", owner="it")
    await within(job.result())
    operator = await app.key("operator", owner="me")

    assert_problem(await operator.delete(f"/api/performance/tasks/{UNKNOWN}"), 404)
    assert_problem(await operator.get(f"/api/performance/tasks/{job.id}"), 403)
    assert_problem(await operator.get(f"/api/v2/tasks/{job.id}"), 403)
    assert_problem(await app.client.delete(f"/api/performance/tasks/{job.id}"), 409)
