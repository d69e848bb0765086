"""/v1/jobs: listing, watching, cancelling, retrying and moving jobs, one or many."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from penstock.errors import Conflict, InvalidInput, NotFound, StorageFull, StorageUnavailable
from penstock.server.jobs import (
    JobDetail,
    JobView,
    detail,
    find,
    milliseconds,
    scope,
    view,
)
from penstock.tasks.bulk import TASK as BULK
from penstock.tasks.bulk import Action, selection
from penstock.tasks.job import JobFilter, JobRecord, Priority, State, job_number, priority_of
from penstock.tasks.queue import TaskQueue
from penstock.web.errors import responses
from penstock.web.pages import Page, decode_cursor, encode_cursor
from penstock.web.principal import Principal
from penstock.web.roles import Operator, Viewer
from penstock.web.sse import DOCUMENTED, FINISHED, Event, EventStream, LastEventId
from penstock.web.streams import Streams

Id = Annotated[str, Path(min_length=1, max_length=64, examples=["job_0d9x7zq0k4w2m"])]
Cursor = Annotated[
    str | None, Query(max_length=1024, description="`next` of the page before this one.")
]
Limit = Annotated[int, Query(ge=1, le=200, description="Most jobs on the page.")]
Name = Annotated[str | None, Query(max_length=512)]
Instant = Annotated[datetime | None, Query(description="ISO 8601; without a zone it is UTC.")]
States = Annotated[list[State] | None, Query(max_length=6, description="Any of these.")]

_STORED = responses(StorageUnavailable, StorageFull)


class JobSelection(BaseModel, extra="forbid"):
    """Which jobs are meant: those that fulfil everything given."""

    state: list[State] | None = Field(
        None,
        max_length=6,
        description="Default: queued and running to cancel, failed to retry.",
    )
    queue: str | None = Field(None, max_length=64)
    task: str | None = Field(None, max_length=512)
    batch_id: str | None = Field(None, max_length=128)
    owner: str | None = Field(None, max_length=100, description="For administrators.")
    created_after: datetime | None = None
    created_before: datetime | None = None


class BulkRequest(BaseModel, extra="forbid"):
    """Many jobs to cancel or to retry. An empty filter means all of them."""

    filter: JobSelection
    dry_run: bool = Field(False, description="Only say how many that would be.")


class BulkAnswer(BaseModel):
    """How many jobs are meant now, and the job that does it."""

    action: Action
    matched: int
    by_state: dict[str, int]
    job_id: str | None = Field(description="null after a dry run.")


class JobChange(BaseModel, extra="forbid"):
    """What can be changed of a queued job."""

    priority: Priority = Field(description="0 (first) to 9, or urgent, high, normal, low, bulk.")


_PREVIEWED: dict[int | str, dict[str, Any]] = {
    200: {"model": BulkAnswer, "description": "Counted; nothing was changed."}
}


def router(jobs: TaskQueue, streams: Streams) -> APIRouter:
    """The routes below /v1/jobs; the queue has the task of `tasks/bulk.py`."""
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=_STORED)
    engine, store = jobs.engine, jobs.store
    known, changed = responses(NotFound), responses(NotFound, Conflict)

    @routes.get("")
    async def list_jobs(
        who: Viewer,
        state: States = None,
        queue: Name = None,
        task: Name = None,
        batch_id: Name = None,
        owner: Name = None,
        created_after: Instant = None,
        created_before: Instant = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> Page[JobView]:
        """List jobs, newest first: one's own, or everybody's for administrators."""
        meant = JobFilter(
            states=tuple(state) if state else None,
            queue=queue,
            task=task,
            owner=scope(who, owner),
            batch_id=batch_id,
            created_before=milliseconds(created_before),
            created_after=milliseconds(created_after),
        )
        found = await store.page(meant, before=_before(cursor), limit=limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return Page(
            items=[view(job, who) for job in page],
            next=encode_cursor(page[-1].id) if more else None,
        )

    @routes.post("/cancel", status_code=202, responses=_PREVIEWED)
    async def cancel_jobs(request: BulkRequest, response: Response, who: Operator) -> BulkAnswer:
        """Cancel every job that a filter means, as a job; with `dry_run` count them (200)."""
        return await _bulk("cancel", request, response, who)

    @routes.post("/retry", status_code=202, responses=_PREVIEWED)
    async def retry_jobs(request: BulkRequest, response: Response, who: Operator) -> BulkAnswer:
        """Queue every job that a filter means anew, as a job; with `dry_run` count them (200)."""
        return await _bulk("retry", request, response, who)

    async def _bulk(
        action: Action, request: BulkRequest, response: Response, who: Principal
    ) -> BulkAnswer:
        meant = selection(action, _filter(request.filter, who))
        counts = {state: n for state, n in (await store.count(meant)).items() if n}
        answer = BulkAnswer(
            action=action, matched=sum(counts.values()), by_state=counts, job_id=None
        )
        if request.dry_run:
            response.status_code = 200
            return answer
        made = await jobs.enqueue(jobs.tasks[BULK], (action, meant), {}, {"owner": who.owner})
        response.headers["location"] = f"/v1/jobs/{made.id}"
        return answer.model_copy(update={"job_id": made.id})

    @routes.get("/{job_id}", responses=known)
    async def get_job(job_id: Id, who: Viewer) -> JobDetail:
        """One job, with its result."""
        return detail(await find(store, job_id, who), who)

    @routes.patch("/{job_id}", responses=changed)
    async def change_job(job_id: Id, change: JobChange, who: Operator) -> JobView:
        """Move a queued job forward or back."""
        await find(store, job_id, who)
        return view(await engine.reprioritise(job_id, priority_of(change.priority)), who)

    @routes.post("/{job_id}/cancel", responses=changed)
    async def cancel_job(job_id: Id, who: Operator) -> JobView:
        """Cancel a job. One that runs is asked to end: `cancelling` until it has."""
        await find(store, job_id, who)
        return view(await engine.cancel(job_id), who)

    @routes.post("/{job_id}/retry", responses=changed)
    async def retry_job(job_id: Id, who: Operator) -> JobView:
        """Queue a failed, cancelled or expired job anew."""
        await find(store, job_id, who)
        return view(await engine.retry(job_id), who)

    @routes.get("/{job_id}/events", response_class=EventStream, responses={**known, **DOCUMENTED})
    async def watch_job(job_id: Id, who: Viewer, last_event_id: LastEventId = None) -> Response:
        """The job now and after its changes, as server-sent events, until it has ended.

        Each event is named `job` and holds the job without its result. Changes within a quarter of
        a second are one event.
        """
        job = await find(store, job_id, who)
        if job.is_final and last_event_id == _event_id(job):
            return Response(status_code=FINISHED)
        topic = ("job", job_id, who.role == "admin")  # the others are told less
        return streams.open(who, topic, lambda: _events(jobs, job_id, who))

    return routes


async def _events(jobs: TaskQueue, job_id: str, who: Principal) -> AsyncIterator[Event]:
    async for job in jobs.store.watch(job_id):
        yield Event("job", view(job, who).model_dump_json().encode(), _event_id(job))


def _event_id(job: JobRecord) -> str:
    """Names the end, so that who comes again with it is told that nothing more comes."""
    return f"{job.state}-{job.finished_at}" if job.is_final else ""


def _filter(given: JobSelection, who: Principal) -> JobFilter:
    return JobFilter(
        states=tuple(given.state) if given.state else None,
        queue=given.queue,
        task=given.task,
        owner=scope(who, given.owner),
        batch_id=given.batch_id,
        created_before=milliseconds(given.created_before),
        created_after=milliseconds(given.created_after),
    )


def _before(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    position = decode_cursor(cursor, type=str)
    if job_number(position) is None:
        raise InvalidInput(
            "the cursor cannot be read",
            errors=[{"pointer": "/cursor", "detail": "it is not a cursor of this list"}],
        )
    return position
