"""What is remembered of a result: for how long, under which tags, in which tiers."""

from __future__ import annotations

import random
from collections.abc import Sequence

from penstock.cache.cascade import Cascade
from penstock.cache.entry import Entry, Frozen
from penstock.cache.flight import Flight
from penstock.cache.plan import Lifetimes, Plan
from penstock.cache.turns import Turn
from penstock.clock import Clock
from penstock.observe.logging import get_logger

log = get_logger("penstock.cache")


class Keeping:
    """Makes entries of results and gives them to the tiers."""

    def __init__(
        self, cascade: Cascade, *, clock: Clock, lifetimes: Lifetimes, prefix: str
    ) -> None:
        self._cascade = cascade
        self._now = clock.now
        self._lifetimes = lifetimes
        self._prefix_length = len(prefix)
        self._told: set[str] = set()

    def keep(
        self, landed: Sequence[tuple[Flight, Frozen]], plan: Plan, sequence: int, turn: Turn
    ) -> bool:
        """Remember what was computed; whether `turn` ends when remote tiers have it."""
        entries = self.keep_local(landed, plan, sequence)
        return bool(entries) and self._cascade.keep_later(entries, turn.marks, plan, turn.end)

    def keep_local(
        self, landed: Sequence[tuple[Flight, Frozen]], plan: Plan, sequence: int
    ) -> list[Entry]:
        self._cascade.catch_up()  # so that a key deleted elsewhere meanwhile is not brought back
        entries = [
            entry
            for flight, frozen in landed
            if not flight.superseded and (entry := self.entry(flight.key, frozen, plan, sequence))
        ]
        if entries:
            self._cascade.keep(entries, plan)
        return entries

    def entry(self, key: str, frozen: Frozen, plan: Plan, sequence: int) -> Entry | None:
        """What to remember, or None when the plan or the value says not to."""
        if frozen.reason is not None:
            self._tell(plan.label or key, frozen.reason)
        value = frozen.original
        if not frozen.storable or (plan.cache_if is not None and not plan.cache_if(value)):
            return None
        namespace = key[self._prefix_length :].partition(":")[0]
        ttl = self._lifetimes.ttl_for(value, plan, namespace)
        if not ttl > 0:
            return None
        now = self._now()
        ttl -= ttl * plan.jitter * random.random()
        longest = now + self._lifetimes.longest(namespace)
        stale_until = min(now + ttl + plan.stale, longest)
        return Entry(
            key=key,
            value=frozen.value,
            thaw=frozen.thaw,
            kind=frozen.kind,
            size=frozen.size,
            created=now,
            fresh_until=now + ttl,
            stale_until=max(now + ttl, stale_until),
            expires=longest if plan.on_error == "stale" else max(now + ttl, stale_until),
            sequence=sequence,
            tags=plan.tags,
            plain=frozen.plain,
            codec=plan.codec,
        )

    def _tell(self, label: str, reason: str) -> None:
        """Say once per function why its values stay in this process."""
        if label not in self._told and len(self._told) < 1000:
            self._told.add(label)
            log.warning("cache.memory_only", function=label, reason=reason)
