"""The cache: read through the tiers, compute once, forget by key, pattern, tag or namespace.

    get, lookup        memory ─► disk ─► (remote)         what a lower tier has moves up
    fetch              the same, then one computation for all who wait; never caches an error
    set, delete        every tier; once it is on disk, other processes are told, and drop the key
                       from memory on their next call
    clear              by pattern (preview with `scan`), or at once by tag and namespace

Keys are `namespace:rest`. Every method may be called from any thread and any event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Unpack

from msgspec.structs import replace

from penstock.cache import shapes
from penstock.cache.batch import decorate_batch
from penstock.cache.cascade import Cascade
from penstock.cache.decorator import decorate
from penstock.cache.entry import (
    CacheStats,
    Entry,
    EntryInfo,
    Hit,
    Selection,
    freeze,
)
from penstock.cache.flight import Flights
from penstock.cache.keeping import Keeping
from penstock.cache.keys import as_text
from penstock.cache.memory import touch
from penstock.cache.patterns import check, escape
from penstock.cache.plan import Codecs, Lifetimes, MaxAge, Plan, Ttl, age_limit
from penstock.cache.store import Store
from penstock.cache.through import ComputeMany, ReadThrough
from penstock.clock import Clock, Seconds, SystemClock, seconds
from penstock.errors import ConfigurationError
from penstock.hub.hub import Hub
from penstock.observe.metrics import Metrics


class Cache:
    """Ordered tiers behind one face; the first of `stores` is asked first."""

    def __init__(
        self,
        stores: Sequence[Store],
        *,
        hub: Hub,
        clock: Clock | None = None,
        ttl: float = 3600.0,
        max_ttl: float = 86400.0,
        max_ttl_of: Mapping[str, float] | None = None,
        jitter: float = 0.1,
        prefix: str = "penstock",
        metrics: Metrics | None = None,
        enabled: bool = True,
    ) -> None:
        self.hub = hub
        self.clock = clock or SystemClock()
        self.jitter = jitter
        self.prefix = prefix + ":"
        self.enabled = enabled
        self.flights = Flights()
        self.cascade = Cascade(
            stores,
            hub=hub,
            clock=self.clock,
            prefix=self.prefix,
            metrics=metrics,
            supersede=self.flights.supersede,
        )
        self.memory = self.cascade.memory
        lifetimes = Lifetimes(ttl, max_ttl, dict(max_ttl_of or {}))
        self.keeping = Keeping(
            self.cascade, clock=self.clock, lifetimes=lifetimes, prefix=self.prefix
        )
        self.through = ReadThrough(
            self.cascade, self.flights, hub=hub, keeping=self.keeping, metrics=metrics
        )
        self.codecs = Codecs()
        self._any = Plan(codec=self.codecs.of(Any))
        self._opened = self.clock.monotonic()

    # --- reading -----------------------------------------------------------------------------

    def peek(self, key: str, *, max_age: MaxAge | None = None) -> Hit | None:
        """A fresh hit of the memory tier, or None; never waits. For hot paths."""
        if self.memory is None:
            return None
        return self.peek_entry(self.memory.entries.get(self.full_key(key)), max_age)

    def peek_entry(self, entry: Entry | None, max_age: MaxAge | None = None) -> Hit | None:
        """The hit that an entry of the memory tier is, if it is certain without looking further."""
        if entry is None:
            return None
        coherence = self.cascade.coherence
        if self.hub.heads[0] != coherence.position or entry.epoch != coherence.epoch:
            return None
        now = self.clock.now()
        if now >= entry.fresh_until:
            return None
        value = entry.value if entry.thaw is None else entry.thaw(entry.value)
        age = max(0.0, now - entry.created)
        if max_age is not None and age > age_limit(max_age, value):
            return None
        touch(entry)
        self.cascade.memory_hits.value += 1
        return Hit(value, "memory", age)

    async def lookup(
        self, key: str, *, type: Any = Any, max_age: MaxAge | None = None
    ) -> Hit | None:
        """The value with where it came from, or None. A stale one is marked, not hidden."""
        if not self.enabled:
            return None
        plan = self.plan(type=type, max_age=max_age)
        full = self.full_key(key)
        return self.cascade.find(full, plan) or await self._find_far(full, plan)

    async def get(self, key: str, default: Any = None, *, type: Any = Any) -> Any:
        """The value, or `default`; None, 0 and "" are values."""
        if not self.enabled:
            return default
        plan = self._any if type is Any else self.plan(type=type)
        full = self.full_key(key)
        hit = self.cascade.find(full, plan) or await self._find_far(full, plan)
        return default if hit is None else hit.value

    async def _find_far(self, full_key: str, plan: Plan) -> Hit | None:
        hit = None
        if self.cascade.remote:
            hit = await self.cascade.find_remote(full_key, plan)
        if hit is None:
            self.through.misses.value += 1
        return hit

    async def get_many(self, keys: Sequence[str], *, type: Any = Any) -> dict[str, Hit]:
        """The hits for many keys, with one question to each tier."""
        if not self.enabled:
            return {}
        full_key = self.full_key
        names = {full_key(key): key for key in keys}
        found = await self.cascade.find_many(names, self.plan(type=type))
        self.through.misses.value += len(names) - len(found)
        return {names[full]: hit for full, hit in found.items()}

    async def fetch(
        self,
        key: str,
        compute: Callable[[], Awaitable[Any]],
        *,
        type: Any = Any,
        ttl: Ttl | None = None,
        stale: Seconds = 0.0,
        tags: Sequence[str] = (),
        cache_if: Callable[[Any], object] | None = None,
        max_age: MaxAge | None = None,
    ) -> Hit:
        """The value, computed if need be: once for all who ask for it meanwhile.

        Raises what `compute` raises; errors are not remembered. `ttl` may depend on the value.
        """
        if not self.enabled:
            return Hit(await compute(), "computed")
        plan = Plan(
            codec=self.codecs.of(type),
            ttl=ttl,
            stale=seconds(stale),
            jitter=self.jitter,
            tags=tuple(tags),
            cache_if=cache_if,
            max_age=max_age,
        )
        return await self.through.run(self.full_key(key), compute, plan)

    async def fetch_many(
        self,
        keys: Sequence[str],
        compute: ComputeMany,
        *,
        type: Any = Any,
        ttl: Ttl | None = None,
        tags: Sequence[str] = (),
    ) -> list[Hit]:
        """Hits in the order of `keys`; `compute` is given the keys that are missing.

        It returns one value for each, in that order. Keys that others compute are waited for.
        """
        names = {self.full_key(key): key for key in keys}

        async def compute_full(missing: list[str]) -> Sequence[Any]:
            return await compute([names[full] for full in missing])

        plan = Plan(codec=self.codecs.of(type), ttl=ttl, jitter=self.jitter, tags=tuple(tags))
        if not self.enabled:
            return [Hit(value, "computed") for value in await compute(list(keys))]
        full_keys = [self.full_key(key) for key in keys]
        return await self.through.run_many(full_keys, compute_full, plan)

    # --- writing -----------------------------------------------------------------------------

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: Seconds | None = None,
        tags: Sequence[str] = (),
        stale: Seconds = 0.0,
        type: Any = Any,
    ) -> None:
        """Remember a value in every tier, for `ttl` seconds and not a random part less."""
        await self.warm({key: value}, ttl=ttl, tags=tags, stale=stale, type=type)

    async def warm(
        self,
        items: Mapping[str, Any] | Iterable[tuple[str, Any]],
        *,
        ttl: Seconds | None = None,
        tags: Sequence[str] = (),
        stale: Seconds = 0.0,
        type: Any = Any,
    ) -> int:
        """Remember many values; returns how many were kept."""
        if not self.enabled:
            return 0
        plan = Plan(codec=self.codecs.of(type), ttl=ttl, tags=tuple(tags), stale=seconds(stale))
        kept = 0
        entries: list[Entry] = []
        for key, value in dict(items).items():
            full = self.full_key(key)
            frozen = freeze(value, plan.codec)
            entry = self.keeping.entry(full, frozen, plan, self.hub.sequence())
            if entry is not None:
                entries.append(entry)
            if len(entries) == 100:  # about 1 ms of the loop's time
                kept += await self._set_many(entries, plan)
                entries = []
                await asyncio.sleep(0)
        return kept + await self._set_many(entries, plan)

    async def _set_many(self, entries: Sequence[Entry], plan: Plan) -> int:
        if not entries:
            return 0
        keys = [entry.key for entry in entries]
        self._announce(keys)
        await self.cascade.keep_all(entries, plan)
        await self.cascade.telling.tell(keys)
        return len(entries)

    def _announce(self, full_keys: Sequence[str]) -> None:
        """Before a change: what was computed until now is not to be kept over it, by anybody."""
        self.flights.supersede(frozenset(full_keys).__contains__)
        self.cascade.coherence.tell_keys(full_keys)

    async def delete(self, *keys: str) -> int:
        """Forget keys in every tier and process; returns how many were there."""
        full = [self.full_key(key) for key in keys]
        self._announce(full)
        removed = max(self.cascade.remove(full), await self.cascade.remove_remote(full))
        await self.cascade.telling.tell(full)
        return removed

    def forget(self, full_keys: Sequence[str]) -> int:
        """As `delete`, of full keys, holding up this thread."""
        self._announce(full_keys)
        removed = max(self.cascade.remove(full_keys), self.through.blocking.forget(full_keys))
        self.cascade.telling.tell_blocking(full_keys)
        return removed

    async def clear(
        self,
        *,
        pattern: str | None = None,
        tag: str | None = None,
        namespace: str | None = None,
        older_than: Seconds | None = None,
    ) -> int:
        """Forget everything, or what fulfils all that is given; returns how many entries.

        A tag or a namespace alone is invalid everywhere at once; room is made afterwards. The count
        is that of the tier that held most, as far as room was made within a second. Raises
        InvalidInput for a pattern that says nothing.
        """
        if namespace is not None and pattern is not None:
            raise ConfigurationError("clear takes a pattern or a namespace, not both")
        bumped = older_than is None and pattern is None and (tag is None or namespace is None)
        if namespace is not None:
            pattern = f"{escape(namespace)}:*"
        check(pattern or "*")
        coherence = self.cascade.coherence
        if bumped and tag is not None:
            coherence.bump_tag(tag)
        elif bumped and namespace is not None:
            coherence.bump_namespace(namespace)
        elif bumped:
            coherence.bump_all()
        selection = Selection(
            pattern=escape(self.prefix) + (pattern or "*"),
            tag=tag,
            created_before=None if older_than is None else self._before(older_than),
        )
        if not bumped:
            self.flights.supersede(selection.may_mean)
            coherence.tell_clear(selection)  # before and after, as with keys: see `_announce`
        removed = await self.cascade.clear(selection, at_leisure=bumped)
        if not bumped:
            coherence.tell_clear(selection)
        await coherence.settled()
        return removed

    async def scan(self, pattern: str = "*", limit: int = 100) -> list[EntryInfo]:
        """What `clear(pattern=...)` would remove, at most `limit` of it; raises InvalidInput."""
        check(pattern)
        found: dict[str, EntryInfo] = {}
        for tier in self.cascade.tiers:
            for info in await tier.scan(escape(self.prefix) + pattern, limit):
                found.setdefault(info.key, info)
        shown = sorted(found.values(), key=lambda info: info.key)[:limit]
        return [replace(info, key=info.key[len(self.prefix) :]) for info in shown]

    # --- the cache itself ----------------------------------------------------------------------

    async def stats(self) -> CacheStats:
        """Counters per tier and of the whole, since the cache was opened."""
        tiers = {tier.name: await tier.stats() for tier in self.cascade.tiers}
        hits = sum(tier.hits for tier in tiers.values())
        misses = int(self.through.misses.value)
        uptime = self.clock.monotonic() - self._opened
        return CacheStats(
            tiers=tiers,
            hits=hits,
            misses=misses,
            hit_rate=hits / (hits + misses) if hits + misses else 0.0,
            coalesced=int(self.through.coalesced.value),
            stale=int(self.through.stale.value),
            errors=int(self.through.failed.value),
            entries=max((tier.entries for tier in tiers.values()), default=0),
            size_bytes=sum(tier.size_bytes for tier in tiers.values()),
            operations_per_second=(hits + misses) / uptime if uptime > 0 else 0.0,
            uptime_seconds=uptime,
            enabled=self.enabled,
        )

    get_stats = stats

    async def sweep(self) -> int:
        """Remove what has expired from every tier, in steps that do not stall the loop."""
        return sum([await tier.sweep() for tier in self.cascade.tiers])

    async def upkeep(self, *, every: float = 60.0) -> None:
        """Sweep for ever; the owner of the cache runs this in a task and cancels it."""
        while True:
            await self.clock.sleep(every)
            await self.sweep()

    async def aclose(self) -> None:
        """Stop what is being computed, write down what is pending, let go of everything."""
        await self.flights.aclose()
        await self.through.blocking.aclose()
        await self.cascade.aclose()

    @shapes.options_of(decorate, example='ttl="1h"')
    def cached(self, **options: Unpack[shapes.CachedOptions]) -> shapes.Decorate:
        """A decorator that remembers what a function returns; see `decorator.decorate`."""
        return decorate(lambda: self, **options)

    @shapes.options_of(decorate_batch, example='over="texts"')
    def cached_batch(self, **options: Unpack[shapes.CachedBatchOptions]) -> shapes.DecorateBatch:
        """A decorator for functions over lists; see `batch.decorate_batch`."""
        return decorate_batch(lambda: self, **options)

    # --- for the decorators ----------------------------------------------------------------------

    def full_key(self, key: str) -> str:
        """The key with the cache's prefix; one that is no Unicode text becomes its fingerprint."""
        return self.prefix + (key if key.isascii() else as_text(key))

    def plan(self, *, type: Any = Any, max_age: MaxAge | None = None) -> Plan:
        """The plan of a plain read."""
        if type is Any and max_age is None:
            return self._any
        return Plan(codec=self.codecs.of(type), max_age=max_age)

    def check_tiers(self, names: Iterable[str]) -> frozenset[str]:
        """The names as a set; raises ConfigurationError when one of them is no tier."""
        known = [tier.name for tier in self.cascade.tiers]
        for name in names:
            if name not in known:
                raise ConfigurationError(
                    f"no cache tier is called {name!r}; known: {', '.join(known)}"
                )
        return frozenset(names)

    def _before(self, age: Seconds) -> float:
        return self.clock.now() - seconds(age)
