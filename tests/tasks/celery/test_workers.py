"""What a real Celery worker does with our jobs: prefork, its own command line, its own messages."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
from kombu import Connection
from redis import Redis

from penstock.errors import JobCancelled, JobFailed
from penstock.tasks import Progress, TaskQueue
from penstock.tasks.celery.address import parse
from tests.tasks.celery.celery_jobs import block, die, die_once, echo, steps, wait
from tests.tasks.celery.conftest import PATIENCE, Celery, until

pytestmark = pytest.mark.slow


@pytest.fixture
async def queue(shared: Celery, asking: Any) -> TaskQueue:
    return await asking(shared.url)


def told(celery: Celery, id: str) -> Any:
    """What Celery's result backend has."""
    with Redis.from_url(parse(celery.url).backend) as results:
        found: Any = results.get(f"celery-task-meta-{id}")
    return found and json.loads(found)


async def test_coroutines_and_plain_functions_run_in_its_processes(queue):
    assert await (await queue.enqueue(echo, ("a",))).result(PATIENCE) == "a"
    assert await (await queue.enqueue(block, (0,))).result(PATIENCE) == "done"


async def test_who_only_asks_sees_the_progress(queue):
    job = await queue.enqueue(steps, (8,))

    seen = [record.progress.done async for record in job.watch()]

    assert seen == sorted(seen)
    assert len(set(seen)) > 2
    assert (await job.status()).progress == job.progress == Progress(8, 8)


async def test_a_running_job_is_listed_with_its_worker_and_can_be_cancelled(queue, shared):
    job = await queue.enqueue(wait, (60,))
    async for record in job.watch():
        if record.state == "running":
            break

    active = await asyncio.to_thread(shared.run, "inspect", "active", "--json")
    (worker,) = await queue.store.workers()
    await job.cancel()

    (running,) = json.loads(active)["one@test"]
    assert (running["id"], running["name"]) == (job.id, "wait")
    assert (worker.alive, worker.running, record.worker) == (True, (job.id,), worker.id)
    with pytest.raises(JobCancelled):
        await job.result(PATIENCE)


async def test_a_job_whose_process_dies_runs_again_and_a_poisonous_one_ends(queue):
    survivor, poison = await queue.enqueue(die, (1,)), await queue.enqueue(die, (9,))
    once = await queue.enqueue(die_once)

    assert await survivor.result(PATIENCE) == 2
    for job, attempts in ((poison, 3), (once, 1)):
        with pytest.raises(JobFailed, match="Lost: its process died"):
            await job.result(PATIENCE)
        assert (await job.status()).attempt == attempts


async def test_what_celery_s_own_means_send_becomes_a_job(queue, shared):
    id = await asyncio.to_thread(shared.run, "call", "echo", "--args", '["from afar"]')

    accepted = await until(lambda: told(shared, id.strip()))
    assert await queue.job(accepted["result"]).result(PATIENCE) == "from afar"


async def test_celery_s_own_results_say_the_same(queue, shared):
    job = await queue.enqueue(echo, ("a",))

    found = await until(lambda: told(shared, job.id))

    assert (found["status"], found["result"]) == ("SUCCESS", "a")


async def test_a_job_that_is_revoked_by_celery_is_cancelled(queue, shared):
    job = await queue.enqueue(wait, (60,))
    async for record in job.watch():
        if record.state == "running":
            break

    await asyncio.to_thread(shared.run, "control", "terminate", "SIGKILL", job.id)

    with pytest.raises(JobCancelled):
        await job.result(PATIENCE)


async def test_a_message_with_pickle_in_it_is_refused(queue, shared, tmp_path):
    evil = b"cposix\nsystem\n(S'touch " + os.fsencode(tmp_path / "owned") + b"'\ntR."
    with Connection(parse(shared.url).broker) as connection:
        connection.Producer().publish(
            evil,
            routing_key="default",
            content_type="application/x-python-serialize",
            content_encoding="binary",
            headers={"task": "echo", "id": "evil", "lang": "py"},
        )

    assert await (await queue.enqueue(echo, ("after",))).result(PATIENCE) == "after"
    assert not (tmp_path / "owned").exists()
    assert "Refusing to deserialize untrusted content" in shared.log.read_text()


async def test_logs_and_messages_carry_no_content(queue, shared):
    job = await queue.enqueue(echo, ("a secret of somebody",))
    await job.result(PATIENCE)
    await until(lambda: f"[{job.id}] succeeded" in shared.log.read_text())

    assert "a secret" not in shared.log.read_text()
