"""`Task`: a declared function that can be run later, as a job.

A task stays callable: `await fn(x)` or `fn(x)` runs the function here and now. `fn.enqueue(x)`
hands it to a queue; which one, its `source` says, when it is asked and not before. Nothing is
registered at import: workers are given the modules, or the tasks.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from penstock.clock import Seconds
from penstock.errors import ConfigurationError
from penstock.tasks.arguments import Signature
from penstock.tasks.engine import NewJob
from penstock.tasks.job import NORMAL, Priority, Queue, priority_of
from penstock.tasks.options import (
    Backoff,
    JobOptions,
    Key,
    Kind,
    RetryOn,
    TaskOptions,
    address_of,
    apply,
    at_least_0,
    check_key,
    check_names,
    kind_of,
    known_queue,
    policy_of,
    positive,
    rate_of,
)

if TYPE_CHECKING:
    from penstock.tasks.queue import Job, TaskQueue
    from penstock.tasks.schedule import Schedule

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

KEEP: Final = 86_400.0  # seconds that a result stays
KEEP_FAILED: Final = 30 * 86_400.0  # seconds that a failed job stays


class Source(Protocol):
    """Says which queue is meant; opens it, if need be."""

    async def queue(self) -> TaskQueue:
        """The queue of the running loop."""

    def queue_sync(self) -> TaskQueue:
        """A queue that a plain function can reach, on a loop in another thread."""


class Task(Generic[P, R]):
    """A function, and how its jobs are to be run.

    `name` is by default "module:qualname". `queue` is one of the five; `priority` 0 (first) to 9,
    or urgent, high, normal, low, bulk. After a failure it is tried `retries` times more, if the
    error is one of `retry_on`, after a random wait that doubles: `backoff` is its first bound, or
    that and the last. `timeout` is for one attempt; `expires` is the time in which it must start.
    `key` ("user:{id}", or a function of the arguments) allows one live job of the task for each
    key; with `again`, enqueueing it while it runs makes it run once more. `rate` ("10/s", "100/m")
    bounds the starts over all processes. `schedule` is a cron line or "every 15m". With `process`
    it runs in a process of its own, which can be ended at any time. A result stays for `keep`. With
    `at_most_once` a job that had begun when its process ended is failed, never run again. One that
    `resumes` where it was is stopped at once when its process ends; others have a while to end by
    themselves.
    """

    def __init__(
        self,
        function: Callable[P, Any],
        *,
        source: Source | None = None,
        name: str | None = None,
        queue: Queue = "default",
        priority: Priority = "normal",
        retries: int = 2,
        backoff: Backoff = 1.0,
        retry_on: RetryOn = (Exception,),
        timeout: Seconds | None = None,
        expires: Seconds | None = None,
        key: Key | None = None,
        again: bool = False,
        rate: str | None = None,
        schedule: str | Schedule | None = None,
        process: bool = False,
        keep: Seconds = KEEP,
        at_most_once: bool = False,
        resumes: bool = False,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function: Callable[P, Any] = function
        self.source = source
        self.address = address_of(function)  # where a process of its own finds it
        self.name = name or self.address
        self.kind: Kind = kind_of(function, self.address, process=process)
        self.queue: str = known_queue(queue)
        self.priority = priority_of(priority)
        self.policy = policy_of(self.name, retries, backoff, retry_on)
        self.timeout = positive("timeout", timeout)
        self.expires = positive("expires", expires)
        self.keep = at_least_0("keep", keep)
        self.keep_failed = KEEP_FAILED
        self.at_most_once = at_most_once
        self.resumes = resumes
        self.rate = None if rate is None else rate_of(rate)
        self.key = key
        self.again = again
        self.signature = Signature(function, name=self.name)
        check_key(self.name, key, self.signature.parameters)
        self.schedule: Schedule | None = None
        if schedule is not None:
            self.schedule = _schedule(schedule, self.signature)
        self.pack = self.signature.pack
        self.unpack = self.signature.unpack
        self.pack_result = self.signature.pack_result
        self.unpack_result = self.signature.unpack_result

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the function here and now, as if it were no task."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Accept a job with these arguments; it is durable when this returns.

        Raises InvalidInput for arguments that the function does not take, and StorageError.
        """
        return await (await self.target()).enqueue(self, args, kwargs)

    async def enqueue_many(self, calls: Iterable[Any]) -> list[Job[R]]:
        """Accept many jobs, a thousand in a transaction; each call is a tuple of arguments, or one.

        Either all arguments are right, or nothing is enqueued.
        """
        return await (await self.target()).enqueue_many(self, calls)

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """As `enqueue`, for plain functions; it blocks until the job is durable."""
        queue = self.target_sync()
        return queue.run(queue.enqueue(self, args, kwargs))

    def options(self, **options: Unpack[JobOptions]) -> Bound[P, R]:
        """The task with other options for the jobs to come.

        `delay` is in seconds or words ("10m"); `run_at` is a time with its zone and wins over it.
        `owner` is whose job it is, `batch_id` what it belongs to; the others are as in `Task`.
        Raises InvalidInput, and TypeError for an option that there is not, here and not later.
        """
        apply(options, NewJob(self.name, b"", self.queue, NORMAL, 1))
        return Bound(self, options)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """A call to be made later, as `group` takes it."""
        return Call(cast("Task[..., R]", self), args, kwargs, {})

    def new_job(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: JobOptions | None = None
    ) -> NewJob:
        """What an engine is handed for one call. Raises InvalidInput."""
        job = NewJob(
            self.name,
            self.pack(args, kwargs),
            self.queue,
            self.priority,
            self.policy.attempts,
            expires=self.expires,
            again=self.again,
        )
        if self.key is not None and (options is None or options.get("key") is None):
            job.key = self.key_of(args, kwargs)
        if options:
            apply(options, job)
        return job

    def key_of(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
        """The unique key of a call; None when the task declares none."""
        if self.key is None:
            return None
        if callable(self.key):
            return str(self.key(*args, **kwargs))
        return self.key.format_map(self.signature.named(args, kwargs))

    async def target(self) -> TaskQueue:
        """The queue that its jobs go to. Raises ConfigurationError when it was given none."""
        return await self._known_source().queue()

    def target_sync(self) -> TaskQueue:
        """The same, for plain functions."""
        return self._known_source().queue_sync()

    def _known_source(self) -> Source:
        if self.source is None:
            raise ConfigurationError(
                f"{self.name} has no queue yet: register it with one, or use queue.enqueue(task)"
            )
        return self.source


class AsyncTask(Task[P, R]):
    """A task of a coroutine function, as type checkers see it."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Run the function here and now, as if it were no task."""
        return cast("Coroutine[Any, Any, R]", self.function(*args, **kwargs))


class SyncTask(Task[P, R]):
    """A task of a plain function, as type checkers see it."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, as if it were no task."""
        return cast("R", self.function(*args, **kwargs))


class Bound(Generic[P, R]):
    """A task with options of its own for the jobs that are enqueued through it."""

    def __init__(self, task: Task[P, R], options: JobOptions) -> None:
        self.task = task
        self.given = options

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """As `Task.enqueue`."""
        return await (await self.task.target()).enqueue(self.task, args, kwargs, self.given)

    async def enqueue_many(self, calls: Iterable[Any]) -> list[Job[R]]:
        """As `Task.enqueue_many`."""
        return await (await self.task.target()).enqueue_many(self.task, calls, self.given)

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """As `Task.enqueue_sync`."""
        queue = self.task.target_sync()
        return queue.run(queue.enqueue(self.task, args, kwargs, self.given))

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """As `Task.call`."""
        return Call(cast("Task[..., R]", self.task), args, kwargs, self.given)


class Call(Generic[R_co]):
    """A task with the arguments of one call."""

    def __init__(
        self,
        task: Task[..., R_co],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: JobOptions,
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.options = options


class Declare(Protocol):
    """What `task(...)` gives: a decorator."""

    # The second overload would take coroutine functions too; the order decides.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, T]]
    ) -> AsyncTask[P, T]: ...

    @overload
    def __call__(self, function: Callable[P, T]) -> SyncTask[P, T]: ...


def declare(source: Source | None = None, **options: Unpack[TaskOptions]) -> Declare:
    """A decorator for functions that are to be run by the queue of `source`.

    Raises TypeError for an option that there is not.
    """
    check_names(options, TaskOptions.__annotations__, whose="a task")

    def made(function: Callable[..., Any]) -> Any:
        kind = AsyncTask if inspect.iscoroutinefunction(function) else SyncTask
        return kind(function, source=source, **options)

    return cast(Declare, made)


def _schedule(given: str | Schedule, signature: Signature) -> Schedule:
    from penstock.tasks.schedule import parse_schedule  # only the few that have one

    if signature.required:
        raise ConfigurationError(
            f"{signature.name} has a schedule and so must be callable without arguments; "
            f"give defaults to: {', '.join(signature.required)}"
        )
    return parse_schedule(given) if isinstance(given, str) else given
