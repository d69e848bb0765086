"""Jobs as the API shows them, and whose jobs a caller may see.

A job belongs to the owner of the key that asked for it; keys of the same owner share them.
Administrators see all, also those of the installation itself, which have no owner.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from pydantic import BaseModel, Field

from penstock.errors import Forbidden, NotFound
from penstock.tasks.engine import JobStore
from penstock.tasks.job import JobError, JobRecord, Progress, State
from penstock.web.instants import instant, maybe
from penstock.web.principal import Principal


class ProgressView(BaseModel):
    """How far a job is; `total` is 0 where nobody knows."""

    done: int
    total: int
    failed: int
    cached: int
    note: str


class ErrorView(BaseModel):
    """Why one attempt did not succeed."""

    type: str = Field(description="The exception; Lost: its process died; Timeout: it took long.")
    message: str
    at: datetime
    attempt: int
    traceback: str | None = Field(None, description="For administrators.")


class JobView(BaseModel):
    """One run of a task."""

    id: str
    task: str
    queue: str
    priority: int = Field(description="0 is first, 9 last.")
    state: State
    owner: str | None = Field(description="null: the installation's own.")
    key: str | None = Field(description="At most one live job has it.")
    batch_id: str | None
    attempt: int
    max_attempts: int
    run_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: ProgressView
    error: ErrorView | None = Field(description="The last one.")
    errors: list[ErrorView] = Field(description="Of the last attempts, the newest last.")
    request_id: str | None
    trace_id: str | None
    cancelling: bool = Field(description="Cancel was asked for and the function still runs.")
    worker: str | None = Field(description="Where it runs, while it does.")
    waiting_for: str | None = Field(description="What a queued job lacks, where that is known.")


class JobDetail(JobView):
    """One job with its result."""

    result: Any = Field(None, description="What the function returned; kept until it expires.")


def view(job: JobRecord, who: Principal) -> JobView:
    """A job for the one who asks."""
    return JobView(**_fields(job, who))


def detail(job: JobRecord, who: Principal) -> JobDetail:
    """The same with its result."""
    return JobDetail(**_fields(job, who), result=job.result)


async def find(store: JobStore, job_id: str, who: Principal) -> JobRecord:
    """The job, if the caller may see it. Raises NotFound, and Forbidden for someone else's."""
    job = await store.get(job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id[:80]!r}")
    if who.role != "admin" and job.owner != who.owner:
        raise Forbidden(f"the job {job_id} belongs to another owner")
    return job


def scope(who: Principal, asked: str | None = None) -> str | None:
    """Whose jobs a list holds; None: everybody's. Raises Forbidden."""
    if who.role == "admin":
        return asked
    if asked is not None and asked != who.owner:
        raise Forbidden(f"only administrators list jobs of other owners; yours is {who.owner}")
    return who.owner


def milliseconds(at: datetime | None) -> int | None:
    """What is stored of a time; one without a zone is UTC."""
    if at is None:
        return None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _fields(job: JobRecord, who: Principal) -> dict[str, Any]:
    traced = who.role == "admin"
    return {
        "id": job.id,
        "task": job.task,
        "queue": job.queue,
        "priority": job.priority,
        "state": job.state,
        "owner": job.owner,
        "key": job.key,
        "batch_id": job.batch_id,
        "attempt": job.attempt,
        "max_attempts": job.max_attempts,
        "run_at": instant(job.run_at),
        "created_at": instant(job.created_at),
        "started_at": maybe(job.started_at),
        "finished_at": maybe(job.finished_at),
        "progress": _progress(job.progress),
        "error": None if job.error is None else _error(job.error, traced=traced),
        "errors": [_error(error, traced=traced) for error in job.errors],
        "request_id": job.request_id,
        "trace_id": job.trace_id,
        "cancelling": job.cancelling,
        "worker": job.worker,
        "waiting_for": job.waiting_for,
    }


def _progress(progress: Progress) -> ProgressView:
    return ProgressView(**msgspec.structs.asdict(progress))


def _error(error: JobError, *, traced: bool) -> ErrorView:
    return ErrorView(
        type=error.type,
        message=error.message,
        at=instant(error.at),
        attempt=error.attempt,
        traceback=(error.traceback or None) if traced else None,
    )
