"""The memory tier: a dict with S3-FIFO eviction, bounded by bytes.

S3-FIFO (Yang et al., SOSP 2023): newcomers wait in a small queue, a tenth of the room; who is asked
for again moves to the main queue, who is not leaves and is remembered as a ghost; a ghost that
comes back goes to the main queue at once. Its point here: a hit only counts itself, it moves
nothing, so a hit needs no lock. Every change happens under one lock.

Immutable values are kept as they are, mutable ones as bytes (see `entry.freeze`).
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence

from penstock.cache.entry import OVERHEAD, Entry, EntryInfo, Selection, TierStats
from penstock.cache.patterns import matcher
from penstock.clock import Clock, SystemClock

SMALL_SHARE = 10  # the small queue has a tenth of the room
MAX_CREDIT = 3  # hits that count: each buys one round through the main queue
INSPECT = 4  # entries looked at for expiry with each write
SLICE = 100  # entries removed in one go: 0.7 ms

Aliases = dict[Hashable, Entry]


def touch(entry: Entry) -> None:
    """Note that the entry was of use. Hot paths have these two lines in place."""
    if entry.hits < MAX_CREDIT:
        entry.hits += 1


class MemoryStore:
    """Keeps entries in this process; safe to use from any thread and any event loop."""

    name = "memory"

    def __init__(self, max_bytes: int = 256 << 20, *, clock: Clock | None = None) -> None:
        self.max_bytes = max_bytes
        self.entries: dict[str, Entry] = {}  # read by the hot path without a lock
        self._now: Callable[[], float] = (clock or SystemClock()).now
        self._lock = threading.Lock()
        self._small: OrderedDict[str, Entry] = OrderedDict()
        self._main: OrderedDict[str, Entry] = OrderedDict()
        self._ghosts: OrderedDict[int, None] = OrderedDict()
        self._bytes = self._small_bytes = 0
        self._aliases: list[Aliases] = []
        # All entries by number, with gaps: what a sweep walks along. A copy of the dict, taken at
        # once, would hold up the loop for 1.5 ms at 100,000 entries.
        self._slots: list[Entry | None] = []
        self._free: list[int] = []
        self._inspected = 0
        self._counts = TierStats()

    # --- at once, for callers without a loop -------------------------------------------------

    def read(self, keys: Iterable[str]) -> dict[str, Entry]:
        found = {}
        for key in keys:
            entry = self.get(key)
            if entry is not None:
                found[key] = entry
        return found

    def get(self, key: str) -> Entry | None:
        entry = self.entries.get(key)
        if entry is None:
            return None
        if self._now() >= entry.expires:
            self.discard(entry, expired=True)
            return None
        touch(entry)
        return entry

    def write(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.put(entry)

    def put(self, entry: Entry) -> None:
        """Keep one entry, making room for it."""
        entry.weight = OVERHEAD + sys.getsizeof(entry.key) + entry.size
        with self._lock:
            self._counts.writes += 1
            old = self.entries.get(entry.key)
            if entry.weight > self.max_bytes // 2:  # it would push out everything else
                self._counts.skipped += 1
                if old is not None:
                    self._remove(old)
                return
            if old is not None:
                self._replace(old, entry)
            else:
                self._add(entry)
            self._inspect()
            self._make_room()

    def remove(self, keys: Iterable[str], *, yields: bool = False) -> int:
        removed = 0
        with self._lock:
            for key in keys:
                entry = self.entries.get(key)
                if entry is not None:
                    self._remove(entry)
                    removed += 1
        return removed

    def discard(self, entry: Entry, *, expired: bool = False) -> None:
        """Remove this very entry; another one under its key stays."""
        with self._lock:
            if self.entries.get(entry.key) is entry:
                self._remove(entry)
                self._counts.expired += expired

    def withdraw(self, meant: Callable[[str], object]) -> None:
        pass  # no other process sees any of it

    def settled(self) -> None:
        return None

    def watch(self, catch_up: Callable[[], None]) -> None:
        pass

    # --- shortcuts from arguments to entries ----------------------------------------------------

    def new_aliases(self) -> tuple[int, Aliases]:
        """A dict from call arguments to entries; this store keeps it true."""
        aliases: Aliases = {}
        with self._lock:
            self._aliases.append(aliases)
            return len(self._aliases) - 1, aliases

    def alias(self, entry: Entry, number: int, alias: Hashable, *, size: int) -> None:
        """Let `alias` lead to the entry for as long as it is here; `size` counts as its bytes."""
        with self._lock:
            if self.entries.get(entry.key) is not entry:
                return
            if entry.alias is not None:
                self._aliases[entry.alias[0]].pop(entry.alias[1], None)
            else:
                entry.weight += size
                self._bytes += size
                self._small_bytes += 0 if entry.main else size
            entry.alias = (number, alias)
            self._aliases[number][alias] = entry

    def forget_all(self) -> int:
        """Forget everything at once."""
        with self._lock:
            number = len(self.entries)
            for aliases in self._aliases:
                aliases.clear()
            self._slots, self._free = [], []
            for part in (self.entries, self._small, self._main, self._ghosts):
                part.clear()
            self._bytes = self._small_bytes = 0
            return number

    # --- the Store -----------------------------------------------------------------------------

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        return self.read(keys)

    async def set_many(self, entries: Sequence[Entry]) -> None:
        self.write(entries)

    async def delete(self, keys: Sequence[str]) -> int:
        return self.remove(keys)

    async def clear(self, selection: Selection) -> int:
        if selection == Selection():
            return self.forget_all()
        return await self._remove_where(selection.matcher())

    async def scan(self, pattern: str, limit: int) -> list[EntryInfo]:
        matches, now = matcher(pattern), self._now()
        found: list[EntryInfo] = []
        async for part in self._slices():
            found += [
                EntryInfo(e.key, e.weight, max(0.0, now - e.created), e.expires - now, self.name)
                for e in part
                if e.expires > now and matches(e.key)
            ]
            if len(found) >= limit:
                break
        return found[:limit]

    async def sweep(self) -> int:
        now = self._now()
        before = self._counts.expired
        await self._remove_where(lambda entry: entry.expires <= now, expired=True)
        return self._counts.expired - before

    async def stats(self) -> TierStats:
        counts = self._counts
        return TierStats(
            entries=len(self.entries),
            size_bytes=self._bytes,
            max_bytes=self.max_bytes,
            writes=counts.writes,
            evictions=counts.evictions,
            expired=counts.expired,
            skipped=counts.skipped,
        )

    async def aclose(self) -> None:
        self.forget_all()

    # --- under the lock --------------------------------------------------------------------------

    def _add(self, entry: Entry) -> None:
        ghost = hash(entry.key)
        entry.main = ghost in self._ghosts
        if entry.main:
            del self._ghosts[ghost]
            self._main[entry.key] = entry
        else:
            self._small[entry.key] = entry
            self._small_bytes += entry.weight
        if self._free:
            entry.slot = self._free.pop()
            self._slots[entry.slot] = entry
        else:
            entry.slot = len(self._slots)
            self._slots.append(entry)
        self.entries[entry.key] = entry
        self._bytes += entry.weight

    def _replace(self, old: Entry, entry: Entry) -> None:
        """Take the old entry's place: its turn in the queue, its hits, its alias."""
        entry.main = old.main
        entry.slot = old.slot
        self._slots[old.slot] = entry
        (self._main if old.main else self._small)[entry.key] = entry
        entry.hits = old.hits
        if old.alias is not None:
            number, alias = entry.alias = old.alias
            entry.weight += sys.getsizeof(alias)
            self._aliases[number][alias] = entry
        self.entries[entry.key] = entry
        self._bytes += entry.weight - old.weight
        self._small_bytes += 0 if entry.main else entry.weight - old.weight

    def _remove(self, entry: Entry) -> None:
        del self.entries[entry.key]
        del (self._main if entry.main else self._small)[entry.key]
        self._let_go(entry)

    def _let_go(self, entry: Entry) -> None:
        self._slots[entry.slot] = None
        self._free.append(entry.slot)
        self._bytes -= entry.weight
        self._small_bytes -= 0 if entry.main else entry.weight
        if entry.alias is not None:
            number, alias = entry.alias
            self._aliases[number].pop(alias, None)
            entry.alias = None

    def _inspect(self) -> None:
        """Look at a few more entries for expired ones, so that time alone makes nothing grow."""
        now, at = self._now(), self._inspected
        for entry in self._slots[at : at + INSPECT]:
            if entry is not None and entry.expires <= now:
                self._remove(entry)
                self._counts.expired += 1
        self._inspected = at + INSPECT if at < len(self._slots) else 0

    def _make_room(self) -> None:
        while self._bytes > self.max_bytes:
            if self._small_bytes * SMALL_SHARE > self.max_bytes or not self._main:
                self._leave_small()
            else:
                self._leave_main()

    def _leave_small(self) -> None:
        key, entry = self._small.popitem(last=False)
        if entry.hits:
            entry.hits = 0
            entry.main = True
            self._small_bytes -= entry.weight
            self._main[key] = entry
            return
        self._evict(entry)
        self._ghosts[hash(key)] = None
        while len(self._ghosts) > len(self.entries) + 16:
            self._ghosts.popitem(last=False)

    def _leave_main(self) -> None:
        key, entry = self._main.popitem(last=False)
        if entry.hits:
            entry.hits -= 1
            self._main[key] = entry
        else:
            self._evict(entry)

    def _evict(self, entry: Entry) -> None:
        del self.entries[entry.key]
        self._let_go(entry)
        self._counts.evictions += 1

    async def _remove_where(
        self, selected: Callable[[Entry], bool], *, expired: bool = False
    ) -> int:
        removed = 0
        async for part in self._slices():
            for entry in filter(selected, part):
                self.discard(entry, expired=expired)
                removed += 1
        return removed

    async def _slices(self) -> AsyncIterator[list[Entry]]:
        """All entries, a few at a time; others have their turn in between.

        What is added meanwhile may be left out.
        """
        at = 0
        while at < len(self._slots):
            yield [entry for entry in self._slots[at : at + SLICE] if entry is not None]
            at += SLICE
            await asyncio.sleep(0)
