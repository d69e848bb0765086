"""The one slot that `from penstock import cached, task, ...` binds to.

Nothing is built at import: the first call of a decorated function reads the settings and opens a
cache, the first `enqueue` a task queue. An application that wants its own parts puts them into the
slot with `use`; tests put theirs in for the length of a `with`.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from typing import (
    TYPE_CHECKING,
    Any,
    NamedTuple,
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
from penstock.models import cache as models
from penstock.models.cache import Loader, Size
from penstock.tasks.options import TaskOptions
from penstock.tasks.task import AsyncTask, Declare, SyncTask, declare

if TYPE_CHECKING:
    from penstock.cache import Cache
    from penstock.models.cache import ModelCache
    from penstock.observe.metrics import Metrics
    from penstock.runtime import Runtime
    from penstock.tasks.queue import TaskQueue

P = ParamSpec("P")
R = TypeVar("R")
Parts: TypeAlias = "tuple[Cache | None, ModelCache | None, TaskQueue | None]"


class OwnQueues:
    """The task queues that the slot opened: one for each event loop that asked.

    A queue stops when its loop ends, because its keeper is then cancelled with all other tasks;
    what has not run stays queued on disk, for the next process.
    """

    def __init__(self, metrics: Callable[[], Metrics]) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._kept: dict[asyncio.AbstractEventLoop, Kept] = {}
        self._thread: tuple[threading.Thread, asyncio.AbstractEventLoop] | None = None

    async def here(self) -> TaskQueue:
        """The queue of the running loop."""
        loop = asyncio.get_running_loop()
        kept = self._kept.get(loop)
        if kept is None or kept.keeper.done():
            with self._lock:
                for ended in [other for other in self._kept if other.is_closed()]:
                    del self._kept[ended]
                opened: asyncio.Future[TaskQueue] = loop.create_future()
                keeper = asyncio.ensure_future(self._keep(opened))
                kept = self._kept[loop] = Kept(keeper, opened)
        return await asyncio.shield(kept.opened)

    async def _keep(self, opened: asyncio.Future[TaskQueue]) -> None:
        from penstock.runtime import open_layer_queue
        from penstock.settings import load_settings

        try:
            settings = load_settings().settings
            async with open_layer_queue(settings, metrics=self._metrics()) as queue:
                opened.set_result(queue)
                await asyncio.Event().wait()  # until it is cancelled
        except Exception as error:
            if opened.done():
                raise
            opened.set_exception(error)

    async def close_here(self) -> None:
        """Stop the queue of the running loop, if there is one."""
        kept = self._kept.pop(asyncio.get_running_loop(), None)
        if kept is not None:
            kept.keeper.cancel()
            with suppress(asyncio.CancelledError):
                await kept.keeper

    def elsewhere(self) -> TaskQueue:
        """A queue on a loop that runs in another thread; that thread is started if need be."""
        with self._lock:
            for loop, kept in self._kept.items():
                if loop.is_running() and kept.opened.done() and not kept.keeper.done():
                    return kept.opened.result()
            if self._thread is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(
                    target=loop.run_forever, name="penstock-tasks", daemon=True
                )
                thread.start()
                self._thread = thread, loop
            loop = self._thread[1]
        return asyncio.run_coroutine_threadsafe(self.here(), loop).result()

    def close_elsewhere(self) -> None:
        """Stop the queue of that thread, and the thread."""
        with self._lock:
            known, self._thread = self._thread, None
        if known is not None:
            thread, loop = known
            asyncio.run_coroutine_threadsafe(self.close_here(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


class Kept(NamedTuple):
    """An open queue and the task that closes it."""

    keeper: asyncio.Task[None]
    opened: asyncio.Future[TaskQueue]


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
        self._own_queues = OwnQueues(self.metrics)

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
                from penstock.runtime import open_layer_cache
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

    def queue_sync(self) -> TaskQueue:
        """The same for plain functions; by default one on a loop in a thread of its own."""
        queue = self._queue
        if queue is None:
            queue = self._own_queues.elsewhere()
            atexit.register(self.close)
        return queue

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
        self._own_queues.close_elsewhere()
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
    decorator: Any = declare(slot, **options)
    return decorator if function is None else decorator(function)


def cache_model(name: str, *, size_bytes: Size = None) -> Callable[[Loader], Loader]:
    """Load a model once, however many ask first, and keep it for the process."""
    return models.cache_model(name, cache=slot.models, size_bytes=size_bytes)


def install(app: Any, *, stats: str | None = None) -> None:
    """Add the layer to a FastAPI or Starlette application.

    Requests get an id (`X-Request-ID` in and out), `Server-Timing` and metrics; the cache and the
    task queue are closed when the application ends. `stats` is a path that answers with what was
    counted: keep it from the public. Call it before the application starts.
    """
    from penstock.http.request_id import RequestId
    from penstock.http.timing import Timing

    app.add_middleware(Timing, metrics=slot.metrics())
    app.add_middleware(RequestId)
    if stats is not None:
        app.add_route(stats, _stats, methods=["GET"])
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(scope: Any) -> AsyncIterator[Any]:
        async with inner(scope) as state:
            try:
                yield state
            finally:
                await slot.aclose()

    app.router.lifespan_context = lifespan


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
