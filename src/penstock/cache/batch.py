"""`@cached_batch`: a function over a list of items that computes only those that nobody knows.

Each item has a key of its own, so it is known however it arrives: in another batch, in another
order, or at the same time, when it is waited for and not computed again.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from penstock.cache.call import CachedCall, Options
from penstock.cache.entry import Hit
from penstock.cache.plan import Ttl
from penstock.cache.shapes import CachedBatch, DecorateBatch
from penstock.clock import Seconds
from penstock.errors import ConfigurationError

if TYPE_CHECKING:
    from penstock.cache.tiers import Cache


def decorate_batch(
    source: Callable[[], Cache],
    *,
    over: str,
    ttl: Ttl | None = None,
    stale: Seconds = 0.0,
    jitter: float | None = None,
    negative_ttl: Seconds | None = None,
    namespace: str | None = None,
    version: str | int = "",
    tags: Sequence[str] = (),
    type: Any = Any,
    cache_if: Callable[[Any], object] | None = None,
    ignore: Sequence[str] = (),
    normal_form: bool = False,
) -> DecorateBatch:
    """A decorator for coroutine functions that take a list and return one result for each item.

    `over` names the argument with the list; the other arguments are part of every item's key. The
    function is called with the unknown items only, in order and without repetitions. `type` is that
    of one result. An error of the function reaches every caller that waits for one of its items.
    """
    options = Options(
        ttl=ttl,
        stale=stale,
        jitter=jitter,
        negative_ttl=negative_ttl,
        namespace=namespace,
        version=version,
        tags=tags,
        type=type,
        cache_if=cache_if,
        ignore=ignore,
        normal_form=normal_form,
    )

    def apply(function: Callable[..., Any]) -> CachedBatch:
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"{function.__qualname__} is no coroutine function")
        if over not in inspect.signature(function).parameters:
            raise ConfigurationError(f"{function.__qualname__} has no argument {over!r}")
        return _decorate(function, CachedCall(function, options, source), over)

    return cast(DecorateBatch, apply)


def _decorate(function: Callable[..., Any], called: CachedCall, over: str) -> CachedBatch:
    def cache() -> Cache:
        return called.cache(lambda _cache, _aliases: None)

    def split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        arguments = called.bind(args, kwargs)
        return list(arguments.pop(over)), arguments

    def keys(*args: Any, **kwargs: Any) -> list[str]:
        items, rest = split(args, kwargs)
        return [called.item_key(item, over, rest) for item in items]

    async def lookup(*args: Any, **kwargs: Any) -> list[Hit]:
        items, rest = split(args, kwargs)
        memory = cache()
        if not memory.enabled:
            return [Hit(v, "computed") for v in await called.apply({**rest, over: items})]
        full = [memory.full_key(called.item_key(item, over, rest)) for item in items]
        by_key = dict(zip(full, items, strict=True))

        async def compute(missing: list[str]) -> Sequence[Any]:
            chosen = [by_key[key] for key in missing]
            return cast(Sequence[Any], await called.apply({**rest, over: chosen}))

        return await memory.through.run_many(full, compute, called.plan_for(rest))

    async def invalidate(*args: Any, **kwargs: Any) -> int:
        return await cache().delete(*keys(*args, **kwargs))

    @functools.wraps(function)
    async def call(*args: Any, **kwargs: Any) -> list[Any]:
        return [hit.value for hit in await lookup(*args, **kwargs)]

    batch: Any = call
    batch.lookup, batch.invalidate, batch.keys = lookup, invalidate, keys
    return cast(CachedBatch, batch)
