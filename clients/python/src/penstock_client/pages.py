"""Lists that the server gives page by page, read as one."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from penstock_client.flow import Flow

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a longer list; `next` leads to the part after it, None on the last one."""

    items: list[T]
    next: str | None


class Paged(Iterable[T], Generic[T]):
    """A list that is fetched while it is read by `for`. Nothing is asked for until then."""

    def __init__(
        self,
        run: Callable[[Flow[Page[T]]], Page[T]],
        fetch: Callable[[str | None], Flow[Page[T]]],
    ) -> None:
        self._run = run
        self._fetch = fetch

    def pages(self, cursor: str | None = None) -> Iterator[Page[T]]:
        """Whole pages, from the first one on, or from the `next` of a page that was read before."""
        more = True
        while more:
            page = self._run(self._fetch(cursor))
            yield page
            cursor, more = page.next, page.next is not None

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.items


class AsyncPaged(AsyncIterable[T], Generic[T]):
    """A list that is fetched while it is read by `async for`. Nothing is asked for until then."""

    def __init__(
        self,
        run: Callable[[Flow[Page[T]]], Awaitable[Page[T]]],
        fetch: Callable[[str | None], Flow[Page[T]]],
    ) -> None:
        self._run = run
        self._fetch = fetch

    async def pages(self, cursor: str | None = None) -> AsyncIterator[Page[T]]:
        """Whole pages, from the first one on, or from the `next` of a page that was read before."""
        more = True
        while more:
            page = await self._run(self._fetch(cursor))
            yield page
            cursor, more = page.next, page.next is not None

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item
