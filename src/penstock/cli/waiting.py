"""Why a job does not run: what the job file tells, and where to look for what it does not hold.

Which queues and tasks a process takes is not on record; whether it lives is. With Celery it is on
record when a worker could not run a job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.cli import opening
from penstock.cli.output import instant

if TYPE_CHECKING:
    from penstock.tasks.job import JobRecord
    from penstock.tasks.queue import TaskQueue


async def why(jobs: TaskQueue, job: JobRecord, *, now: int) -> str | None:
    """What a job waits for and what to do, in one line; None for one that runs or has ended."""
    match job.state:
        case "queued":
            return await _queued(jobs, job, now)
        case "running":
            return await _running(jobs, job)
    return None


async def _queued(jobs: TaskQueue, job: JobRecord, now: int) -> str:
    queue = next(each for each in await jobs.store.queues() if each.name == job.queue)
    if queue.paused:
        return f"its queue is paused; see: penstock tasks resume {job.queue}"
    if job.run_at > now:
        return f"its time has not come: {instant(job.run_at)}"
    if job.waiting_for is not None:
        return f"it waits for {job.waiting_for}"
    pids = [str(worker.pid) for worker in await jobs.store.workers() if worker.alive]
    if not pids:
        return (
            f"no process runs jobs of {opening.where_jobs_are()}; start penstock worker or "
            "penstock serve; with Celery: celery -A penstock.celery_app worker"
        )
    if queue.running:
        waiting = sum(queue.queued.values())
        return f"{queue.running} jobs of its queue run, {waiting} wait; {_check(job)}"
    return f"nobody has taken it yet (jobs are run by: {', '.join(pids)}); {_check(job)}"


def _check(job: JobRecord) -> str:
    module, found, _ = job.task.partition(":")
    named = f"has {module} in PENSTOCK_INCLUDE" if found else "has its module in PENSTOCK_INCLUDE"
    return f"if it stays so, see that one of them {named} and runs the queue {job.queue}"


async def _running(jobs: TaskQueue, job: JobRecord) -> str | None:
    workers = {worker.id: worker for worker in await jobs.store.workers()}
    worker = workers.get(job.worker or "")
    if worker is not None and not worker.alive:
        if job.attempt < job.max_attempts:
            return "its process is dead; it is queued again when a process starts"
        return "its process is dead, in its last attempt; it fails when a process starts"
    if job.cancelling:
        return "it was asked to end and has not yet"
    return None
