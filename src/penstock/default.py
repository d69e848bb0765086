"""The one slot that `from penstock import cached, task, ...` binds to.

Nothing is built at import: the first call of a decorated function reads the settings and opens a
cache; the first `enqueue` opens a task queue, or the start of an application with `install`. It
runs all tasks that are declared. An application that wants its own parts puts them into the slot
with `use`; tests put theirs in for the length of a `with`.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import (
    TYPE_CHECKING,
    Any,
    ParamSpec,
    TypeAlias,
    TypeVar,
    Unpack,
    overload,
)

from penstock.cache.batch import decorate_batch
from penstock.cache.decorator import decorate
from penstock.cache.shapes import (
    CachedBatchOptions,
    CachedOptions,
    Decorate,
    DecorateBatch,
    options_of,
)
from penstock.errors import PenstockError
from penstock.models import cache as models
from penstock.models.cache import Loader, Size
from penstock.tasks.loops import LoopQueues
from penstock.tasks.loops import Tasks as Declared
from penstock.tasks.options import TaskOptions
from penstock.tasks.task import AsyncTask, Declare, SyncTask, Task, declare

if TYPE_CHECKING:
    from penstock.cache import Cache
    from penstock.models.cache import ModelCache
    from penstock.observe.metrics import Metrics
    from penstock.runtime import Runtime
    from penstock.tasks.queue import TaskQueue

P = ParamSpec("P")
R = TypeVar("R")
Parts: TypeAlias = "tuple[Cache | None, ModelCache | None, TaskQueue | None]"


class Slot:
    """The parts that free functions work on, opened when first asked for."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._cache: Cache | None = None
        self._models: ModelCache | None = None
        self._metrics: Metrics | None = None
        self._own: Cache | None = None  # the cache that this slot opened
        self._close_own: Callable[[], None] | None = None
        self._closed: Cache | None = None  # the last one that it opened and closed
        self._queue: TaskQueue | None = None
        self._own_queues = LoopQueues(self._open_queue)

    def metrics(self) -> Metrics:
        """The registry of the layer."""
        with self._lock:
            if self._metrics is None:
                from penstock.observe.metrics import Metrics

                self._metrics = Metrics()
            return self._metrics

    def cache(self) -> Cache:
        """The cache in use; by default the one that the settings describe."""
        cache = self._cache
        if cache is not None:
            return cache
        with self._lock:
            if self._cache is None:
                from penstock.opening import open_layer_cache
                from penstock.settings import load_settings

                settings = load_settings().settings
                opened = open_layer_cache(settings, metrics=self.metrics())
                self._own, self._close_own = opened
                self._cache = self._own
                atexit.register(self.close)
            return self._cache

    def models(self) -> ModelCache:
        """The model cache in use."""
        with self._lock:
            if self._models is None:
                from penstock.models.cache import ModelCache

                self._models = ModelCache(metrics=self.metrics())
            return self._models

    async def queue(self) -> TaskQueue:
        """The task queue in use; by default one on the running loop, as the settings describe."""
        return self._queue or await self._own_queues.here()

    def declared(self, task: Task[..., Any]) -> None:
        """Let the queues that this slot opens run a task; one that was put in is left alone."""
        self._own_queues.add(task)

    async def start(self) -> None:
        """Open the queue of the running loop, unless one was put in or there is nothing to run."""
        from penstock.settings import load_settings

        if self._queue is None and (self._own_queues.has_tasks or load_settings().settings.include):
            await self._own_queues.here()

    def queue_sync(self) -> TaskQueue:
        """The same for plain functions; by default one on a loop in a thread of its own."""
        queue = self._queue
        if queue is None:
            queue = self._own_queues.elsewhere()
            atexit.register(self.close)
        return queue

    def _open_queue(self, tasks: Declared) -> AbstractAsyncContextManager[TaskQueue]:
        from penstock.opening import open_layer_queue
        from penstock.settings import load_settings

        return open_layer_queue(load_settings().settings, metrics=self.metrics(), tasks=tasks)

    def swap(
        self,
        cache: Cache | None,
        models: ModelCache | None,
        queue: TaskQueue | None = None,
    ) -> Parts:
        """Put other parts in; returns those that were there."""
        with self._lock:
            before = self._cache, self._models, self._queue
            self._put(cache, models, queue)
            return before

    def add(
        self, cache: Cache | None, models: ModelCache | None, queue: TaskQueue | None = None
    ) -> None:
        """Put these parts in; None keeps what is there."""
        with self._lock:
            self._put(cache or self._cache, models or self._models, queue or self._queue)

    def restore(self, before: Parts) -> None:
        """Put back what `swap` returned, except a cache that was closed meanwhile."""
        cache, models, queue = before
        with self._lock:
            self._put(None if cache is self._closed else cache, models, queue)

    def _put(self, cache: Cache | None, models: ModelCache | None, queue: TaskQueue | None) -> None:
        if self._cache is not None and cache is not self._cache:
            # Moves the head that every hit looks at: functions notice that the cache is another.
            self._cache.hub.bump("penstock.default")
        self._cache, self._models, self._queue = cache, models, queue

    async def aclose(self) -> None:
        """Stop the queues that this slot opened, and close its cache, which their jobs use."""
        await self._own_queues.close_here()
        await asyncio.to_thread(self._own_queues.close_elsewhere)
        self.close()

    def close(self) -> None:
        """Write down what waits in the cache that this slot opened, and let go of it."""
        try:
            self._own_queues.close_elsewhere()
        finally:
            self._close_cache()

    def _close_cache(self) -> None:
        with self._lock:
            own, self._own = self._own, None
            if own is not None and self._close_own is not None:
                if self._cache is own:  # and not one that an application brought
                    self._cache = None
                self._closed = own
                self._close_own()
                atexit.unregister(self.close)


