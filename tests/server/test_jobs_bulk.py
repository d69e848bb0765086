"""Jobs over HTTP: many at once, by a filter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.server.asking import assert_problem
from tests.server.conftest import SHARED, App
from tests.server.jobs import double, ended, enqueue, fail, hold, reach, within

pytestmark = SHARED


@pytest_asyncio.fixture(loop_scope="module")
async def app(shared: App) -> AsyncIterator[App]:
    """The shared server, whose default queue starts nothing."""
    await shared.runtime.jobs.pause("default")
    yield shared
    await shared.runtime.jobs.resume("default")


async def waiting(app: App, batch: str, *owners: str) -> list[Any]:
    return [await enqueue(app, double, 1, owner=owner, batch_id=batch) for owner in owners]


async def states(jobs: list[Any]) -> list[str]:
    return [(await job.status()).state for job in jobs]


async def test_a_dry_run_counts_and_changes_nothing(app: App):
    jobs = await waiting(app, "dry", "a", "b")

    reply = await app.client.post(
        "/v1/jobs/cancel", json={"filter": {"batch_id": "dry"}, "dry_run": True}
    )

    assert reply.status_code == 200
    assert reply.json() == {
        "action": "cancel",
        "matched": 2,
        "by_state": {"queued": 2},
        "job_id": None,
    }
    assert "location" not in reply.headers
    assert await states(jobs) == ["queued", "queued"]


async def test_many_jobs_are_cancelled_by_a_job_that_can_be_watched(app: App):
    jobs = await waiting(app, "many", *(["a"] * 250))

    reply = await app.client.post("/v1/jobs/cancel", json={"filter": {"batch_id": "many"}})

    assert reply.status_code == 202
    assert reply.json()["matched"] == 250
    done = await within(ended(app, reply.json()["job_id"]))
    assert (done.task, done.queue) == ("jobs.bulk", "maintenance")
    assert (done.progress.done, done.progress.total) == (250, 250)
    shown = (await app.client.get(reply.headers["location"])).json()
    assert shown["result"] == {"changed": 250, "skipped": 0}
    assert set(await states(jobs)) == {"cancelled"}


async def test_running_jobs_are_cancelled_too_but_not_the_job_that_does_it(app: App):
    job = await enqueue(app, hold)
    await reach(job, "running")

    reply = await app.client.post("/v1/jobs/cancel", json={"filter": {}})

    assert (await within(ended(app, reply.json()["job_id"]))).state == "completed"
    assert (await within(ended(app, job.id))).state == "cancelled"


async def test_an_operator_changes_the_jobs_of_its_owner_alone(app: App):
    mine, theirs = await waiting(app, "scoped", "me", "it")
    operator = await app.key("operator", owner="me")

    reply = await operator.post("/v1/jobs/cancel", json={"filter": {"batch_id": "scoped"}})

    assert reply.json()["matched"] == 1
    await within(ended(app, reply.json()["job_id"]))
    assert (await operator.get(reply.headers["location"])).json()["owner"] == "me"
    assert await states([mine, theirs]) == ["cancelled", "queued"]
    assert_problem(await operator.post("/v1/jobs/cancel", json={"filter": {"owner": "it"}}), 403)


async def test_failed_jobs_are_queued_anew(app: App):
    failed = [await enqueue(app, fail, "x", batch_id="failed", queue="analytics") for _ in range(3)]
    for job in failed:
        await within(ended(app, job.id))
    await app.runtime.jobs.pause("analytics")

    reply = await app.client.post("/v1/jobs/retry", json={"filter": {"batch_id": "failed"}})

    await within(ended(app, reply.json()["job_id"]))
    assert await states(failed) == ["queued"] * 3
    await app.runtime.jobs.resume("analytics")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("cancel", {}),
        ("cancel", {"filter": {"state": ["completed"]}}),
        ("retry", {"filter": {"state": ["running"]}}),
        ("cancel", {"filter": {"colour": "red"}}),
        ("cancel", {"filter": {"state": ["done"]}}),
        ("cancel", {"filter": {"created_after": "soon"}}),
    ],
)
async def test_what_names_no_jobs_is_422(app: App, path: str, body: dict[str, Any]):
    assert_problem(await app.client.post(f"/v1/jobs/{path}", json=body), 422)
