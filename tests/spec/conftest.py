"""Every task engine, opened in a folder of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock.hub import LocalHub
from penstock.tasks import Task, TaskQueue, open_queue
from tests.spec.jobs import ENGINES, PATIENCE, Gate, Open

# Celery calls what redis-py has deprecated.
OF_CELERY = pytest.mark.filterwarnings("ignore:Call to deprecated")


@pytest.fixture(params=["embedded", pytest.param("celery", marks=OF_CELERY)])
def engine(request: pytest.FixtureRequest) -> str:
    """The engine's name."""
    return str(request.param)


@pytest.fixture
def url(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    port = request.getfixturevalue("redis").port if engine == "celery" else 0
    return ENGINES[engine].format(folder=tmp_path, port=port)


@pytest.fixture
async def opened(url: str, engine: str) -> AsyncIterator[Open]:
    """`await opened(task, ...)` gives a queue that runs these tasks; each call is a "process".

    On Celery it is a queue and a worker, which ends when the queue is stopped.
    """
    queues: list[TaskQueue] = []

    async def start(*tasks: Task[..., Any], **options: Any) -> TaskQueue:
        queue = open_queue(url, **{"hub": LocalHub(None), **options})
        queue.register(tasks)
        await queue.start()
        queues.append(queue)
        if engine == "celery":
            from tests.spec.hosted import host  # Celery takes a while to import

            await host(queue, url, options.get("workers", 4))
        return queue

    def give_up() -> None:
        for each in asyncio.all_tasks():
            each.cancel(f"the test has not ended within {PATIENCE} s")

    deadline = asyncio.get_running_loop().call_later(PATIENCE, give_up)
    yield start
    for queue in queues:
        await queue.stop(grace=0)
    deadline.cancel()


@pytest.fixture
async def queue(opened: Open) -> TaskQueue:
    """One that runs whatever is enqueued in it, one job at a time."""
    return await opened(workers=1)


@pytest.fixture
def gate() -> Gate:
    return Gate()
