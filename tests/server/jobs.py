"""Tasks for tests over HTTP, and what tests ask of their jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

import httpx

from penstock.tasks.job import JobRecord
from penstock.tasks.queue import Job
from penstock.tasks.task import declare
from tests.server.conftest import App

PATIENCE = 60.0  # seconds until a test that waits is given up


@declare(name="test.double")
async def double(number: int) -> int:
    return 2 * number


@declare(name="test.fail", retries=0)
async def fail(reason: str) -> None:
    raise RuntimeError(reason)


@declare(name="test.hold", queue="conversations")
async def hold() -> None:
    await asyncio.Event().wait()


async def enqueue(app: App, task: Any, *args: Any, **options: Any) -> Job[Any]:
    """A job of the runtime's own queue."""
    return await app.runtime.jobs.enqueue(task, args, {}, options)


async def reach(job: Job[Any], state: str) -> JobRecord:
    """The job as soon as it is in a state."""
    return await within(_reach(job, state))


async def ended(app: App, job_id: str) -> JobRecord:
    """A job after its end."""
    job = app.runtime.jobs.job(job_id)
    async for record in job.watch():
        if record.is_final:
            return record
    raise AssertionError("the queue stopped")


async def within(waiting: Awaitable[Any]) -> Any:
    """The result, or a failure when it takes too long."""
    return await asyncio.wait_for(waiting, PATIENCE)


def events(reply: httpx.Response) -> list[tuple[str, str, dict[str, Any]]]:
    """(id, name, data) of each event of a stream that has ended."""
    assert reply.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in reply.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])))
    return found


async def _reach(job: Job[Any], state: str) -> JobRecord:
    async for record in job.watch():
        if record.state == state:
            return record
    raise AssertionError(f"{job.id} ended and was never {state}")
