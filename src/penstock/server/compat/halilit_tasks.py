"""Halilit's task paths: queued, processing, completed, failed and not_found.

What was cancelled or expired is failed here, with the reason as its error.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel

from penstock.errors import NotFound, StorageUnavailable
from penstock.server.jobs import find
from penstock.tasks.job import JobFilter, JobRecord, State
from penstock.tasks.queue import TaskQueue
from penstock.web.errors import responses
from penstock.web.instants import instant, maybe
from penstock.web.roles import Viewer

Word = Literal["queued", "processing", "completed", "failed", "not_found"]
WORDS: Final[dict[State, Word]] = {
    "queued": "queued",
    "running": "processing",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
    "expired": "failed",
}


class TaskStatus(BaseModel):
    """One task, in Halilit's words."""

    task_id: str
    status: Word
    result: Any = None
    error: str | None = None
    progress: float | None = None  # 0..1, where the task says it
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None


class QueueTotals(BaseModel):
    """All queues in one."""

    running: bool  # whether any process runs tasks
    workers: int
    queue_size: int
    running_tasks: int
    total_tasks: int
    status_breakdown: dict[str, int]


class Worker(BaseModel):
    """One process that runs tasks."""

    id: str
    pid: int
    host: str
    alive: bool
    running_tasks: int
    started_at: datetime


class Workers(BaseModel):
    """The processes that run tasks."""

    total_workers: int
    active_workers: int
    workers: list[Worker]


def router(jobs: TaskQueue) -> APIRouter:
    """GET /api/v2/tasks/... and /api/v2/workers/status."""
    stored = responses(StorageUnavailable)
    routes = APIRouter(prefix="/api/v2", tags=["halilit"], responses=stored)
    store = jobs.store

    @routes.get("/tasks/{task_id}", responses={404: {"model": TaskStatus}})
    async def get_task(task_id: str, response: Response, who: Viewer) -> TaskStatus:
        """Status, result and error of a task; 404 with the status not_found for an unknown one."""
        try:
            job = await find(store, task_id, who)
        except NotFound as error:
            response.status_code = 404
            return TaskStatus(task_id=task_id, status="not_found", error=error.detail)
        return TaskStatus(
            task_id=job.id,
            status=WORDS[job.state],
            result=job.result,
            error=_error(job),
            progress=_share(job),
            created_at=instant(job.created_at),
            started_at=maybe(job.started_at),
            completed_at=maybe(job.finished_at),
        )

    @routes.get("/tasks/queue/status")
    async def get_queue(_: Viewer) -> QueueTotals:
        """How much waits and runs, over all queues."""
        queues = await store.queues()
        breakdown = dict.fromkeys(("queued", "processing", "completed", "failed"), 0)
        for state, number in (await store.count(JobFilter())).items():
            breakdown[WORDS[state]] += number  # type: ignore[index]  # a state
        return QueueTotals(
            running=any(worker.alive for worker in await store.workers()),
            workers=max((queue.workers for queue in queues), default=0),
            queue_size=sum(sum(queue.queued.values()) for queue in queues),
            running_tasks=breakdown["processing"],
            total_tasks=sum(breakdown.values()),
            status_breakdown=breakdown,
        )

    @routes.get("/workers/status")
    async def get_workers(_: Viewer) -> Workers:
        """The processes that run tasks."""
        workers = [
            Worker(
                id=each.id,
                pid=each.pid,
                host=each.host,
                alive=each.alive,
                running_tasks=len(each.running),
                started_at=instant(each.started_at),
            )
            for each in await store.workers()
        ]
        active = sum(worker.alive for worker in workers)
        return Workers(total_workers=len(workers), active_workers=active, workers=workers)

    return routes


def _error(job: JobRecord) -> str | None:
    if job.state in ("cancelled", "expired"):
        return f"the task was {job.state}" if job.state == "cancelled" else "the task has expired"
    return job.error.message if job.state == "failed" and job.error is not None else None


def _share(job: JobRecord) -> float | None:
    progress = job.progress
    return min(1.0, progress.done / progress.total) if progress.total else None
