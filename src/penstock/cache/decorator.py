"""`@cached` and `@cached_batch`: a function that remembers what it returned.

A decorated function stays a plain function of the same kind, sync or async, with `lookup`,
`get_many`, `invalidate`, `refresh` and `key` beside it. The two `call`s below are the hot path of
the whole project: a hit by one string costs a look into a dict, four comparisons and two counters.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, cast

from penstock.cache.call import CachedCall, Options
from penstock.cache.entry import Entry, Hit
from penstock.cache.memory import MAX_CREDIT
from penstock.cache.plan import OnError, Ttl
from penstock.cache.shapes import Decorate
from penstock.clock import Seconds, SystemClock
from penstock.errors import ConfigurationError

if TYPE_CHECKING:
    from penstock.cache.tiers import Cache

CONCURRENCY = 32  # computations that one get_many starts at a time


def decorate(
    source: Callable[[], Cache],
    *,
    ttl: Ttl | None = None,
    max_age: Ttl | None = None,
    stale: Seconds = 0.0,
    jitter: float | None = None,
    negative_ttl: Seconds | None = None,
    namespace: str | Callable[..., str] | None = None,
    version: str | int = "",
    tags: Sequence[str] = (),
    tiers: Sequence[str] | None = None,
    type: Any = None,
    cache_if: Callable[[Any], object] | None = None,
    on_error: OnError = "raise",
    ignore: Sequence[str] = (),
    normal_form: bool = False,
) -> Decorate:
    """A decorator for functions whose results the cache of `source()` is to remember.

    `ttl` (or `max_age`, the same) is in seconds or words ("1h"), or a function of the result. For
    `stale` seconds after it the old result is still served while one caller's refresh runs.
    `jitter` shortens each ttl by up to that share. `negative_ttl` is for None as a result.
    `namespace` is a text or a function of the arguments. `version` changes with the meaning of the
    results. `tags` may name arguments: "policy:{policy}". `type` is read back from disk; by default
    what the function is annotated to return. `on_error="stale"` serves the last known result when
    computing fails. Arguments named in `ignore` are not part of the key. With `normal_form`,
    texts that differ in Unicode composition, line ends or outer blanks alone share a result.
    """
    if ttl is not None and max_age is not None:
        raise ConfigurationError("ttl and max_age mean the same: give one of them")
    options = Options(
        ttl=max_age if ttl is None else ttl,
        stale=stale,
        jitter=jitter,
        negative_ttl=negative_ttl,
        namespace=namespace,
        version=version,
        tags=tags,
        tiers=tiers,
        type=type,
        cache_if=cache_if,
        on_error=on_error,
        ignore=ignore,
        normal_form=normal_form,
    )

    def apply(function: Callable[..., Any]) -> Any:
        call = CachedCall(function, options, source)
        if inspect.iscoroutinefunction(function):
            return _decorate_async(function, call)
        return _decorate_sync(function, call)

    return cast(Decorate, apply)


def _decorate_async(function: Callable[..., Awaitable[Any]], called: CachedCall) -> Any:
    # Set by `rebound`; until then nothing is found and the rest is not looked at.
    find: Callable[[Any], Entry | None] = _nothing
    heads: Sequence[int] = ()
    view: Any = None
    hits: Any = None
    now = SystemClock.now

    def rebound(cache: Cache, aliases: dict[Hashable, Entry]) -> None:
        nonlocal find, heads, view, hits, now
        heads, view, hits = cache.hub.heads, cache.cascade.coherence, cache.cascade.memory_hits
        now = cache.clock.now
        find = aliases.get

    async def call(argument: Any) -> Any:
        if type(argument) is str:  # exactly: a StrEnum equals its text, and is not it
            entry = find(argument)
            if (
                entry is not None
                and heads[0] == view.position
                and entry.epoch == view.epoch
                and now() < entry.fresh_until
            ):
                if entry.hits < MAX_CREDIT:
                    entry.hits += 1
                hits.value += 1
                thaw = entry.thaw
                return entry.value if thaw is None else thaw(entry.value)
        return (await lookup(argument)).value

    async def call_any(*args: Any, **kwargs: Any) -> Any:
        return (await lookup(*args, **kwargs)).value

    async def lookup(*args: Any, **kwargs: Any) -> Hit:
        cache = called.cache(rebound)
        if not cache.enabled:
            return Hit(await function(*args, **kwargs), "computed")
        shortcut = called.shortcut(args, kwargs)
        hit = None if shortcut is None else cache.peek_entry(find(shortcut))
        if hit is None:
            key = cache.full_key(called.key(args, kwargs))
            plan = called.plan(args, kwargs)
            hit = await cache.through.run(key, lambda: function(*args, **kwargs), plan)
            called.remember_shortcut(shortcut, key)
        return hit

    async def refresh(*args: Any, **kwargs: Any) -> Any:
        cache = called.cache(rebound)
        key = cache.full_key(called.key(args, kwargs))
        plan = called.plan(args, kwargs)
        return (await cache.through.refresh(key, lambda: function(*args, **kwargs), plan)).value

    async def invalidate(*args: Any, **kwargs: Any) -> bool:
        return await called.cache(rebound).delete(called.key(args, kwargs)) > 0

    async def get_many(calls: Sequence[Any]) -> list[Any]:
        places = asyncio.Semaphore(CONCURRENCY)

        async def one(args: tuple[Any, ...]) -> Any:
            async with places:
                return (await lookup(*args)).value

        return await asyncio.gather(*map(one, map(_as_arguments, calls)))

    wrapper = _named_like(function, call) if called.argument else call_any
    return _with_methods(wrapper, called, lookup, refresh, invalidate, get_many)


def _decorate_sync(function: Callable[..., Any], called: CachedCall) -> Any:
    find: Callable[[Any], Entry | None] = _nothing
    heads: Sequence[int] = ()
    view: Any = None
    hits: Any = None
    now = SystemClock.now

    def rebound(cache: Cache, aliases: dict[Hashable, Entry]) -> None:
        nonlocal find, heads, view, hits, now
        heads, view, hits = cache.hub.heads, cache.cascade.coherence, cache.cascade.memory_hits
        now = cache.clock.now
        find = aliases.get

    # Word for word as above: a shared function would cost a call.
    def call(argument: Any) -> Any:
        if type(argument) is str:  # exactly: a StrEnum equals its text, and is not it
            entry = find(argument)
            if (
                entry is not None
                and heads[0] == view.position
                and entry.epoch == view.epoch
                and now() < entry.fresh_until
            ):
                if entry.hits < MAX_CREDIT:
                    entry.hits += 1
                hits.value += 1
                thaw = entry.thaw
                return entry.value if thaw is None else thaw(entry.value)
        return lookup(argument).value

    def call_any(*args: Any, **kwargs: Any) -> Any:
        return lookup(*args, **kwargs).value

    def lookup(*args: Any, **kwargs: Any) -> Hit:
        cache = called.cache(rebound)
        if not cache.enabled:
            return Hit(function(*args, **kwargs), "computed")
        shortcut = called.shortcut(args, kwargs)
        hit = None if shortcut is None else cache.peek_entry(find(shortcut))
        if hit is None:
            key = cache.full_key(called.key(args, kwargs))
            plan = called.plan(args, kwargs)
            hit = cache.through.run_blocking(key, lambda: function(*args, **kwargs), plan)
            called.remember_shortcut(shortcut, key)
        return hit

    def refresh(*args: Any, **kwargs: Any) -> Any:
        cache = called.cache(rebound)
        key = cache.full_key(called.key(args, kwargs))
        plan = called.plan(args, kwargs)
        return cache.through.refresh_blocking(key, lambda: function(*args, **kwargs), plan).value

    def invalidate(*args: Any, **kwargs: Any) -> bool:
        cache = called.cache(rebound)
        return cache.forget([cache.full_key(called.key(args, kwargs))]) > 0

    def get_many(calls: Sequence[Any]) -> list[Any]:
        return [lookup(*_as_arguments(one)).value for one in calls]

    wrapper = _named_like(function, call) if called.argument else call_any
    return _with_methods(wrapper, called, lookup, refresh, invalidate, get_many)


def _with_methods(call: Any, called: CachedCall, *methods: Callable[..., Any]) -> Any:
    functools.update_wrapper(call, called.function)
    for method in methods:
        setattr(call, method.__name__, method)
    call.key = lambda *args, **kwargs: called.key(args, kwargs)
    return call


def _named_like(function: Callable[..., Any], call: Any) -> Any:
    """Give the one parameter of `call` the name and the default that it has in `function`.

    A parameter of its own, where `*args, **kwargs` would do, saves a third of a hit.
    """
    (name,) = inspect.signature(function).parameters
    code = call.__code__
    call.__code__ = code.replace(co_varnames=(name, *code.co_varnames[1:]))
    call.__defaults__ = getattr(function, "__defaults__", None)
    return call


def _as_arguments(one: Any) -> tuple[Any, ...]:
    return one if type(one) is tuple else (one,)


def _nothing(_: object) -> None:
    return None
