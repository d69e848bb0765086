"""The types of decorated functions, for those who read and check code."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from penstock.cache.entry import Hit

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


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
