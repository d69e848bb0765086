"""What runs jobs, and what reads about them: the Protocols behind which every engine stands.

`TaskQueue` (`queue.py`) is what users hold; it hands an engine jobs whose arguments are already
checked and packed. The embedded engine is in `embedded/`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from penstock.tasks.job import (
    JobFilter,
    JobRecord,
    Progress,
    QueueStatus,
    ScheduleStatus,
    WorkerStatus,
)

if TYPE_CHECKING:
    from penstock.tasks.task import Task


class NewJob(msgspec.Struct, gc=False):
    """A job to be accepted. Arguments are packed JSON, checked against the task's signature."""

    task: str
    arguments: bytes
    queue: str
    priority: int
    max_attempts: int
    delay: float = 0.0  # seconds from now
    run_at: int | None = None  # milliseconds since 1970; wins over `delay`
    expires: float | None = None  # seconds from now, after which it is not started any more
    key: str | None = None  # at most one live job has it
    again: bool = False  # an enqueue that meets its running twin makes it run once more
    owner: str | None = None
    batch_id: str | None = None
    request_id: str | None = None
    trace_id: str | None = None


class Added(NamedTuple):
    """An accepted job: durable."""

    id: str
    existed: bool = False  # a live job with that key was there: this is its id


class Engine(Protocol):
    """Accepts jobs and runs those of the tasks that it was given.

    Every method raises StorageError with what to do when records cannot be written.
    """

    async def start(self, tasks: Mapping[str, Task[..., Any]]) -> None:
        """Begin to run jobs of these tasks, and to fire their schedules."""

    def add(self, jobs: Sequence[NewJob]) -> Awaitable[list[Added]]:
        """Accept jobs in one transaction; durable when it returns."""

    async def cancel(self, job_id: str) -> JobRecord:
        """Ask a job to end; what it is now. Raises NotFound, and Conflict when it has ended."""

    async def retry(self, job_id: str) -> JobRecord:
        """Queue a failed, cancelled or expired job anew, its attempts counted from 0.

        Raises NotFound, and Conflict for a job in another state.
        """

    async def reprioritise(self, job_id: str, priority: int) -> JobRecord:
        """Move a queued job. Raises NotFound, and Conflict for one that is not queued."""

    async def pause(self, queue: str) -> None:
        """Start no more jobs of a queue, in any process; kept over restarts."""

    async def resume(self, queue: str) -> None:
        """Undo `pause`."""

    async def pause_schedule(self, name: str, *, paused: bool) -> ScheduleStatus:
        """Stop firing a schedule, or go on. Raises NotFound."""

    async def fire(self, name: str) -> Added:
        """Run a schedule's task now, beside its ticks. Raises NotFound."""

    async def prune(self, *, before: int | None = None) -> int:
        """Forget jobs whose results have expired (or that ended before an instant); how many."""

    async def stop(self, *, grace: float) -> None:
        """Take no more jobs, wait up to `grace` seconds for those that run, return the rest."""


class JobStore(Protocol):
    """The read side: the same in a process that runs jobs and in one that only looks."""

    async def get(self, job_id: str) -> JobRecord | None:
        """One job."""

    async def result(self, job_id: str) -> bytes | None:
        """The packed result of a completed job, as JSON."""

    async def page(
        self, filter: JobFilter, *, before: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        """Jobs, newest first; `before` is the id of the last one of the page before."""

    async def count(self, filter: JobFilter) -> dict[str, int]:
        """How many jobs, by state."""

    async def health(self) -> str:
        """Why jobs are not kept, read or run, `what is wrong; what to do`; nothing if they are."""

    async def queues(self) -> list[QueueStatus]:
        """All queues."""

    async def workers(self) -> list[WorkerStatus]:
        """The processes that run jobs on this installation."""

    async def schedules(self) -> list[ScheduleStatus]:
        """All schedules."""

    def watch(self, job_id: str) -> AsyncIterator[JobRecord]:
        """The job now and after every change, ending with its final state. Raises NotFound."""

    async def ended(self, job_id: str) -> JobRecord:
        """The job, once it has its final state; cheaper than `watch`.

        Raises NotFound, and QueueStopped when the queue stops first.
        """

    def progress(self, job_id: str) -> Progress:
        """The latest progress that this process knows of, without waiting."""


# What an execution reports when the function has ended; exactly one per run.


class Completed(NamedTuple):
    """The function returned."""

    result: bytes  # JSON


class Failed(NamedTuple):
    """The function raised, timed out, or its process died."""

    type: str
    message: str
    traceback: str = ""
    retryable: bool = True
    after: float | None = None  # seconds that the function asked to wait before the next attempt


class Stopped(NamedTuple):
    """The function ended because it was asked to: by a cancel, or because the engine stops."""

    has_begun: bool = True  # False: it never ran, and may run elsewhere even if it may only once


Outcome = Completed | Failed | Stopped


class Run(msgspec.Struct, gc=False):
    """One attempt, handed to an execution."""

    number: int
    job_id: str
    task: Task[..., Any]
    arguments: bytes
    attempt: int
    done: Callable[[Run, Outcome], None]  # called once, on the engine's loop
    owner: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
