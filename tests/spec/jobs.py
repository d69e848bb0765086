"""What the tests of task engines share: a task that waits to be let through, and waiting itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from penstock.tasks import Job, JobRecord, Task, TaskQueue, declare

PATIENCE = 60.0  # seconds until a test that hangs fails
ENGINES = {
    "embedded": "embedded://{folder}/tasks.db",
    "celery": "celery+redis://127.0.0.1:{port}/1?backend=redis://127.0.0.1:{port}/2&lease=2",
}

Open = Callable[..., Awaitable[TaskQueue]]


class Gate:
    """A task that says when it runs, and ends when it is let."""

    def __init__(self) -> None:
        self.begun, self.open = asyncio.Event(), asyncio.Event()
        self.task = Task(self._wait, name="gate", retries=0)

    async def _wait(self) -> str:
        self.begun.set()
        await self.open.wait()
        return "through"

    async def close(self, queue: TaskQueue) -> Job[str]:
        """Occupy a worker."""
        job = await queue.enqueue(self.task)
        await self.begun.wait()
        return job


@dataclass
class Point:
    x: int
    y: int


@declare()
async def echo(value: str) -> str:
    return value


async def reached(job: Job[Any], state: str) -> JobRecord:
    """The job when it is in this state."""
    async for record in job.watch():
        if record.state == state:
            return record
    raise AssertionError(f"it ended and was never {state}")
