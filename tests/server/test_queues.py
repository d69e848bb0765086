"""Queues and schedules over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from penstock.tasks.task import declare
from tests.server.asking import assert_problem
from tests.server.conftest import SHARED, App
from tests.server.jobs import double, ended, enqueue, within

pytestmark = SHARED


@pytest.fixture
def app(shared: App) -> App:
    return shared


async def queue(app: App, name: str = "analytics") -> dict[str, Any]:
    reply = await app.client.get("/v1/queues")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = {item["name"]: item for item in reply.json()["items"]}[name]
    return found


async def test_the_five_queues_are_listed(app: App):
    names = [item["name"] for item in (await app.client.get("/v1/queues")).json()["items"]]

    assert set(names) >= {
        *("default", "conversations", "analytics", "notifications"),
        "maintenance",
    }


async def test_a_paused_queue_keeps_its_jobs_and_tells_how_many_of_each_priority(app: App):
    paused = await app.client.post("/v1/queues/analytics/pause")
    jobs = [
        await enqueue(app, double, 1, queue="analytics", priority=priority)
        for priority in ("urgent", "normal", "normal")
    ]
    await enqueue(app, double, 1, queue="analytics", delay=3600)

    found = await queue(app)

    assert paused.json()["paused"] is True
    assert found["depth"] == 3
    assert {k: v for k, v in found["depth_by_priority"].items() if v} == {"0": 1, "5": 2}
    assert found["delayed"] == 1
    assert found["oldest_age_seconds"] >= 0
    resumed = await app.client.post("/v1/queues/analytics/resume")
    assert resumed.json()["paused"] is False
    for job in jobs:
        await within(job.result())
    assert (await queue(app))["depth"] == 0


@pytest.mark.parametrize("way", ["pause", "resume"])
async def test_an_unknown_queue_is_404_and_names_the_known_ones(app: App, way: str):
    problem = assert_problem(await app.client.post(f"/v1/queues/none/{way}"), 404)

    assert "maintenance" in problem["detail"]


async def test_a_viewer_pauses_nothing(app: App):
    viewer = await app.key("viewer")

    assert_problem(await viewer.post("/v1/queues/default/pause"), 403)
    assert (await queue(app, "default"))["paused"] is False
    assert (await viewer.get("/v1/queues")).status_code == 200


@declare(name="test.tick", schedule="every 24h")
async def tick() -> str:
    return "ticked"


@pytest_asyncio.fixture(loop_scope="module")
async def scheduled(start: Any) -> AsyncIterator[App]:
    """A server that was started with a task that has a schedule."""
    async with start() as app:
        app.runtime.jobs.register([tick])
        await app.runtime.jobs.start()
        yield app


async def schedule(app: App) -> dict[str, Any]:
    items = (await app.client.get("/v1/schedules")).json()["items"]
    found: dict[str, Any] = {item["task"]: item for item in items}["test.tick"]
    return found


async def test_a_schedule_is_listed_with_its_next_time(scheduled: App):
    found = await schedule(scheduled)

    assert found["paused"] is False
    assert found["declared"] is True
    assert found["next_at"].endswith("Z")


async def test_a_schedule_is_paused_and_goes_on(scheduled: App):
    name = (await schedule(scheduled))["name"]

    paused = await scheduled.client.post(f"/v1/schedules/{name}/pause")
    resumed = await scheduled.client.post(f"/v1/schedules/{name}/resume")

    assert (paused.json()["paused"], resumed.json()["paused"]) == (True, False)


async def test_a_schedule_is_run_now(scheduled: App):
    name = (await schedule(scheduled))["name"]

    reply = await scheduled.client.post(f"/v1/schedules/{name}/run")

    assert reply.status_code == 202
    assert (await within(ended(scheduled, reply.json()["job_id"]))).state == "completed"
    assert (await scheduled.client.get(reply.headers["location"])).json()["result"] == "ticked"


@pytest.mark.parametrize("way", ["pause", "resume", "run"])
async def test_an_unknown_schedule_is_404(app: App, way: str):
    assert_problem(await app.client.post(f"/v1/schedules/none/{way}"), 404)


@pytest.mark.parametrize("way", ["pause", "resume", "run"])
async def test_a_viewer_steers_no_schedule(app: App, way: str):
    viewer = await app.key("viewer")

    assert_problem(await viewer.post(f"/v1/schedules/none/{way}"), 403)
