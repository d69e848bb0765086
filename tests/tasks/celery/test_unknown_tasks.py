"""A job whose task no worker has waits, and says for what, wherever one looks."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from benchmarks.rigs.servers import RedisServer
from penstock.settings import Settings
from penstock.tasks import Job, JobFilter, TaskQueue
from tests.conftest import ADMIN
from tests.server.conftest import opened
from tests.tasks.celery.celery_jobs import send
from tests.tasks.celery.conftest import PATIENCE, ROOT, Celery

pytestmark = pytest.mark.slow

LACKS = (
    "a worker that has the task shop.tasks:send: none that runs does; start one with shop.tasks in "
    "PENSTOCK_INCLUDE"
)


@pytest.fixture
def celery(redis: RedisServer, celery_on: Callable[..., Celery]) -> Celery:
    """A worker that does not have the task."""
    celery = celery_on(redis)
    celery.worker()
    return celery


@pytest.fixture
async def queue(celery: Celery, asking: Any) -> TaskQueue:
    return await asking(celery.url)


async def parked(jobs: TaskQueue, **options: Any) -> Job[str]:
    """A job that a worker was given and could not run; who watches it is told."""
    job = await jobs.enqueue(send, ("ann",), {}, options)
    async with asyncio.timeout(PATIENCE):
        async for record in job.watch():
            if record.waiting_for is not None:
                return job
    raise AssertionError("it has ended")


async def test_its_record_says_so_until_a_worker_has_the_task(queue, celery):
    job = await parked(queue)
    (listed,) = await queue.store.page(JobFilter(states=("queued",)))
    (default,) = [one for one in await queue.store.queues() if one.name == "default"]

    celery.env["JOBS_SHOP"] = "1"
    celery.worker("two")

    assert (listed.state, listed.waiting_for) == ("queued", LACKS)
    assert (default.unknown, sum(default.queued.values())) == ({"shop.tasks:send": 1}, 1)
    assert await job.result(PATIENCE) == "sent to ann"
    assert (await job.status()).waiting_for is None
    assert {count for one in await queue.store.queues() for count in one.unknown.values()} == set()


async def test_one_that_is_moved_or_cancelled_says_what_is_so(queue):
    moved, cancelled = await parked(queue), await parked(queue, queue="analytics")

    await queue.engine.reprioritise(moved.id, 0)
    await cancelled.cancel()

    assert (await cancelled.status()).waiting_for is None
    async with asyncio.timeout(PATIENCE):  # its new ticket is of no more use than the old one
        async for record in moved.watch():
            if record.waiting_for is not None:
                break
    unknown = {one.name: one.unknown for one in await queue.store.queues() if one.unknown}
    assert unknown == {"default": {"shop.tasks:send": 1}}


async def test_the_api_and_the_command_line_tell_it(queue, redis, tmp_path):
    job = await parked(queue)
    broker = redis.database(1)
    settings = Settings(
        home=tmp_path / "home",
        admin_key=SecretStr(ADMIN),
        log_level="error",
        tasks="celery",
        celery_broker_url=broker,
    )

    async with opened(settings) as app:
        told = (await app.client.get(f"/v1/jobs/{job.id}")).json()
        queues = (await app.client.get("/v1/queues")).json()["items"]
    shown, listed, doctor = await asyncio.gather(
        *(
            asyncio.to_thread(penstock, broker, tmp_path, *words)
            for words in (("tasks", "show", job.id), ("tasks", "queues"), ("doctor", "--json"))
        )
    )

    assert (told["state"], told["waiting_for"]) == ("queued", LACKS)
    assert {one["name"]: one["unknown_tasks"] for one in queues}["default"] == {
        "shop.tasks:send": 1
    }
    assert f"it waits for {LACKS}" in shown
    assert f"default: 1 job waits for {LACKS}" in listed
    (found,) = [
        each
        for each in json.loads(doctor)["checks"]
        if each["name"] == "workers" and each["status"] == "warning"
    ]
    assert found["detail"] == f"default: 1 job waits for {LACKS.partition('; ')[0]}"
    assert found["fix"] == "start one with shop.tasks in PENSTOCK_INCLUDE"


def penstock(broker: str, folder: Path, *words: str) -> str:
    """What a command prints."""
    env = {**os.environ, "PENSTOCK_HOME": str(folder / "home"), "CELERY_BROKER_URL": broker}
    command = [sys.executable, "-m", "penstock", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=env, text=True, timeout=60, stdout=-1, stderr=subprocess.STDOUT
    )
    return done.stdout
