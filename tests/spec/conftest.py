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


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return ENGINES[request.param].format(folder=tmp_path)


@pytest.fixture
async def opened(url: str) -> AsyncIterator[Open]:
    """`await opened(task, ...)` gives a queue that runs these tasks; each call is a "process"."""
    queues: list[TaskQueue] = []

    async def start(*tasks: Task[..., Any], **options: Any) -> TaskQueue:
        queue = open_queue(url, **{"hub": LocalHub(None), **options})
        queue.register(tasks)
        await queue.start()
        queues.append(queue)
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
