"""Jobs over HTTP: one at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.server.asking import assert_problem
from tests.server.conftest import SHARED, App
from tests.server.jobs import (
    double,
    ended,
    enqueue,
    events,
    fail,
    hold,
    reach,
    within,
)

pytestmark = SHARED

UNKNOWN = "job_0000000000001"
ASKED = {
    "get": lambda client, job: client.get(f"/v1/jobs/{job}"),
    "cancel": lambda client, job: client.post(f"/v1/jobs/{job}/cancel"),
    "retry": lambda client, job: client.post(f"/v1/jobs/{job}/retry"),
    "move": lambda client, job: client.patch(f"/v1/jobs/{job}", json={"priority": "high"}),
    "watch": lambda client, job: client.get(f"/v1/jobs/{job}/events"),
}
each_way = pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)


@pytest_asyncio.fixture(loop_scope="module")
async def app(shared: App) -> AsyncIterator[App]:
    """The shared server; what a test leaves waiting or running is cancelled."""
    yield shared
    for queue in ("default", "conversations"):
        await shared.runtime.jobs.resume(queue)
    await shared.client.post("/v1/jobs/cancel", json={"filter": {"task": "test.hold"}})


@pytest_asyncio.fixture(loop_scope="module")
async def paused(app: App) -> App:
    """The shared server, whose default queue starts nothing."""
    await app.runtime.jobs.pause("default")
    return app


async def listed(client: httpx.AsyncClient, **params: Any) -> list[str]:
    reply = await client.get("/v1/jobs", params=params)
    assert reply.status_code == 200, reply.text
    return [job["id"] for job in reply.json()["items"]]


async def test_a_completed_job_has_its_result_and_its_times(app: App):
    job = await enqueue(app, double, 21, owner="a")
    await within(job.result())

    shown = (await app.client.get(f"/v1/jobs/{job.id}")).json()

    assert shown["state"] == "completed"
    assert shown["result"] == 42
    assert (shown["task"], shown["queue"], shown["priority"]) == ("test.double", "default", 5)
    times = [datetime.fromisoformat(shown[f"{name}_at"]) for name in ("created", "finished")]
    assert times[0] <= times[1] <= datetime.now(UTC)  # noqa: TID251
    assert times[0].tzinfo is not None


async def test_a_failed_job_tells_why(app: App):
    job = await enqueue(app, fail, "no luck")
    await within(ended(app, job.id))

    shown = (await app.client.get(f"/v1/jobs/{job.id}")).json()

    assert shown["state"] == "failed"
    assert shown["error"]["type"] == "RuntimeError"
    assert shown["error"]["message"] == "no luck"
    assert shown["errors"] == [shown["error"]]
    assert "in fail" in shown["error"]["traceback"]


async def test_only_administrators_see_tracebacks(app: App):
    job = await enqueue(app, fail, "no luck", owner="team")
    await within(ended(app, job.id))
    operator = await app.key("operator", owner="team")

    shown = (await operator.get(f"/v1/jobs/{job.id}")).json()

    assert shown["error"]["message"] == "no luck"
    assert shown["error"]["traceback"] is None


@each_way
async def test_an_unknown_job_is_404(app: App, ask: Any):
    for name in (UNKNOWN, "x", "job_", "job_ä"):
        assert_problem(await ask(app.client, name), 404)


@each_way
async def test_someone_else_s_job_is_403(paused: App, ask: Any):
    theirs = await enqueue(paused, double, 1, owner="them")
    nobody_s = await enqueue(paused, double, 1)
    operator = await paused.key("operator", owner="us")

    for job in (theirs, nobody_s):
        assert_problem(await ask(operator, job.id), 403)
        assert (await job.status()).state == "queued"


async def test_a_list_holds_one_s_own_jobs_and_everybody_s_for_administrators(paused: App):
    batch = "scoped"
    mine, theirs = [
        (await enqueue(paused, double, 1, owner=owner, batch_id=batch)).id for owner in ("me", "it")
    ]
    viewer = await paused.key("viewer", owner="me")

    assert await listed(viewer, batch_id=batch) == [mine]
    assert await listed(paused.client, batch_id=batch) == [theirs, mine]
    assert await listed(paused.client, batch_id=batch, owner="it") == [theirs]
    assert_problem(await viewer.get("/v1/jobs", params={"owner": "it"}), 403)


async def test_a_list_is_filtered(paused: App):
    batch = "filtered"
    first = await enqueue(paused, double, 1, batch_id=batch)
    other = await enqueue(paused, double, 2, batch_id=batch, queue="analytics")
    await within(other.result())
    made = (await paused.client.get(f"/v1/jobs/{other.id}")).json()["created_at"]

    async def asked(**params: Any) -> list[str]:
        return await listed(paused.client, batch_id=batch, **params)

    assert await asked(state="queued") == [first.id]
    assert await asked(state=["queued", "completed"]) == [other.id, first.id]
    assert await asked(queue="analytics") == [other.id]
    assert await asked(task="test.double") == [other.id, first.id]
    assert await asked(task="test.fail") == []
    assert await asked(created_before="2020-01-01T00:00:00Z") == []
    assert set(await asked(created_after="2020-01-01")) == {other.id, first.id}
    assert first.id not in await asked(created_after=made, state="completed")


async def test_a_list_comes_in_pages_newest_first(paused: App):
    jobs = [await enqueue(paused, double, n, batch_id="paged") for n in range(5)]
    found: list[str] = []
    cursor: dict[str, str] = {}

    for _ in range(3):
        reply = await paused.client.get(
            "/v1/jobs", params={"batch_id": "paged", "limit": 2, **cursor}
        )
        page = reply.json()
        found += [job["id"] for job in page["items"]]
        cursor = {"cursor": page["next"]}

    assert found == [job.id for job in reversed(jobs)]
    assert page["next"] is None


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "x"},
        {"cursor": "pHNvbWU"},  # a cursor of something else
        {"state": "done"},
        {"limit": 0},
        {"limit": 201},
        {"created_after": "yesterday"},
    ],
)
async def test_what_a_list_cannot_be_asked_is_422(app: App, params: dict[str, Any]):
    assert_problem(await app.client.get("/v1/jobs", params=params), 422)


async def test_a_waiting_job_that_is_cancelled_never_runs(paused: App):
    job = await enqueue(paused, double, 1, owner="me")
    operator = await paused.key("operator", owner="me")

    reply = await operator.post(f"/v1/jobs/{job.id}/cancel")

    assert reply.status_code == 200
    assert reply.json()["state"] == "cancelled"
    assert reply.json()["started_at"] is None


async def test_a_running_job_that_is_cancelled_ends(app: App):
    job = await enqueue(app, hold)
    await reach(job, "running")

    reply = await app.client.post(f"/v1/jobs/{job.id}/cancel")

    assert reply.json()["cancelling"] or reply.json()["state"] == "cancelled"
    assert (await within(ended(app, job.id))).state == "cancelled"


@pytest.mark.parametrize("way", ["cancel", "retry"])
async def test_what_cannot_be_done_to_a_finished_job_is_409_and_says_its_state(app: App, way: str):
    job = await enqueue(app, double, 1)
    await within(job.result())

    problem = assert_problem(await app.client.post(f"/v1/jobs/{job.id}/{way}"), 409)

    assert "completed" in problem["detail"]


async def test_a_failed_job_is_tried_again(app: App):
    job = await enqueue(app, fail, "once more")
    await within(ended(app, job.id))

    reply = await app.client.post(f"/v1/jobs/{job.id}/retry")

    assert reply.status_code == 200
    assert reply.json()["state"] in ("queued", "running")
    again = await within(ended(app, job.id))
    assert (again.state, again.attempt) == ("failed", 1)


async def test_a_waiting_job_is_moved(paused: App):
    job = await enqueue(paused, double, 1)

    named = await paused.client.patch(f"/v1/jobs/{job.id}", json={"priority": "urgent"})
    counted = await paused.client.patch(f"/v1/jobs/{job.id}", json={"priority": 7})

    assert named.json()["priority"] == 0
    assert counted.json()["priority"] == 7
    assert (await job.status()).priority == 7


async def test_a_running_job_is_not_moved(app: App):
    job = await enqueue(app, hold)
    await reach(job, "running")

    problem = assert_problem(
        await app.client.patch(f"/v1/jobs/{job.id}", json={"priority": 0}), 409
    )

    assert "running" in problem["detail"]


@pytest.mark.parametrize("body", [{"priority": 10}, {"priority": "soon"}, {"colour": 1}, {}])
async def test_what_is_no_priority_is_422(paused: App, body: dict[str, Any]):
    job = await enqueue(paused, double, 1)

    assert_problem(await paused.client.patch(f"/v1/jobs/{job.id}", json=body), 422)


async def test_a_viewer_changes_nothing(paused: App):
    job = await enqueue(paused, double, 1, owner="me")
    viewer = await paused.key("viewer", owner="me")

    for way in ("cancel", "retry", "move"):
        assert_problem(await ASKED[way](viewer, job.id), 403)
    assert (await job.status()).state == "queued"


async def test_a_stream_tells_of_a_job_until_its_end(paused: App):
    job = await enqueue(paused, double, 21)
    await paused.runtime.jobs.resume("default")

    told = events(await within(paused.client.get(f"/v1/jobs/{job.id}/events")))

    assert {name for _, name, _ in told} == {"job"}
    assert {data["id"] for _, _, data in told} == {job.id}
    assert told[-1][2]["state"] == "completed"
    assert "result" not in told[-1][2]


async def test_a_stream_of_an_ended_job_is_one_event_and_not_repeated(app: App):
    """A browser's EventSource comes again after the end; 204 tells it to stop."""
    job = await enqueue(app, double, 21)
    await within(job.result())
    url = f"/v1/jobs/{job.id}/events"

    ((last, _, data),) = events(await app.client.get(url))
    again = await app.client.get(url, headers={"Last-Event-ID": last})
    behind = await app.client.get(url, headers={"Last-Event-ID": "7"})

    assert data["state"] == "completed"
    assert again.status_code == 204
    assert len(events(behind)) == 1
