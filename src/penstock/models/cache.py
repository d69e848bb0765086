"""Loads each model once, however many ask at the same time, and keeps it within a budget of bytes.

    models = ModelCache(max_bytes=500_000_000)

    @models.cache_model("toxicity")
    def load_toxicity() -> Model: ...

    load_toxicity()                    # the first call loads, the others return the same object
    with models.use("toxicity") as m:  # not unloaded while the block runs

A loader is sync or async and takes no arguments. First callers wait for one load, in threads and in
event loops alike; an error reaches all of them and is not remembered. A loaded model never expires:
it leaves when the budget needs its bytes, when it was idle for `idle_seconds` and somebody calls
`unload_idle`, or when told to; never while it is in use.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from penstock.clock import Clock, SystemClock
from penstock.errors import ConfigurationError, PenstockError, ReentrantCall
from penstock.observe.metrics import Counter, Metrics

Loader = TypeVar("Loader", bound=Callable[[], Any])
Size = int | Callable[[Any], int] | None

_ABSENT: Any = object()
_loading: ContextVar[frozenset[str]] = ContextVar("penstock_models_loading", default=frozenset())


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known about one model; `load_seconds` is of the last load, None before it."""

    name: str
    loaded: bool
    size_bytes: int
    load_seconds: float | None
    loads: int
    hits: int
    users: int
    idle_seconds: float


