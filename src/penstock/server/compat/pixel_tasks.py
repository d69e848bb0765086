"""Pixel's task paths, in its envelope {status, <name>, timestamp} and in Celery's words."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter

from penstock.clock import Clock
from penstock.errors import Conflict, NotFound, StorageFull, StorageUnavailable
from penstock.server.compat.pixel import envelope
from penstock.server.jobs import find, scope
from penstock.tasks.job import JobFilter, JobRecord, State
from penstock.tasks.queue import TaskQueue
from penstock.web.errors import responses
from penstock.web.instants import maybe
from penstock.web.roles import Operator, Viewer

LISTED = 200  # tasks of each state
WORDS: Final[dict[State, str]] = {
    "queued": "PENDING",
    "running": "STARTED",
    "completed": "SUCCESS",
    "failed": "FAILURE",
    "cancelled": "REVOKED",
    "expired": "REVOKED",
}


def router(jobs: TaskQueue, clock: Clock) -> APIRouter:
    """The routes below /api/performance/tasks."""
    stored = responses(StorageUnavailable, StorageFull)
    routes = APIRouter(prefix="/api/performance/tasks", tags=["pixel"], responses=stored)
    engine, store = jobs.engine, jobs.store

    @routes.get("/active")
    async def list_active(who: Viewer) -> dict[str, Any]:
        """Tasks that run, then those that wait: the newest 200 of each; `task_count` is of all."""
        owner = scope(who)
        tasks: list[dict[str, Any]] = []
        count = 0
        for state in ("running", "queued"):
            meant = JobFilter(states=(state,), owner=owner)
            tasks += [_shown(job) for job in await store.page(meant, limit=LISTED)]
            count += sum((await store.count(meant)).values())
        return envelope(clock, active_tasks=tasks, task_count=count)

    @routes.get("/{task_id}", responses=responses(NotFound))
    async def get_task(task_id: str, who: Viewer) -> dict[str, Any]:
        """Status, result and error of a task."""
        job = await find(store, task_id, who)
        shown = {**_shown(job), "result": job.result}
        return envelope(clock, task_id=job.id, task_status=shown)

    @routes.delete("/{task_id}", responses=responses(NotFound, Conflict))
    async def cancel_task(task_id: str, who: Operator) -> dict[str, Any]:
        """Cancel a task; one that runs is asked to end."""
        await find(store, task_id, who)
        job = await engine.cancel(task_id)
        return envelope(clock, task_id=job.id, cancelled=True, task_status=_shown(job))

    return routes


def _shown(job: JobRecord) -> dict[str, Any]:
    retried = job.state == "queued" and job.attempt > 0
    return {
        "task_id": job.id,
        "name": job.task,
        "status": "RETRY" if retried else WORDS[job.state],
        "worker": job.worker,
        "queue": job.queue,
        "priority": job.priority,
        "started_at": _text(job.started_at),
        "date_done": _text(job.finished_at),
        "error": None if job.error is None else job.error.message,
    }


def _text(milliseconds: int | None) -> str | None:
    at = maybe(milliseconds)
    return None if at is None else at.isoformat()
