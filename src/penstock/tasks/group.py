"""Several jobs at once: enqueued in one transaction, awaited together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from secrets import token_hex
from typing import Any, Generic, TypeVar, overload

from penstock.clock import Seconds, seconds
from penstock.errors import ConfigurationError, Conflict
from penstock.tasks.job import Progress
from penstock.tasks.queue import Job
from penstock.tasks.task import Call

R = TypeVar("R")
R1 = TypeVar("R1")
R2 = TypeVar("R2")
R3 = TypeVar("R3")
R4 = TypeVar("R4")


class Group(Generic[R]):
    """Jobs that were enqueued together, in the order of their calls."""

    def __init__(self, id: str, jobs: Sequence[Job[R]]) -> None:
        self.id = id  # the `batch_id` of its jobs
        self.jobs = list(jobs)

    def __repr__(self) -> str:
        return f"<group {self.id} of {len(self.jobs)} jobs>"

    async def results(self, timeout: Seconds | None = None) -> list[R]:  # noqa: ASYNC109 - see Job
        """What the functions returned, in order, once all have.

        Raises the JobFailed or JobCancelled of the first job that has no result, while the others
        go on, and TimeoutError.
        """
        async with asyncio.timeout(_seconds(timeout)):
            return list(await asyncio.gather(*(job.result() for job in self.jobs)))

    async def outcomes(
        self,
        timeout: Seconds | None = None,  # noqa: ASYNC109 - see Job
    ) -> list[R | BaseException]:
        """The same, with the error of a job in the place of its result."""
        async with asyncio.timeout(_seconds(timeout)):
            results = (job.result() for job in self.jobs)
            return list(await asyncio.gather(*results, return_exceptions=True))

    async def progress(self) -> Progress:
        """How many of its jobs have ended, and how many of those without a result."""
        records = await asyncio.gather(*(job.status() for job in self.jobs))
        ended = [record for record in records if record.is_final]
        failed = sum(record.state != "completed" for record in ended)
        return Progress(len(ended), len(records), failed)

    async def cancel(self) -> None:
        """Ask all that have not ended to end."""
        for job in self.jobs:
            try:
                await job.cancel()
            except Conflict:  # it has ended
                continue


def _seconds(timeout: Seconds | None) -> float | None:
    return None if timeout is None else seconds(timeout)


@overload  # type checkers would find `object` common to results of several types
async def group(a: Call[R1], b: Call[R2], /) -> Group[R1 | R2]: ...
@overload
async def group(a: Call[R1], b: Call[R2], c: Call[R3], /) -> Group[R1 | R2 | R3]: ...
@overload
async def group(
    a: Call[R1], b: Call[R2], c: Call[R3], d: Call[R4], /
) -> Group[R1 | R2 | R3 | R4]: ...
@overload
async def group(*calls: Call[R]) -> Group[R]: ...
async def group(*calls: Call[Any]) -> Group[Any]:
    """Enqueue calls together: all of them, or none when an argument is wrong.

    `jobs = await group(resize.call("a"), resize.call("b")); await jobs.results()`
    """
    id = f"group_{token_hex(8)}"
    if not calls:
        return Group(id, ())
    queue = await calls[0].task.target()
    for call in calls[1:]:
        if await call.task.target() is not queue:
            raise ConfigurationError("the tasks of a group must have the same queue")
    return Group(id, await queue.enqueue_calls(calls, batch_id=id))
