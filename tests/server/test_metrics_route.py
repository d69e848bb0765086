"""GET /api/metrics: what this process counted, or all that share a Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from benchmarks.rigs.servers import RedisServer
from penstock.settings import Settings
from penstock.tasks import Task
from tests.conftest import ADMIN
from tests.server.asking import assert_problem, moderate
from tests.server.conftest import App, Start, opened

METRICS = "/api/metrics"
KIND = "Thank you all for the lovely evening, the soup was delicious."


async def metrics(app: App, **params: str) -> dict:
    reply = await app.client.get(METRICS, params=params)
    assert reply.status_code == 200, reply.text
    return reply.json()


@pytest.fixture
async def pair(redis: RedisServer, tmp_path: Path) -> AsyncIterator[tuple[App, App]]:
    """Two servers with folders of their own on one Redis."""
    async with AsyncExitStack() as stack:

        async def server(name: str) -> App:
            admin = SecretStr(ADMIN)
            settings = Settings(
                home=tmp_path / name, admin_key=admin, redis_url=redis.url, log_level="error"
            )
            return await stack.enter_async_context(opened(settings))

        yield await server("here"), await server("there")


async def test_any_server_tells_what_all_have_counted(pair):
    here, there = pair
    for app, count in ((here, 2), (there, 3)):
        for number in range(count):
            await moderate(app.client, f"{KIND} {count}.{number}")
        await app.client.post("/v1/moderations", json={})
        assert await app.runtime.sharing.flush()

    own, both = await metrics(here), await metrics(here, scope="all")

    assert (own["scope"], own["since"]) == ("process", None)
    assert (own["requests"]["total"], own["moderation"]["verdicts"]) == (3, 2)
    assert (both["scope"], both["since"][11:]) == ("all", "00:00:00Z")
    # The one that asked for this process alone is counted by now.
    assert (both["requests"]["total"], both["requests"]["errors"]) == (8, 2)
    assert both["moderation"] == {"verdicts": 5, "model_calls": 5, "degraded": 0}
    assert both["cache"]["misses"] == 5
    assert both["response_time_seconds"]["p99"] > 0
    assert (await metrics(there, scope="all"))["moderation"]["verdicts"] == 5


async def test_what_a_server_counted_stays_when_it_has_ended(redis, tmp_path):
    async def served(name: str, *, scope: str) -> dict:
        admin = SecretStr(ADMIN)
        settings = Settings(
            home=tmp_path / name, admin_key=admin, redis_url=redis.url, log_level="error"
        )
        async with opened(settings) as app:
            await moderate(app.client, f"{KIND} {name}")
            return await metrics(app, scope=scope)

    await served("first", scope="process")

    assert (await served("second", scope="all"))["moderation"]["verdicts"] == 2


async def test_alone_a_server_says_that_it_speaks_for_itself(app: App):
    await moderate(app.client, KIND)

    told = await metrics(app, scope="all")

    assert app.runtime.sharing is None
    assert (told["scope"], told["since"], told["others_behind_seconds"]) == ("process", None, 0.0)
    assert told["moderation"]["verdicts"] == 1


async def test_every_series_is_told_on_demand(pair):
    here, there = pair
    await moderate(there.client, KIND)
    await there.runtime.sharing.flush()

    one, all_ = await metrics(there, series="true"), await metrics(here, scope="all", series="true")

    verdict = {"name": "penstock_verdicts_total", "labels": {"decision": "approved"}, "value": 1}
    assert verdict in one["series"]
    assert verdict in all_["series"]
    assert all_["histograms"]["penstock_stage_seconds"]["count"] >= 1
    assert "series" not in await metrics(here)


async def test_without_redis_others_cannot_be_told(own_redis, start: Start):
    server = own_redis()
    async with start(redis_url=server.url) as app:
        server.stop()

        assert_problem(await app.client.get(METRICS, params={"scope": "all"}), 503)
        assert (await metrics(app))["scope"] == "process"


async def test_switched_off_nothing_is_handed_over(redis, start: Start):
    async with start(redis_url=redis.url, enable_metrics=False) as app:
        assert app.runtime.sharing is None
        assert (await metrics(app, scope="all"))["enabled"] is False


async def test_a_scope_that_is_none_is_refused(app: App):
    assert_problem(await app.client.get(METRICS, params={"scope": "some"}), 422)


@pytest.mark.parametrize("engine", ["embedded", "celery"])
async def test_jobs_that_wait_are_told_by_queue_over_all_priorities(redis, start: Start, engine):
    async def nothing() -> None:
        pass

    async with start(
        tasks=engine, celery_broker_url=redis.database(1), redis_url=redis.url, task_workers=0
    ) as app:
        task = Task(nothing, name="nothing")
        for priority in ("high", "normal", "low", 7):
            await app.runtime.jobs.enqueue(task, options={"priority": priority})
        await app.runtime.jobs.enqueue(Task(nothing, name="other", queue="analytics"))

        one = await metrics(app, series="true")
        both = await metrics(app, scope="all", series="true")

    for told in (one, both):
        series = {
            each["labels"]["queue"]: each["value"]
            for each in told["series"]
            if each["name"] == "penstock_jobs_queued"
        }
        assert told["jobs"]["queued"] == series
        assert (series["default"], series["analytics"], series["notifications"]) == (4, 1, 0)


async def test_how_many_jobs_wait_is_not_guessed_without_the_broker(own_redis, start: Start):
    broker = own_redis()
    async with start(tasks="celery", celery_broker_url=broker.url) as app:
        before = await metrics(app)
        broker.stop()
        told = await metrics(app, series="true")

    assert before["jobs"]["queued"]["default"] == 0
    assert told["jobs"]["queued"] is None
    assert not [each for each in told["series"] if each["name"] == "penstock_jobs_queued"]