class ModelCache:
    """Models by name: one load under any number of first calls, a byte budget, idle unload.

    A model's size is what `size_bytes` of its loader says, else its own `size_bytes` attribute,
    else 0. A model larger than the whole budget is served all the same; it only drives the others
    out.
    """

    def __init__(
        self,
        *,
        max_bytes: int | None = None,
        idle_seconds: float | None = None,
        load_timeout: float = 600.0,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._max_bytes = max_bytes
        self._idle_seconds = idle_seconds
        self._load_timeout = load_timeout
        self._clock = clock or SystemClock()
        self._metrics = metrics or Metrics()
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    def cache_model(self, name: str, *, size_bytes: Size = None) -> Callable[[Loader], Loader]:
        """Decorator: the loader runs once; each call returns the loaded model."""

        def decorate(load: Loader) -> Loader:
            return self.register(name, load, size_bytes=size_bytes)

        return decorate

    def register(self, name: str, load: Loader, *, size_bytes: Size = None) -> Loader:
        """Make `load` the loader of this name and give the function that returns the model.

        Raises ConfigurationError when another function already loads a model of this name.
        """
        hits = self._metrics.counter("penstock_model_hits_total", model=name)
        with self._lock:
            entry = self._entries.get(name)
            if entry is None:
                entry = self._entries[name] = _Entry(name, load, size_bytes, hits)
            elif _origin(entry.load) != _origin(load):
                raise ConfigurationError(
                    f"two loaders for the model {name!r}: {_origin(entry.load)} and {_origin(load)}"
                )
            entry.load = load
        if inspect.iscoroutinefunction(load):

            async def fetch() -> Any:
                return await self.fetch(name)

            return cast(Loader, fetch)

        def get() -> Any:
            return self.get(name)

        return cast(Loader, get)

    def get(self, name: str) -> Any:
        """The model, loaded in this thread or by whoever is loading it already.

        Raises ConfigurationError for an unknown name or an async loader that has not run yet.
        """
        entry = self._entry(name)
        model = entry.model
        if model is not _ABSENT:
            return self._hit(entry, model)
        if inspect.iscoroutinefunction(entry.load):
            raise ConfigurationError(
                f"the model {name!r} has an async loader: await fetch({name!r})"
            )
        while True:
            mine, pending = self._begin(entry)
            if mine:
                self._load(entry, pending)
            try:
                return pending.result(self._load_timeout)
            except _Abandoned:
                continue

    async def fetch(self, name: str) -> Any:
        """The same for event loops.

        A sync loader runs in a thread, an async one in a task that outlives its caller.
        """
        entry = self._entry(name)
        model = entry.model
        if model is not _ABSENT:
            return self._hit(entry, model)
        while True:
            mine, pending = self._begin(entry)
            if mine:
                loop = asyncio.get_running_loop()
                entry.task = loop.create_task(self._load_async(entry, pending))
            waiting = asyncio.shield(asyncio.wrap_future(pending))
            try:
                async with asyncio.timeout(self._load_timeout):
                    return await waiting
            except _Abandoned:
                continue

    @contextmanager
    def use(self, name: str) -> Iterator[Any]:
        """The model, held in memory while the block runs."""
        entry = self._entry(name)
        self._hold(entry, 1)
        try:
            yield self.get(name)
        finally:
            self._hold(entry, -1)

    @asynccontextmanager
    async def use_async(self, name: str) -> AsyncIterator[Any]:
        """The same for event loops; never blocks while the model loads."""
        entry = self._entry(name)
        self._hold(entry, 1)
        try:
            yield await self.fetch(name)
        finally:
            self._hold(entry, -1)

    def unload(self, name: str) -> bool:
        """Let go of the model; False when it is not loaded or is in use."""
        entry = self._entry(name)
        with self._lock:
            return self._drop(entry, "asked")

    def unload_idle(self) -> list[str]:
        """Let go of the models that nobody asked for during `idle_seconds`; their names."""
        if self._idle_seconds is None:
            return []
        before = self._clock.monotonic() - self._idle_seconds
        with self._lock:
            idle = [entry for entry in self._entries.values() if entry.last_used <= before]
            return [entry.name for entry in idle if self._drop(entry, "idle")]

    def stats(self) -> list[ModelInfo]:
        """One line per registered model, in order of registration."""
        now = self._clock.monotonic()
        with self._lock:
            return [entry.info(now) for entry in self._entries.values()]

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError:
            known = ", ".join(self._entries) or "none"
            raise ConfigurationError(f"no model is called {name!r}; known: {known}") from None

    def _hit(self, entry: _Entry, model: Any) -> Any:
        entry.last_used = self._clock.monotonic()
        entry.hits.add()
        return model

    def _hold(self, entry: _Entry, change: int) -> None:
        with self._lock:
            entry.users += change
            entry.last_used = self._clock.monotonic()

    def _begin(self, entry: _Entry) -> tuple[bool, Future[Any]]:
        """Whether the caller is the one to load, and what to wait for."""
        with self._lock:
            if entry.model is not _ABSENT:
                done: Future[Any] = Future()
                done.set_result(entry.model)
                return False, done
            if entry.name in _loading.get():
                raise ReentrantCall(f"the loader of the model {entry.name!r} asks for that model")
            if entry.pending is not None:
                return False, entry.pending
            entry.pending = Future()
            return True, entry.pending

    def _load(self, entry: _Entry, pending: Future[Any]) -> None:
        token = _loading.set(_loading.get() | {entry.name})
        started = self._clock.monotonic()
        try:
            model = entry.load()
        except BaseException as error:
            self._fail(entry, pending, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._keep(entry, pending, model, started=started)
        finally:
            _loading.reset(token)

    async def _load_async(self, entry: _Entry, pending: Future[Any]) -> None:
        _loading.set(_loading.get() | {entry.name})  # this task's own context
        started = self._clock.monotonic()
        try:
            if inspect.iscoroutinefunction(entry.load):
                model = await entry.load()
            else:
                model = await asyncio.to_thread(entry.load)
        except BaseException as error:
            self._fail(entry, pending, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._keep(entry, pending, model, started=started)

    def _fail(self, entry: _Entry, pending: Future[Any], error: BaseException) -> None:
        """Hand the error to all who wait; one of them begins an interrupted load again."""
        with self._lock:
            entry.pending = None
        self._metrics.count("penstock_model_load_errors_total", model=entry.name)
        pending.set_exception(error if isinstance(error, Exception) else _Abandoned())

    def _keep(self, entry: _Entry, pending: Future[Any], model: Any, *, started: float) -> None:
        now = self._clock.monotonic()
        with self._lock:
            entry.size_bytes = _size_of(model, entry.size)
            entry.load_seconds = now - started
            entry.loads += 1
            entry.last_used = now
            entry.model = model
            entry.pending = None
            self._make_room(entry)
        self._metrics.observe("penstock_model_load_seconds", now - started, model=entry.name)
        pending.set_result(model)

    def _make_room(self, newest: _Entry) -> None:
        """Drop the longest unused models until the rest fits; the lock is held."""
        total = sum(entry.size_bytes for entry in self._entries.values())
        for entry in sorted(self._entries.values(), key=lambda entry: entry.last_used):
            if self._max_bytes is None or total <= self._max_bytes:
                break
            size = entry.size_bytes
            if entry is not newest and self._drop(entry, "budget"):
                total -= size
        self._metrics.gauge("penstock_model_bytes", total)

    def _drop(self, entry: _Entry, reason: str) -> bool:
        """Forget a loaded model that nobody holds; the lock is held."""
        if entry.model is _ABSENT or entry.users:
            return False
        entry.model = _ABSENT
        entry.size_bytes = 0
        self._metrics.count("penstock_model_unloads_total", model=entry.name, reason=reason)
        return True


def cache_model(
    name: str, *, cache: Callable[[], ModelCache], size_bytes: Size = None
) -> Callable[[Loader], Loader]:
    """Like `ModelCache.cache_model`, for a cache to come: `cache()` is asked at each call."""

    def decorate(load: Loader) -> Loader:
        if inspect.iscoroutinefunction(load):

            async def fetch() -> Any:
                return await cache().register(name, load, size_bytes=size_bytes)()

            return cast(Loader, fetch)

        def get() -> Any:
            return cache().register(name, load, size_bytes=size_bytes)()

        return cast(Loader, get)

    return decorate


class _Entry:
    """A loader and, once it ran, its model."""

    __slots__ = (
        "hits", "last_used", "load", "load_seconds", "loads", "model", "name", "pending", "size",
        "size_bytes", "task", "users",
    )  # fmt: skip

    def __init__(self, name: str, load: Callable[[], Any], size: Size, hits: Counter) -> None:
        self.name = name
        self.load = load
        self.size = size
        self.hits = hits
        self.model: Any = _ABSENT
        self.pending: Future[Any] | None = None
        self.task: asyncio.Task[None] | None = (
            None  # kept, so that it is not collected while it runs
        )
        self.size_bytes = 0
        self.load_seconds: float | None = None
        self.loads = 0
        self.users = 0
        self.last_used = 0.0

    def info(self, now: float) -> ModelInfo:
        return ModelInfo(
            name=self.name,
            loaded=self.model is not _ABSENT,
            size_bytes=self.size_bytes,
            load_seconds=self.load_seconds,
            loads=self.loads,
            hits=int(self.hits.value),
            users=self.users,
            idle_seconds=now - self.last_used,
        )


class _Abandoned(PenstockError):
    """The load was interrupted before it ended."""


def _origin(load: Callable[[], Any]) -> str:
    return f"{getattr(load, '__module__', '?')}.{getattr(load, '__qualname__', repr(load))}"


def _size_of(model: Any, size: Size) -> int:
    if callable(size):
        return size(model)
    return int(getattr(model, "size_bytes", 0)) if size is None else size
