"""How one value is to be remembered: times, type, tags, tiers. Decided once, used on every call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from penstock.clock import Seconds, seconds
from penstock.codec import Codec

Ttl = Seconds | Callable[[Any], Seconds]
MaxAge = float | Callable[[Any], float]
OnError = Literal["raise", "stale"]


class Plan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What `Cache` is asked to do with a value."""

    codec: Codec
    ttl: Ttl | None = None  # None: the cache's default
    negative_ttl: float | None = None  # for None as a result
    stale: float = 0.0  # how long after its ttl a value is still served while it is computed anew
    jitter: float = 0.0
    tags: tuple[str, ...] = ()
    cache_if: Callable[[Any], object] | None = None
    tiers: frozenset[str] | None = None
    on_error: OnError = "raise"
    max_age: MaxAge | None = None
    label: str = ""  # whom to name in a log line

    def allows(self, tier: str) -> bool:
        """Whether this tier takes part."""
        return self.tiers is None or tier in self.tiers


class Codecs:
    """Codecs by type, each made once."""

    def __init__(self) -> None:
        self._known: dict[Any, Codec] = {}

    def of(self, type: Any) -> Codec:
        """The codec of a type; raises TypeError for what MessagePack cannot be read as."""
        try:
            codec = self._known.get(type)
        except TypeError:  # a type that cannot be hashed
            return Codec(type)
        if codec is None:
            codec = self._known[type] = Codec(type)
        return codec


class Lifetimes(msgspec.Struct, frozen=True):
    """Defaults and limits of times, in seconds."""

    ttl: float = 3600.0
    max_ttl: float = 86400.0
    max_ttl_of: Mapping[str, float] = {}  # by namespace

    def ttl_for(self, value: Any, plan: Plan, namespace: str) -> float:
        """Seconds for which this value is fresh, before jitter; at most the maximum."""
        if value is None and plan.negative_ttl is not None:
            ttl = plan.negative_ttl
        elif plan.ttl is None:
            ttl = self.ttl
        else:
            ttl = seconds(plan.ttl(value) if callable(plan.ttl) else plan.ttl)
        return min(ttl, self.longest(namespace))

    def longest(self, namespace: str) -> float:
        """The maximum of a namespace."""
        return self.max_ttl_of.get(namespace, self.max_ttl)


def age_limit(max_age: MaxAge, value: Any) -> float:
    """The maximum age for this value."""
    return max_age(value) if callable(max_age) else max_age
