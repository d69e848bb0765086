"""/v1/schedules: what runs by the clock and when next; pausing it, running it now."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from penstock.errors import NotFound, StorageFull, StorageUnavailable
from penstock.tasks.job import ScheduleStatus
from penstock.tasks.queue import TaskQueue
from penstock.web.errors import responses
from penstock.web.instants import maybe
from penstock.web.pages import Page
from penstock.web.roles import Operator, Viewer

Name = Annotated[str, Path(min_length=1, max_length=512)]


class ScheduleView(BaseModel):
    """One schedule as it is now."""

    name: str
    task: str
    when: str = Field(description="A cron line, or `every 900s`.")
    timezone: str
    queue: str
    paused: bool
    next_at: datetime | None
    last_at: datetime | None
    last_job: str | None = Field(description="The job of the last tick.")
    declared: bool = Field(description="Whether this server has its task, and so fires it.")


class Fired(BaseModel):
    """The job that runs a schedule's task now."""

    job_id: str
    existed: bool = Field(description="It was running already.")


def router(jobs: TaskQueue) -> APIRouter:
    """The routes below /v1/schedules."""
    stored = responses(StorageUnavailable, StorageFull)
    routes = APIRouter(prefix="/v1/schedules", tags=["schedules"], responses=stored)
    engine, known = jobs.engine, responses(NotFound)

    @routes.get("")
    async def list_schedules(_: Viewer) -> Page[ScheduleView]:
        """All schedules, with their last and their next time."""
        return Page(items=[view(each) for each in await jobs.store.schedules()], next=None)

    @routes.post("/{name}/pause", responses=known)
    async def pause_schedule(name: Name, _: Operator) -> ScheduleView:
        """Fire a schedule no more until it is resumed."""
        return view(await engine.pause_schedule(name, paused=True))

    @routes.post("/{name}/resume", responses=known)
    async def resume_schedule(name: Name, _: Operator) -> ScheduleView:
        """Let a paused schedule go on."""
        return view(await engine.pause_schedule(name, paused=False))

    @routes.post("/{name}/run", status_code=202, responses=known)
    async def run_schedule(name: Name, response: Response, _: Operator) -> Fired:
        """Run a schedule's task now, beside its ticks."""
        added = await engine.fire(name)
        response.headers["location"] = f"/v1/jobs/{added.id}"
        return Fired(job_id=added.id, existed=added.existed)

    return routes


def view(schedule: ScheduleStatus) -> ScheduleView:
    """A schedule for the API."""
    return ScheduleView(
        name=schedule.name,
        task=schedule.task,
        when=schedule.when,
        timezone=schedule.timezone,
        queue=schedule.queue,
        paused=schedule.paused,
        next_at=maybe(schedule.next_at),
        last_at=maybe(schedule.last_at),
        last_job=schedule.last_job,
        declared=schedule.declared,
    )
