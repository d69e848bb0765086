"""One tier of a cache: a store whose failures harm nobody, with its counters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from penstock.cache.breaker import Breaker
from penstock.cache.entry import Entry, EntryInfo, Selection, Source, TierStats
from penstock.cache.store import LocalStore, Store
from penstock.clock import Clock
from penstock.observe.metrics import Counter, Metrics

T = TypeVar("T")


class Tier:
    """Asks a store; an error counts, opens the breaker when it repeats, and reads as "nothing"."""

    def __init__(self, store: Store, *, clock: Clock, metrics: Metrics | None) -> None:
        self.name = store.name
        self.source: Source = store.name  # type: ignore[assignment]  # a tier names its hits
        self.store = store
        self.local = store if isinstance(store, LocalStore) else None
        self.breaker = Breaker(store.name, clock)
        self.hits = _counter(metrics, "penstock_cache_hits_total", self.name)
        self.misses = _counter(metrics, "penstock_cache_misses_total", self.name)
        self.errors = _counter(metrics, "penstock_cache_errors_total", self.name)

    # Reads, writes and removals of local stores, at once.

    def get(self, key: str) -> Entry | None:
        """One entry; written out, because most calls of the cache come through here."""
        breaker = self.breaker
        if self.local is None or (breaker.in_a_row and not breaker.allows()):
            return None
        try:
            entry = self.local.get(key)
        except Exception as error:  # the cache may fail, the answer may not
            self.failed(error)
            return None
        if breaker.in_a_row:
            breaker.succeeded()
        return entry

    def read(self, keys: Sequence[str]) -> dict[str, Entry]:
        return self._guard(lambda store: store.read(keys), {})

    def write(self, entries: Sequence[Entry]) -> None:
        self._guard(lambda store: store.write(entries), None)

    def remove(self, keys: Sequence[str], *, yields: bool = False) -> int:
        return self._guard(lambda store: store.remove(keys, yields=yields), 0)

    def withdraw(self, meant: Callable[[str], object]) -> None:
        self._guard(lambda store: store.withdraw(meant), None)

    def watch(self, catch_up: Callable[[], None]) -> None:
        self._guard(lambda store: store.watch(catch_up), None)

    def settled(self) -> Future[Any] | None:
        return self._guard(lambda store: store.settled(), None)

    # The same of any store, and the rare things.

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        return await self._guard_async(lambda: self.store.get_many(keys), {})

    async def set_many(self, entries: Sequence[Entry]) -> None:
        await self._guard_async(lambda: self.store.set_many(entries), None)

    async def delete(self, keys: Sequence[str]) -> int:
        return await self._guard_async(lambda: self.store.delete(keys), 0)

    async def clear(self, selection: Selection) -> int:
        return await self._guard_async(lambda: self.store.clear(selection), 0)

    async def scan(self, pattern: str, limit: int) -> list[EntryInfo]:
        return await self._guard_async(lambda: self.store.scan(pattern, limit), [])

    async def sweep(self) -> int:
        return await self._guard_async(self.store.sweep, 0)

    async def stats(self) -> TierStats:
        stats = await self._guard_async(self.store.stats, TierStats())
        stats.hits = int(self.hits.value)
        stats.misses = int(self.misses.value)
        stats.errors += int(self.errors.value)
        if self.breaker.is_open:
            stats.state, stats.detail = "down", self.breaker.detail
        return stats

    async def aclose(self) -> None:
        await self._guard_async(self.store.aclose, None)

    def failed(self, error: Exception) -> None:
        """Note a failure of the store."""
        self.errors.value += 1
        self.breaker.failed(error)

    def _guard(self, ask: Callable[[LocalStore], T], nothing: T) -> T:
        if self.local is None or not self.breaker.allows():
            return nothing
        try:
            answer = ask(self.local)
        except Exception as error:  # the cache may fail, the answer may not
            self.failed(error)
            return nothing
        self.breaker.succeeded()
        return answer

    async def _guard_async(self, ask: Callable[[], Awaitable[T]], nothing: T) -> T:
        if not self.breaker.allows():
            return nothing
        try:
            answer = await ask()
        except Exception as error:  # the cache may fail, the answer may not
            self.failed(error)
            return nothing
        self.breaker.succeeded()
        return answer


def _counter(metrics: Metrics | None, name: str, tier: str) -> Counter:
    if metrics is not None:
        return metrics.counter(name, tier=tier)
    return Counter(name, (("tier", tier),))
