"""The heart: cache, then an identical call in flight, then the stages that compute an answer.

    key ── cache.peek ── memory hit ─────────────────────────────► answer (receipt: memory)
      └── cache.fetch ── disk hit | joined | computed by stages ──► answer (receipt says which)
      (who may not pay for a computation gets what the cache has: a hit costs nothing)

What is cached is what was found out (scores), never what was decided. A stage that fails raises:
nothing is cached, and everyone who waited for the same key hears of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import msgspec

from penstock.cache import Cache, Hit
from penstock.clock import Clock
from penstock.errors import PenstockError
from penstock.observe.metrics import Metrics


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """What one computation consumed; money in micro-units of `currency`."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0
    currency: str = "USD"


class Tokens(msgspec.Struct, frozen=True, rename={"in_": "in"}):
    """Tokens of one answer: consumed now, and saved by not asking again."""

    in_: int = 0
    out: int = 0
    saved: int = 0


class Cost(msgspec.Struct, frozen=True):
    """Money of one answer: spent now, and saved by not asking again."""

    spent_micros: int = 0
    saved_micros: int = 0
    currency: str = "USD"


class Receipt(msgspec.Struct, frozen=True):
    """Where an answer came from and what it cost."""

    source: str  # memory, disk, redis, inflight, prescreen, local or provider
    age_seconds: float
    stale: bool
    queue_wait_seconds: float
    stages: dict[str, float]  # seconds
    models: dict[str, str]
    tokens: Tokens
    cost: Cost


class Answerable(Protocol):
    """What a value must know of itself to be cached with a receipt."""

    @property
    def source(self) -> str:
        """The last stage that contributed: prescreen, local or provider."""

    @property
    def models(self) -> dict[str, str]:
        """Versions of everything that contributed."""

    @property
    def usage(self) -> Usage:
        """What computing it consumed."""


V = TypeVar("V", bound=Answerable)
MaxAge = Callable[[V], float]


class Answer(Generic[V]):
    """A value and its receipt."""

    __slots__ = ("from_cache", "receipt", "value")

    def __init__(self, value: V, receipt: Receipt, from_cache: bool) -> None:
        self.value = value
        self.receipt = receipt
        self.from_cache = from_cache


class Trace:
    """Seconds per stage of one computation; handed to the function that computes."""

    __slots__ = ("_clock", "stages")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block, also when it raises."""
        start = self._clock.monotonic()
        try:
            yield
        finally:
            spent = self._clock.monotonic() - start
            self.stages[name] = self.stages.get(name, 0.0) + spent


Compute = Callable[[Trace], Awaitable[V]]


class Own(Generic[V]):
    """A computation that knows whether it ran: who joined another one pays nothing."""

    __slots__ = ("_compute", "ran")

    def __init__(self, compute: Compute[V]) -> None:
        self._compute = compute
        self.ran = False

    def __call__(self, trace: Trace) -> Awaitable[V]:
        self.ran = True
        return self._compute(trace)


Permit = Callable[[], Awaitable[None]]
"""Raises a PenstockError where nothing may be computed for who asks."""


class Pipeline:
    """Answers by key: from the cache, by joining, or by computing."""

    def __init__(self, *, cache: Cache, metrics: Metrics, clock: Clock) -> None:
        self._cache = cache
        self._metrics = metrics
        self._clock = clock

    def peek(self, key: str, *, max_age: MaxAge[V] | None = None) -> Answer[V] | None:
        """The answer if this process remembers it: no waiting, no I/O."""
        start = self._clock.monotonic()
        hit: Hit | None = self._cache.peek(key, max_age=max_age)
        if hit is None:
            return None
        return self._from_cache(hit, {"cache": self._clock.monotonic() - start})

    async def answer(
        self,
        key: str,
        compute: Compute[V],
        *,
        type: type[V],
        max_age: MaxAge[V] | None = None,
        tags: tuple[str, ...] = (),
        permit: Permit | None = None,
    ) -> Answer[V]:
        """The answer to `key`; runs `compute` at most once for all who ask meanwhile.

        Raises what `compute` raises, and what `permit` does where the cache has no answer either.
        A caller that is cancelled harms no other.
        """
        start = self._clock.monotonic()
        if permit is not None:
            try:
                await permit()
            except PenstockError:
                known: Hit | None = await self._cache.lookup(key, type=type, max_age=max_age)
                if known is None:
                    raise
                return self._from_cache(known, {"cache": self._clock.monotonic() - start})
        trace = Trace(self._clock)
        hit = await self._cache.fetch(
            key, lambda: compute(trace), type=type, max_age=max_age, tags=tags
        )
        waited = self._clock.monotonic() - start
        if hit.source == "computed":
            stages = {"cache": max(0.0, waited - sum(trace.stages.values())), **trace.stages}
            return self._computed(hit.value, stages)
        name = "wait" if hit.source == "inflight" else "cache"
        return self._from_cache(hit, {name: waited})

    def _computed(self, value: V, stages: dict[str, float]) -> Answer[V]:
        for name, seconds in stages.items():
            self._metrics.observe("penstock_stage_seconds", seconds, stage=name)
        self._metrics.count("penstock_answers_total", source=value.source)
        usage = value.usage
        receipt = Receipt(
            source=value.source,
            age_seconds=0.0,
            stale=False,
            queue_wait_seconds=0.0,
            stages=stages,
            models=value.models,
            tokens=Tokens(usage.tokens_in, usage.tokens_out),
            cost=Cost(usage.cost_micros, 0, usage.currency),
        )
        return Answer(value, receipt, from_cache=False)

    def _from_cache(self, hit: Hit, stages: dict[str, float]) -> Answer[V]:
        value: V = hit.value
        usage = value.usage
        self._metrics.count("penstock_answers_total", source=hit.source)
        receipt = Receipt(
            source=hit.source,
            age_seconds=round(hit.age, 3),
            stale=hit.stale,
            queue_wait_seconds=0.0,
            stages=stages,
            models=value.models,
            tokens=Tokens(saved=usage.tokens_in + usage.tokens_out),
            cost=Cost(0, usage.cost_micros, usage.currency),
        )
        return Answer(value, receipt, from_cache=hit.source != "inflight")
