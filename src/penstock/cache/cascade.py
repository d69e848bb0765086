"""The ordered tiers of a cache, asked one after the other; what a lower one has moves up.

Decides what a found entry is worth: valid (no tag bumped), readable, fresh or stale. Knows nothing
of computing.

A disk is shared by the processes of one machine, who all hear of a change before they can read the
disk again. With a hub that spans machines nothing of that is so: other machines change what lies on
this disk, and processes of this one hear of it at different moments. Then a process treats the disk
as its memory: it reads only what it wrote itself since it began to listen, and drops what it is
told to drop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from penstock.cache.behind import Then
from penstock.cache.coherence import Coherence
from penstock.cache.entry import KEPT, PACKED, Entry, Hit, Selection, is_immutable, weigh
from penstock.cache.memory import MemoryStore
from penstock.cache.plan import Plan, age_limit
from penstock.cache.remote import Marks, RemoteTier
from penstock.cache.store import LastingStore, LocalStore, Store
from penstock.cache.telling import Telling
from penstock.cache.tier import Tier
from penstock.clock import Clock
from penstock.hub.hub import Hub
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Counter, Metrics

PATIENCE = 1.0  # seconds for making room in a remote tier

log = get_logger("penstock.cache")


class Cascade:
    """Tiers from the quickest to the most lasting, kept coherent with other processes."""

    def __init__(
        self,
        stores: Sequence[Store],
        *,
        hub: Hub,
        clock: Clock,
        prefix: str,
        metrics: Metrics | None,
        supersede: Callable[[Callable[[str], object]], None],
    ) -> None:
        self.tiers = [self._tier(store, clock=clock, metrics=metrics) for store in stores]
        self.local = [tier for tier in self.tiers if tier.local is not None]
        self.remote = [tier for tier in self.tiers if isinstance(tier, RemoteTier)]
        self.memory = next((s for s in stores if isinstance(s, MemoryStore)), None)
        self._memory_tier = next((t for t in self.tiers if t.store is self.memory), None)
        self._own_disks = [
            store for store in stores if hub.spans_machines and isinstance(store, LastingStore)
        ]
        # What the hot path counts on, whether or not there is a memory tier.
        self.memory_hits = self._memory_tier.hits if self._memory_tier else Counter("unused", ())
        self._clearing: set[asyncio.Future[int]] = set()
        self._now = clock.now
        self._hub = hub
        self._supersede = supersede
        self.coherence = Coherence(
            hub,
            prefix=prefix,
            drop_keys=self._drop_keys,
            drop_matching=self._drop_matching,
            drop_all=self._drop_all,
        )
        self.telling = Telling(self.local, self.coherence.tell_keys, self.coherence.settled)
        for tier in self.local:
            tier.watch(self.catch_up)
        for disk in self._own_disks:
            disk.distrust()

    def _tier(self, store: Store, *, clock: Clock, metrics: Metrics | None) -> Tier:
        if isinstance(store, LocalStore):
            return Tier(store, clock=clock, metrics=metrics)
        return RemoteTier(
            store,
            clock=clock,
            metrics=metrics,
            give_up=lambda: self.coherence.bump_all(),
            tell=lambda keys: self.coherence.tell_keys(keys),
        )

    # --- reading -----------------------------------------------------------------------------

    def find(self, key: str, plan: Plan) -> Hit | None:
        """The first usable answer of a local tier."""
        self.catch_up()
        position = self.coherence.position
        passed: list[Tier] = []
        for tier in self.local:
            if plan.tiers is not None and not plan.allows(tier.name):
                continue
            entry = tier.get(key)
            hit = None if entry is None else self._worth(entry, tier, plan)
            if entry is not None and hit is not None:
                if passed and entry.stored:  # what is pending, another process may have replaced
                    self._promote(entry, hit, passed, position)
                return hit
            tier.misses.value += 1
            passed.append(tier)
        return None

    def find_again(self, key: str, plan: Plan) -> Hit | None:
        """A fresh answer that came while one was about to compute; looks in the first tier only."""
        for tier in self.local[:1]:
            if plan.allows(tier.name) and tier.get(key) is not None:
                hit = self.find(key, plan)
                return None if hit is None or hit.stale else hit
        return None

    async def find_remote(self, key: str, plan: Plan) -> Hit | None:
        """The first usable answer of a remote tier."""
        position = self.coherence.position
        for tier in self.remote:
            if not plan.allows(tier.name):
                continue
            entry = (await tier.get_many((key,))).get(key)
            hit = None if entry is None else self._worth(entry, tier, plan)
            if entry is not None and hit is not None:
                self._promote(entry, hit, self.local, position)
                return hit
            tier.misses.value += 1
        return None

    def is_shared(self, plan: Plan) -> bool:
        """Whether what is computed by this plan goes where other processes can read it."""
        return any(plan.allows(tier.name) and tier.breaker.is_due() for tier in self.remote)

    async def look(
        self, keys: Sequence[str], plan: Plan
    ) -> tuple[dict[str, Hit], dict[str, Marks]]:
        """Fresh answers of remote tiers, and each tier's marks for what will be computed."""
        position = self.coherence.position
        hits: dict[str, Hit] = {}
        marks: dict[str, Marks] = {}
        for tier in self.remote:
            if not plan.allows(tier.name):
                continue
            entries, marks[tier.name] = await tier.look(keys)
            for key, entry in entries.items():
                hit = None if key in hits else self._worth(entry, tier, plan)
                if hit is not None and not hit.stale:
                    hits[key] = hit
                    self._promote(entry, hit, self.local, position)
        return hits, marks

    async def find_many(self, keys: Iterable[str], plan: Plan) -> dict[str, Hit]:
        """The usable answers for many keys, one question to each tier."""
        self.catch_up()
        position = self.coherence.position
        found: dict[str, Hit] = {}
        missing = list(dict.fromkeys(keys))
        passed: list[Tier] = []
        for tier in self.tiers:
            if not missing or not plan.allows(tier.name):
                continue
            entries = tier.read(missing) if tier.local else await tier.get_many(missing)
            for key, entry in entries.items():
                hit = self._worth(entry, tier, plan)
                if hit is not None:
                    found[key] = hit
                    if passed and (entry.stored or not tier.local):
                        self._promote(entry, hit, passed, position)
            missing = [key for key in missing if key not in found] if found else missing
            tier.misses.value += len(missing)
            passed.append(tier)
        return found

    def knows(self, key: str) -> bool:
        """Whether a local tier has anything under this key."""
        return any(tier.get(key) is not None for tier in self.local)

    def last_resort(self, key: str, plan: Plan) -> Hit | None:
        """Whatever is still there of this key, however old, as long as it is valid."""
        for tier in self.local:
            entry = tier.get(key) if plan.allows(tier.name) else None
            if entry is None or not self._is_current(entry):
                continue
            if entry.thaw is None and entry.kind == PACKED:
                _give_type(entry, plan)
            try:
                return Hit(entry.give(), tier.source, self._age(entry), stale=True)
            except Exception as error:  # the caller shall see what computing raised, not this
                self._unreadable(entry, error, tier, plan)
        return None

    # --- writing -----------------------------------------------------------------------------

    def keep(self, entries: Sequence[Entry], plan: Plan) -> None:
        """Write to the local tiers."""
        self._vouch(entries)
        for tier in self.local:
            if plan.allows(tier.name):
                own = entries if tier.store is self.memory else [e.duplicate() for e in entries]
                tier.write(own)

    async def keep_all(self, entries: Sequence[Entry], plan: Plan) -> None:
        """Write to every tier, waiting for room where a tier has none."""
        self._vouch(entries)
        for tier in self.tiers:
            if plan.allows(tier.name):
                own = entries if tier.store is self.memory else [e.duplicate() for e in entries]
                await tier.set_many(own)

    def keep_later(
        self, entries: Sequence[Entry], marks: Mapping[str, Marks], plan: Plan, then: Then
    ) -> bool:
        """Write to the remote tiers behind the answer; whether `then` will be called after it."""
        called = False
        for tier in reversed(self.remote):
            if plan.allows(tier.name):
                told = None if called else then
                called = tier.later(entries, marks.get(tier.name, {}), told) or called
        return called

    async def flush(self) -> None:
        """Return when the remote tiers have what was computed here so far, as far as they can."""
        for tier in self.remote:
            await tier.flush()

    def remove(self, keys: Sequence[str]) -> int:
        """Forget keys in the local tiers; returns how many the tier that knew most had."""
        return max((tier.remove(keys) for tier in self.local), default=0)

    async def remove_remote(self, keys: Sequence[str]) -> int:
        """As `remove`, in the remote tiers."""
        return max([await tier.delete(keys) for tier in self.remote], default=0)

    def owe(self, keys: Sequence[str]) -> None:
        """Note what remote tiers are to forget, and read it there no more until they have."""
        for tier in self.remote:
            tier.owe(keys)

    async def clear(self, selection: Selection, *, at_leisure: bool) -> int:
        """Forget what is selected; returns how many entries the tier that had most forgot.

        What is invalid already is cleared from remote tiers `at_leisure`: they may hold millions,
        and nobody waits for that longer than a moment.
        """
        removed = [await tier.clear(selection) for tier in self.local]
        for tier in self.remote:
            if not at_leisure:
                removed.append(await tier.clear_surely(selection))
                continue
            clearing = asyncio.ensure_future(tier.clear(selection))
            self._clearing.add(clearing)
            clearing.add_done_callback(self._clearing.discard)
            await asyncio.wait([clearing], timeout=PATIENCE)
            removed.append(clearing.result() if clearing.done() else 0)
        return max(removed, default=0)

    async def aclose(self) -> None:
        """Write down what is pending and let go of every tier."""
        for clearing in self._clearing:
            clearing.cancel()
        await asyncio.gather(*self._clearing, return_exceptions=True)
        for tier in self.tiers:
            await tier.aclose()

    # --- the state of things -------------------------------------------------------------------

    def catch_up(self) -> None:
        """Take in other processes' changes, if there are any."""
        coherence = self.coherence
        if self._hub.heads[0] != coherence.position:
            coherence.catch_up()

    def _worth(self, entry: Entry, tier: Tier, plan: Plan) -> Hit | None:
        """A hit, if the entry is valid, readable, and young enough; counts it."""
        epoch = self.coherence.epoch
        if entry.epoch != epoch:
            if not self.coherence.is_valid(entry):
                # What is ahead of a hub over a network will be good when that has caught up.
                if not (self._hub.spans_machines and self.coherence.is_ahead(entry)):
                    tier.remove((entry.key,), yields=True)
                return None
            entry.epoch = epoch
        if entry.thaw is None and entry.kind == PACKED:
            entry.codec = plan.codec  # as `_give_type`
            entry.thaw = plan.codec.thaw_plain if entry.plain else plan.codec.thaw
        now = self._now()
        stale = now >= entry.fresh_until
        if stale and now >= entry.stale_until:
            return None
        try:
            value = entry.value if entry.thaw is None else entry.thaw(entry.value)
        except Exception as error:  # damaged bytes, or a type that has changed since
            self._unreadable(entry, error, tier, plan)
            return None
        age = now - entry.created
        if age < 0.0:
            age = 0.0
        if plan.max_age is not None and age > age_limit(plan.max_age, value):
            return None
        tier.hits.value += 1
        return Hit(value, tier.source, age, stale)

    def _unreadable(self, entry: Entry, error: Exception, tier: Tier, plan: Plan) -> None:
        log.warning("cache.unreadable", tier=tier.name, type=str(plan.codec.type))
        tier.failed(error)
        tier.remove((entry.key,), yields=True)

    def _vouch(self, entries: Sequence[Entry]) -> None:
        """Spare entries that nothing was bumped since their first check."""
        epoch = self.coherence.epoch
        for entry in entries:
            if entry.sequence >= epoch:
                entry.epoch = epoch

    def _is_current(self, entry: Entry) -> bool:
        epoch = self.coherence.epoch
        if entry.epoch != epoch:
            if not self.coherence.is_valid(entry):
                return False
            entry.epoch = epoch
        return True

    def _promote(self, entry: Entry, hit: Hit, passed: Sequence[Tier], position: int) -> None:
        """Write an entry into the tiers above the one that had it.

        Not for long what was read before a change that was told since `position`.
        """
        if not (entry.plain or (entry.codec and entry.codec.typed)):
            return  # read without its type: others, who know the type, must not get it from memory
        for tier in passed:
            copy = entry.duplicate()
            copy.epoch = entry.epoch
            if tier.store is self.memory and copy.kind == PACKED and is_immutable(hit.value):
                copy.value, copy.thaw, copy.kind = hit.value, None, KEPT
                copy.size = weigh(hit.value)
            tier.write((copy,))
            if self._hub.heads[0] != position:  # last: what is told after this drops it again
                tier.remove((entry.key,), yields=True)

    def _age(self, entry: Entry) -> float:
        return max(0.0, self._now() - entry.created)

    def _drop_keys(self, keys: list[str]) -> None:
        self._drop_matching(frozenset(keys).__contains__)
        if self._memory_tier is not None:
            self._memory_tier.remove(keys)
        for disk in self._own_disks:
            disk.drop(keys)

    def _drop_matching(self, meant: Callable[[str], object]) -> None:
        self._supersede(meant)
        for tier in self.tiers:
            tier.withdraw(meant)

    def _drop_all(self) -> None:
        self._drop_matching(lambda _: True)
        if self.memory is not None:
            self.memory.forget_all()
        for disk in self._own_disks:
            disk.distrust()


def _give_type(entry: Entry, plan: Plan) -> None:
    """Tell bytes from a tier that knows no types what they are asked to be."""
    entry.codec = plan.codec
    entry.thaw = plan.codec.thaw_plain if entry.plain else plan.codec.thaw
