"""/v1/queues: what waits, by priority and since when; pausing a queue and letting it go on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from penstock.errors import NotFound, StorageFull, StorageUnavailable
from penstock.tasks.job import QueueStatus
from penstock.tasks.queue import TaskQueue
from penstock.web.errors import responses
from penstock.web.pages import Page
from penstock.web.roles import Operator, Viewer

Name = Annotated[str, Path(min_length=1, max_length=64, examples=["default"])]


class QueueView(BaseModel):
    """One queue as it is now."""

    name: str
    paused: bool = Field(description="Starts nothing, in any process, until it is resumed.")
    depth: int = Field(description="Jobs that could start: the true backlog over all priorities.")
    depth_by_priority: dict[int, int] = Field(description="0 is first, 9 last.")
    delayed: int = Field(description="Jobs whose time has not come.")
    running: int
    oldest_age_seconds: float | None = Field(description="Of the jobs that could start.")
    workers: int = Field(description="Jobs that this server runs at once.")
    unknown_tasks: dict[str, int] = Field(
        description="Jobs that wait for a worker which has their task, by task."
    )


def router(jobs: TaskQueue) -> APIRouter:
    """The routes below /v1/queues."""
    stored = responses(StorageUnavailable, StorageFull)
    routes = APIRouter(prefix="/v1/queues", tags=["queues"], responses=stored)
    engine, known = jobs.engine, responses(NotFound)

    @routes.get("")
    async def list_queues(_: Viewer) -> Page[QueueView]:
        """All queues: depth by priority, age of the oldest job, what runs."""
        return Page(items=[view(queue) for queue in await jobs.store.queues()], next=None)

    @routes.post("/{name}/pause", responses=known)
    async def pause_queue(name: Name, _: Operator) -> QueueView:
        """Start no more jobs of a queue, over restarts too; those that run go on."""
        await find(jobs, name)
        await engine.pause(name)
        return await find(jobs, name)

    @routes.post("/{name}/resume", responses=known)
    async def resume_queue(name: Name, _: Operator) -> QueueView:
        """Let a paused queue go on."""
        await find(jobs, name)
        await engine.resume(name)
        return await find(jobs, name)

    return routes


async def find(jobs: TaskQueue, name: str) -> QueueView:
    """One queue. Raises NotFound."""
    queues = {queue.name: queue for queue in await jobs.store.queues()}
    if name not in queues:
        raise NotFound(f"no queue is called {name[:80]!r}; known: {', '.join(queues)}")
    return view(queues[name])


def view(queue: QueueStatus) -> QueueView:
    """A queue for the API."""
    return QueueView(
        name=queue.name,
        paused=queue.paused,
        depth=sum(queue.queued.values()),
        depth_by_priority=dict(sorted(queue.queued.items())),
        delayed=queue.delayed,
        running=queue.running,
        oldest_age_seconds=queue.oldest_age_seconds,
        workers=queue.workers,
        unknown_tasks=queue.unknown,
    )