slot = Slot()


def use(
    *,
    cache: Cache | None = None,
    models: ModelCache | None = None,
    queue: TaskQueue | None = None,
) -> None:
    """Let the free functions work on these parts; None keeps what is there."""
    slot.add(cache, models, queue)


@contextmanager
def using(
    *,
    cache: Cache | None = None,
    models: ModelCache | None = None,
    queue: TaskQueue | None = None,
) -> Iterator[None]:
    """The same for the length of a `with`."""
    before = slot.swap(cache, models, queue)
    try:
        yield
    finally:
        slot.restore(before)


def using_runtime(runtime: Runtime) -> AbstractContextManager[None]:
    """Let the free functions work on the parts of a server or a worker."""
    return using(cache=runtime.cache, queue=runtime.jobs)


@options_of(decorate, example='ttl="1h"')
def cached(**options: Unpack[CachedOptions]) -> Decorate:
    """Remember what a function returns, sync or async; computed once for all who ask meanwhile.

    `@cached(ttl="1h", stale="10m", tags=("user:{user}",))`; every option is described at
    `penstock.cache.decorator.decorate`. Errors are never remembered.
    """
    return decorate(slot.cache, **options)


@options_of(decorate_batch, example='over="texts"')
def cached_batch(**options: Unpack[CachedBatchOptions]) -> DecorateBatch:
    """Remember, item by item, what a function over a list returns; only misses are computed.

    `@cached_batch(over="texts", ttl="1d")`
    """
    return decorate_batch(slot.cache, **options)


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...  # type: ignore[overload-overlap]


@overload
def task(function: Callable[P, R], /) -> SyncTask[P, R]: ...


@overload
def task(**options: Unpack[TaskOptions]) -> Declare: ...


def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Let a function, sync or async, be run later as a durable job: `await fn.enqueue(...)`.

    `@task`, or `@task(retries=5, key="user:{id}", schedule="every 15m")`; every option is described
    at `penstock.tasks.Task`. The function stays callable as it was.
    """
    decorate: Any = declare(slot, **options)

    def declared(function: Callable[..., Any]) -> Any:
        made = decorate(function)
        slot.declared(made)
        return made

    return declared if function is None else declared(function)


def cache_model(name: str, *, size_bytes: Size = None) -> Callable[[Loader], Loader]:
    """Load a model once, however many ask first, and keep it for the process."""
    return models.cache_model(name, cache=slot.models, size_bytes=size_bytes)


def install(app: Any, *, stats: str | None = None) -> None:
    """Add the layer to a FastAPI or Starlette application.

    Requests get an id (`X-Request-ID` in and out), `Server-Timing` and metrics. Where the layer
    refuses (the broker of jobs is away: 503), a problem document (RFC 9457) says so, with
    `Retry-After`; an application with a handler for PenstockError keeps its own. Where tasks are
    declared, their jobs and schedules run from the start of the application; at its end the task
    queue and the cache are closed. `stats` is a path that answers with what was counted: keep it
    from the public. Call it before the application starts.
    """
    from penstock.http.request_id import RequestId
    from penstock.http.timing import Timing

    app.add_middleware(Timing, metrics=slot.metrics())
    app.add_middleware(RequestId)
    if PenstockError not in app.exception_handlers:
        app.add_exception_handler(PenstockError, _refused)
    if stats is not None:
        app.add_route(stats, _stats, methods=["GET"])
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(scope: Any) -> AsyncIterator[Any]:
        async with inner(scope) as state:
            try:
                await slot.start()
                yield state
            finally:
                await slot.aclose()

    app.router.lifespan_context = lifespan


async def _refused(request: Any, error: Exception) -> Any:
    """The answer to an error of the layer; a fault inside (500) is the application's to report."""
    from starlette.responses import Response

    from penstock.http.problems import render, report

    if request.scope["type"] != "http" or getattr(error, "status", 500) == 500:
        raise error
    report(error, slot.metrics())
    problem = render(error, request.scope)
    response = Response(problem.body, status_code=problem.status)
    response.raw_headers = problem.headers
    return response


async def _stats(_: Any) -> Any:
    import msgspec
    from starlette.responses import Response

    from penstock.http.timing import DURATION, REQUESTS

    metrics = slot.metrics()
    told = {
        "requests": int(metrics.total(REQUESTS)),
        "seconds": metrics.summary(DURATION),
        "cache": await slot.cache().stats(),
    }
    return Response(msgspec.json.encode(told), media_type="application/json")
