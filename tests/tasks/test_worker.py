from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.errors import ConfigurationError
from penstock.runtime import Runtime
from penstock.settings import Settings
from penstock.tasks import open_queue
from penstock.worker import run_worker, working

SHOP = """
from penstock import task

@task
async def send(to: str) -> str:
    job = await count.enqueue(len(to))
    return f"sent to {to}, {await job.result()}"

@task(queue="analytics")
def count(letters: int) -> int:
    return letters

@task(queue="notifications")
async def ring() -> None: ...
"""


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user's module in the working directory."""
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("shop", None)


async def test_a_worker_runs_the_tasks_of_the_modules_it_is_given(settings: Settings):
    async with working(settings, include=["shop"]) as runtime:
        send = runtime.jobs.tasks["shop:send"]

        assert await (await send.enqueue("ann")).result() == "sent to ann, 3"
        assert await asyncio.to_thread(lambda: send.enqueue_sync("bob").result_sync())


async def test_a_worker_runs_the_jobs_of_its_queues_alone(settings: Settings):
    async with working(settings, include=["shop"], queues=["analytics"], concurrency=2) as runtime:
        tasks = runtime.jobs.tasks
        other = await tasks["shop:ring"].enqueue()

        assert await (await tasks["shop:count"].enqueue(3)).result() == 3
        assert (await other.status()).state == "queued"
        counts = {queue.name: queue.workers for queue in await runtime.jobs.store.queues()}
    assert (counts["analytics"], counts["notifications"]) == (2, 0)


async def test_a_signal_ends_it_and_what_waits_stays_queued(settings: Settings):
    ids: list[str] = []

    async def enqueue(runtime: Runtime) -> None:
        job = await runtime.jobs.tasks["shop:ring"].options(delay="1h").enqueue()
        ids.append(job.id)
        os.kill(os.getpid(), signal.SIGTERM)

    work: list[asyncio.Future[None]] = []
    await asyncio.wait_for(
        run_worker(
            settings,
            include=["shop"],
            ready=lambda runtime: work.append(asyncio.ensure_future(enqueue(runtime))),
        ),
        30,
    )

    async with open_queue(settings.task_engine, workers=0) as queue:
        assert (await queue.get(ids[0])).state == "queued"
        assert await queue.store.workers() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queues": ["fast"]}, "no queue is called 'fast'; known: default"),
        ({"include": ["shpo"]}, "no module 'shpo' was found"),
        ({"concurrency": 0}, "would run nothing"),
    ],
)
async def test_what_is_wrong_is_said_before_it_takes_a_job(settings: Settings, options, message):
    with pytest.raises(ConfigurationError, match=message):
        async with asyncio.timeout(30):
            await run_worker(settings, **options)


async def test_the_settings_name_modules_too(settings: Settings):
    async with working(settings.model_copy(update={"include": ("shop",)})) as runtime:
        assert {"shop:count", "shop:ring", "shop:send"} <= set(runtime.jobs.tasks)
