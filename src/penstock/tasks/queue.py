"""`TaskQueue` accepts jobs and `Job` is the handle of one.

The queue checks and packs arguments, knows which tasks this process may run, and leaves the rest to
an engine. It belongs to the event loop on which it was started; plain functions in other threads
reach it through the methods that end in `_sync`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar, cast

from penstock.clock import Seconds, seconds
from penstock.errors import (
    ConfigurationError,
    InvalidInput,
    JobCancelled,
    JobFailed,
    NotFound,
    QueueStopped,
    StorageError,
)
from penstock.observe.logging import get_logger, request_id, trace_id
from penstock.tasks.engine import Added, Engine, JobStore, NewJob
from penstock.tasks.job import JobRecord, Priority, Progress, ScheduleStatus, priority_of

if TYPE_CHECKING:
    from penstock.tasks.options import JobOptions
    from penstock.tasks.task import Call, Task

R = TypeVar("R")
T = TypeVar("T")

CHUNK: Final = 1000  # jobs in one transaction
GRACE: Final = 10.0  # seconds that running jobs have when the queue stops

_log = get_logger("penstock.tasks")


class TaskQueue:
    """Where tasks put their jobs, and where jobs are looked up and steered."""

    def __init__(self, engine: Engine, store: JobStore) -> None:
        self.engine = engine
        self.store = store
        self.tasks: dict[str, Task[..., Any]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: set[Future[None]] = set()
        self._stopped = False

    # --- its life --------------------------------------------------------------------------------

    def register(self, tasks: Iterable[Task[..., Any]]) -> None:
        """Let this process run these tasks, before or after the start.

        Raises ConfigurationError for two tasks of one name, and for a type that JSON cannot carry.
        """
        new = [task for task in tasks if self._declare(task)]
        if new and self._loop is not None and not self._stopped:
            starting = asyncio.run_coroutine_threadsafe(self._start_more(), self._loop)
            self._starting.add(starting)
            starting.add_done_callback(self._starting.discard)

    async def start(self) -> None:
        """Begin to run jobs, those included that an earlier process left."""
        self._loop = asyncio.get_running_loop()
        await self.engine.start(self.tasks)

    async def _start_more(self) -> None:
        try:
            await self.engine.start(self.tasks)
        except (StorageError, QueueStopped) as error:
            _log.warning("tasks.not_started", error=error.detail)

    async def stop(self, grace: float = GRACE) -> None:
        """Take no more jobs, let the running ones end within `grace` seconds, return the rest."""
        if not self._stopped:
            self._stopped = True
            await self.engine.stop(grace=grace)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop that it was started on."""
        return self._loop

    # --- as the source of the tasks that are registered with it ----------------------------------

    async def queue(self) -> TaskQueue:
        """Itself."""
        return self

    def queue_sync(self) -> TaskQueue:
        """Itself."""
        return self

    # --- jobs in ---------------------------------------------------------------------------------

    async def enqueue(
        self,
        task: Task[..., R],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: JobOptions | None = None,
    ) -> Job[R]:
        """Accept one job; durable when this returns. Raises InvalidInput and StorageError."""
        new = task.new_job(args, kwargs or {}, options)
        (added,) = await self._add(task, [new])
        return Job(self, added.id, task, existed=added.existed)

    async def enqueue_many(
        self, task: Task[..., R], calls: Iterable[Any], options: JobOptions | None = None
    ) -> list[Job[R]]:
        """Accept many jobs, a thousand in a transaction; each call is a tuple of arguments, or one.

        All arguments are checked before the first job is accepted.
        """
        new: list[NewJob] = []
        for number, call in enumerate(calls):
            args = call if type(call) is tuple else (call,)
            try:
                new.append(task.new_job(args, {}, options))
            except InvalidInput as error:
                raise _of_call(number, error) from error
            if number % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)  # others' turn: a million calls take a second to pack
        jobs: list[Job[R]] = []
        for start in range(0, len(new), CHUNK):
            added = await self._add(task, new[start : start + CHUNK])
            jobs += [Job(self, one.id, task, existed=one.existed) for one in added]
        return jobs

    async def enqueue_calls(self, calls: Sequence[Call[R]], *, batch_id: str) -> list[Job[R]]:
        """Accept calls of several tasks in one transaction."""
        new: list[NewJob] = []
        for number, call in enumerate(calls):
            try:
                job = call.task.new_job(call.args, call.kwargs, call.options)
            except InvalidInput as error:
                raise _of_call(number, error) from error
            if job.batch_id is None:
                job.batch_id = batch_id
            new.append(job)
        if not new:
            return []
        added = await self._add(calls[0].task, new, others=[call.task for call in calls[1:]])
        return [
            Job(self, one.id, call.task, existed=one.existed)
            for one, call in zip(added, calls, strict=True)
        ]

    async def _add(
        self,
        task: Task[..., Any],
        jobs: Sequence[NewJob],
        *,
        others: Sequence[Task[..., Any]] = (),
    ) -> list[Added]:
        if self._stopped:
            raise QueueStopped
        strangers = [each for each in (task, *others) if self.tasks.get(each.name) is not each]
        if any(list(map(self._declare, strangers))) and self._loop is not None:
            await self.engine.start(self.tasks)  # again, with the further ones
        request, trace = request_id.get(), trace_id.get()
        if request is not None or trace is not None:
            for job in jobs:
                job.request_id, job.trace_id = request, trace
        return await self.engine.add(jobs)

    def _declare(self, task: Task[..., Any]) -> bool:
        """Whether it was not known before."""
        known = self.tasks.get(task.name)
        if known is task:
            return False
        # One address at top level is one function: it was imported twice, or typed in anew.
        if known is not None and (known.address != task.address or "<locals>" in task.address):
            raise ConfigurationError(
                f"two tasks are called {task.name}, of {known.address} and of {task.address}: give "
                "one of them a name=, or declare it once"
            )
        task.signature.prepare()
        if task.source is None:
            task.source = self
        self.tasks[task.name] = task
        return True

    # --- one job ---------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job[Any]:
        """The handle of a job by its id; nothing is looked up yet."""
        return Job(self, job_id)

    async def get(self, job_id: str) -> JobRecord:
        """A job as it is now. Raises NotFound."""
        record = await self.store.get(job_id)
        if record is None:
            raise NotFound(f"no job is called {job_id!r}; its record may have expired")
        return record

    async def cancel(self, job_id: str) -> JobRecord:
        """As `Engine.cancel`."""
        return await self.engine.cancel(job_id)

    async def retry(self, job_id: str) -> JobRecord:
        """As `Engine.retry`."""
        return await self.engine.retry(job_id)

    async def reprioritise(self, job_id: str, priority: Priority) -> JobRecord:
        """As `Engine.reprioritise`."""
        return await self.engine.reprioritise(job_id, priority_of(priority))

    # --- queues and schedules --------------------------------------------------------------------

    async def pause(self, queue: str) -> None:
        """As `Engine.pause`."""
        await self.engine.pause(queue)

    async def resume(self, queue: str) -> None:
        """As `Engine.resume`."""
        await self.engine.resume(queue)

    async def pause_schedule(self, name: str, *, paused: bool) -> ScheduleStatus:
        """As `Engine.pause_schedule`."""
        return await self.engine.pause_schedule(name, paused=paused)

    async def fire(self, name: str) -> Job[Any]:
        """Run a schedule's task now, beside its ticks. Raises NotFound."""
        return self.job((await self.engine.fire(name)).id)

    async def prune(self, *, before: int | None = None) -> int:
        """As `Engine.prune`."""
        return await self.engine.prune(before=before)

    # --- for plain functions in other threads ----------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the queue's loop and wait for it, from another thread."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if self._loop is None or running is self._loop:
            work.close()
            raise ConfigurationError(
                "this blocks the event loop that would do the work: await the coroutine instead"
                if running
                else "the queue was not started"
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class Job(Generic[R]):
    """The handle of one job; it holds an id and looks the rest up when asked."""

    __slots__ = ("_queue", "_task", "existed", "id")

    def __init__(
        self,
        queue: TaskQueue,
        id: str,
        task: Task[..., R] | None = None,
        *,
        existed: bool = False,
    ) -> None:
        self._queue = queue
        self._task = task
        self.id = id
        self.existed = existed  # a live job with its key was there: this is it

    def __repr__(self) -> str:
        return f"<job {self.id}>"

    async def status(self) -> JobRecord:
        """The job as it is now. Raises NotFound when its record has expired."""
        return await self._queue.get(self.id)

    # A parameter, since the job goes on: what times out is the wait of one caller.
    async def result(self, timeout: Seconds | None = None) -> R:  # noqa: ASYNC109
        """What the function returned, once it has.

        Raises JobFailed, JobCancelled, NotFound when the record has expired, and TimeoutError after
        `timeout` (seconds, or words), while the job goes on.
        """
        if timeout is None:
            record = await self._queue.store.ended(self.id)
        else:
            try:
                async with asyncio.timeout(seconds(timeout)):
                    record = await self._queue.store.ended(self.id)
            except TimeoutError:
                raise TimeoutError(
                    f"{self.id} has not ended within {seconds(timeout):g} s; it goes on"
                ) from None
        if record.state == "failed":
            raise _failure(record)
        if record.state != "completed":
            raise JobCancelled(f"{self.id} ({record.task}) was {record.state}")
        task = self._task or self._queue.tasks.get(record.task)
        return cast(R, record.result if task is None else task.signature.typed(record.result))

    def watch(self) -> AsyncIterator[JobRecord]:
        """The job now and after every change, ending with its final state."""
        return self._queue.store.watch(self.id)

    @property
    def progress(self) -> Progress:
        """The latest progress that this process knows of, without waiting."""
        return self._queue.store.progress(self.id)

    async def cancel(self) -> JobRecord:
        """Ask it to end. Raises Conflict when it has ended already."""
        return await self._queue.cancel(self.id)

    async def retry(self) -> JobRecord:
        """Queue it anew after it failed, was cancelled or expired. Raises Conflict otherwise."""
        return await self._queue.retry(self.id)

    async def reprioritise(self, priority: Priority) -> JobRecord:
        """Move it while it is queued. Raises Conflict otherwise."""
        return await self._queue.reprioritise(self.id, priority)

    def status_sync(self) -> JobRecord:
        """As `status`, for plain functions."""
        return self._queue.run(self.status())

    def result_sync(self, timeout: Seconds | None = None) -> R:
        """As `result`, for plain functions."""
        return self._queue.run(self.result(timeout))

    def cancel_sync(self) -> JobRecord:
        """As `cancel`, for plain functions."""
        return self._queue.run(self.cancel())


def _failure(record: JobRecord) -> JobFailed:
    error = record.error
    why = f"{error.type}: {error.message}" if error is not None else "no error is on record"
    attempts = "attempt" if record.attempt == 1 else "attempts"
    return JobFailed(
        f"{record.id} ({record.task}) failed after {record.attempt} {attempts}: {why}",
        errors=record.errors,
    )


def _of_call(number: int, error: InvalidInput) -> InvalidInput:
    told = cast("list[dict[str, str]]", error.fields.get("errors", []))
    return InvalidInput(
        f"call {number}: {error.detail}",
        errors=[{**one, "pointer": f"/{number}{one['pointer']}"} for one in told],
    )
