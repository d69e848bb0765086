"""The types of decorators and decorated functions, for those who read and check code."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, Protocol, Required, TypedDict, TypeVar, cast, overload

from penstock.cache.entry import Hit
from penstock.cache.plan import OnError, Ttl
from penstock.clock import Seconds

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class CachedOptions(TypedDict, total=False):
    """What `cached` may be given; described at `penstock.cache.decorator.decorate`."""

    ttl: Ttl | None
    max_age: Ttl | None
    stale: Seconds
    jitter: float | None
    negative_ttl: Seconds | None
    namespace: str | Callable[..., str] | None
    version: str | int
    tags: Sequence[str]
    tiers: Sequence[str] | None
    type: Any
    cache_if: Callable[[Any], object] | None
    on_error: OnError
    ignore: Sequence[str]
    normal_form: bool


class CachedBatchOptions(TypedDict, total=False):
    """What `cached_batch` may be given; described at `penstock.cache.batch.decorate_batch`."""

    over: Required[str]
    ttl: Ttl | None
    stale: Seconds
    jitter: float | None
    negative_ttl: Seconds | None
    namespace: str | None
    version: str | int
    tags: Sequence[str]
    type: Any
    cache_if: Callable[[Any], object] | None
    ignore: Sequence[str]
    normal_form: bool


def options_of(decorate: Callable[..., Any], *, example: str) -> Callable[[F], F]:
    """Let a function of `**options` show those of `decorate`, and refuse what is none of them.

    Type checkers read the options from `Unpack`; `help` and `inspect` would show its name alone.
    """
    options = [
        parameter
        for parameter in inspect.signature(decorate).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    known = [option.name for option in options]

    def apply(function: F) -> F:
        name, own = function.__name__, inspect.signature(function)
        places = [p for p in own.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]

        @functools.wraps(function)
        def call(*args: Any, **given: Any) -> Any:
            if len(args) > len(places):  # most often the function, under a bare `@cached`
                raise TypeError(
                    f"{name} takes options, by name: write @{name}(...), as in @{name}({example})"
                )
            if strangers := [option for option in given if option not in known]:
                raise TypeError(f"{name} has no option {strangers[0]!r}; known: {', '.join(known)}")
            return function(*args, **given)

        vars(call)["__signature__"] = own.replace(parameters=[*places, *options])
        return cast(F, call)

    return apply


class AsyncCached(Protocol[P, R]):
    """A remembered coroutine function."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function returns, remembered or computed."""

    async def lookup(self, *args: P.args, **kwargs: P.kwargs) -> Hit:
        """The same, with where it came from and how old it is."""

    async def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result computed anew, and remembered."""

    async def get_many(self, calls: Sequence[Any]) -> list[R]:
        """The results of many calls; each is a tuple of arguments, or a single one."""

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result for these arguments; tells whether there was one."""

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which the result for these arguments is kept."""


class SyncCached(Protocol[P, R]):
    """A remembered plain function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function returns, remembered or computed."""

    def lookup(self, *args: P.args, **kwargs: P.kwargs) -> Hit:
        """The same, with where it came from and how old it is."""

    def refresh(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The result computed anew, and remembered."""

    def get_many(self, calls: Sequence[Any]) -> list[R]:
        """The results of many calls; each is a tuple of arguments, or a single one."""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Forget the result for these arguments; tells whether there was one."""

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which the result for these arguments is kept."""


class Decorate(Protocol):
    """What `cached(...)` gives."""

    # The second overload would take coroutine functions too; the order decides.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Coroutine[Any, Any, T]]
    ) -> AsyncCached[P, T]: ...

    @overload
    def __call__(self, function: Callable[P, T]) -> SyncCached[P, T]: ...


class CachedBatch(Protocol):
    """A remembered coroutine function from a list of items to a list of results."""

    async def __call__(self, *args: Any, **kwargs: Any) -> list[Any]:
        """One result per item, in order; computes those that are not known."""

    async def lookup(self, *args: Any, **kwargs: Any) -> list[Hit]:
        """The same, with where each came from."""

    async def invalidate(self, *args: Any, **kwargs: Any) -> int:
        """Forget the results of these items; returns how many there were."""

    def keys(self, *args: Any, **kwargs: Any) -> list[str]:
        """The keys of the items, in order."""


class DecorateBatch(Protocol):
    """What `cached_batch(...)` gives."""

    def __call__(self, function: Callable[P, Coroutine[Any, Any, Sequence[T]]]) -> CachedBatch: ...
