"""Cancelling or retrying every job that a filter means, as a job of its own.

A hundred at a time, so that their changes share transactions. Only jobs that are older than the
bulk job are touched: it never meets itself, nor what was enqueued after it was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from penstock.errors import Conflict, InvalidInput, NotFound
from penstock.tasks.context import ctx
from penstock.tasks.engine import Engine, JobStore
from penstock.tasks.job import JobFilter, State
from penstock.tasks.task import AsyncTask

Action = Literal["cancel", "retry"]
TASK: Final = "jobs.bulk"
POSSIBLE: Final[dict[Action, tuple[State, ...]]] = {
    "cancel": ("queued", "running"),
    "retry": ("failed", "cancelled", "expired"),
}
USUAL: Final[dict[Action, tuple[State, ...]]] = {
    "cancel": ("queued", "running"),
    "retry": ("failed",),
}
_AT_ONCE = 100

BulkTask = AsyncTask[[Action, JobFilter], "Tally"]


class Tally(msgspec.Struct, frozen=True):
    """What came of it; skipped: jobs that had changed on their own meanwhile."""

    changed: int = 0
    skipped: int = 0


def bulk_task(engine: Engine, store: JobStore) -> BulkTask:
    """The task; register it with the queue of that engine."""

    async def run(action: Action, filter: JobFilter) -> Tally:
        total = sum((await store.count(filter)).values())
        return await change(
            action,
            filter,
            engine=engine,
            store=store,
            before=ctx.job_id,
            report=lambda done: ctx.progress(done, max(total, done)),
        )

    return AsyncTask(run, name=TASK, queue="maintenance", priority="high")


def selection(action: Action, given: JobFilter) -> JobFilter:
    """The filter with the states that the action is for. Raises InvalidInput for others."""
    if not given.states:
        return msgspec.structs.replace(given, states=USUAL[action])
    wrong = [state for state in given.states if state not in POSSIBLE[action]]
    if wrong:
        possible = " and ".join(POSSIBLE[action])
        raise InvalidInput(
            f"{action} is for jobs that are {possible}, not {wrong[0]}",
            errors=[{"pointer": "/filter/state", "detail": f"{wrong[0]} is not among them"}],
        )
    return given


async def change(
    action: Action,
    filter: JobFilter,
    *,
    engine: Engine,
    store: JobStore,
    before: str | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> Tally:
    """Cancel or retry what the filter means, newest first, each job once."""
    act = engine.cancel if action == "cancel" else engine.retry

    async def attempt(job_id: str) -> bool:
        try:
            await act(job_id)
        except (Conflict, NotFound):
            return False
        return True

    changed = skipped = 0
    while page := await store.page(filter, before=before, limit=_AT_ONCE):
        before = page[-1].id
        done = await asyncio.gather(*(attempt(job.id) for job in page))
        changed += sum(done)
        skipped += len(done) - sum(done)
        report(changed + skipped)
    return Tally(changed, skipped)
