"""The one slot that `from penstock import cached, ...` binds to.

Nothing is built at import: the first call of a decorated function reads the settings and opens a
cache. An application that wants its own parts puts them into the slot with `use`; tests put theirs
in for the length of a `with`.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Unpack

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

if TYPE_CHECKING:
    from penstock.cache import Cache
    from penstock.models.cache import ModelCache
    from penstock.observe.metrics import Metrics


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

    def swap(
        self, cache: Cache | None, models: ModelCache | None
    ) -> tuple[Cache | None, ModelCache | None]:
        """Put other parts in; returns those that were there."""
        with self._lock:
            before = self._cache, self._models
            self._put(cache, models)
            return before

    def add(self, cache: Cache | None, models: ModelCache | None) -> None:
        """Put these parts in; None keeps what is there."""
        with self._lock:
            self._put(cache or self._cache, models or self._models)

    def restore(self, before: tuple[Cache | None, ModelCache | None]) -> None:
        """Put back what `swap` returned, except a cache that was closed meanwhile."""
        cache, models = before
        with self._lock:
            self._put(None if cache is self._closed else cache, models)

    def _put(self, cache: Cache | None, models: ModelCache | None) -> None:
        if self._cache is not None and cache is not self._cache:
            # Moves the head that every hit looks at: functions notice that the cache is another.
            self._cache.hub.bump("penstock.default")
        self._cache, self._models = cache, models

    def close(self) -> None:
        """Write down what waits in the cache that this slot opened, and let go of it."""
        with self._lock:
            own, self._own = self._own, None
            if own is not None and self._close_own is not None:
                if self._cache is own:  # and not one that an application brought
                    self._cache = None
                self._closed = own
                self._close_own()
                atexit.unregister(self.close)


slot = Slot()


def use(*, cache: Cache | None = None, models: ModelCache | None = None) -> None:
    """Let the free functions work on these parts; None keeps what is there."""
    slot.add(cache, models)


@contextmanager
def using(*, cache: Cache | None = None, models: ModelCache | None = None) -> Iterator[None]:
    """The same for the length of a `with`."""
    before = slot.swap(cache, models)
    try:
        yield
    finally:
        slot.restore(before)


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


def cache_model(name: str, *, size_bytes: Size = None) -> Callable[[Loader], Loader]:
    """Load a model once, however many ask first, and keep it for the process."""
    return models.cache_model(name, cache=slot.models, size_bytes=size_bytes)


def install(app: Any, *, stats: str | None = None) -> None:
    """Add the layer to a FastAPI or Starlette application.

    Requests get an id (`X-Request-ID` in and out), `Server-Timing` and metrics; the cache is closed
    when the application ends. `stats` is a path that answers with what was counted: keep it from
    the public. Call it before the application starts.
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
                slot.close()

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
