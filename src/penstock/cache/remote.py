"""A tier behind a network, which other machines read and write too.

What was computed is written behind the answer (`behind.py`), and only over the state that it was
computed from. What a user changes is written before the change is reported done. Where that fails,
an old entry may still lie there: the key is owed, is not read from the tier by this process, and is
forgotten there as soon as the tier answers again. Others may have read it in between: when it is
forgotten, they are told of the key once more.

A tier that takes no writes but can be read (a full Redis, a replica) is read on: see
`WriteRefused`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from penstock.cache.behind import Behind, Then
from penstock.cache.breaker import Breaker
from penstock.cache.entry import Entry, Selection, TierStats
from penstock.cache.store import GuardedStore, Mark, Store, WriteRefused
from penstock.cache.tier import Tier
from penstock.clock import Clock
from penstock.net.per_loop import PerLoop
from penstock.observe.metrics import Metrics

MOST_OWED: Final = 10_000  # keys; with more, all entries become invalid
PATIENCE: Final = 1.0  # seconds for a payment that is on its way when the tier is closed

Marks = Mapping[str, Mark]
ANY_STATE: Final = b"*"  # the mark of a store that cannot compare


class RemoteTier(Tier):
    """Asks a store on another machine."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock,
        metrics: Metrics | None,
        give_up: Callable[[], None],
        tell: Callable[[Sequence[str]], None],
    ) -> None:
        super().__init__(store, clock=clock, metrics=metrics)
        self.guarded = store if isinstance(store, GuardedStore) else None
        self._writing = Breaker(f"{store.name} (writing)", clock, after=1)
        self._give_up = give_up
        self._behind: PerLoop[Behind] = PerLoop(self._make_behind, self._close_behind)
        self._tell = tell
        self._owed: dict[str, int] = {}  # key -> number of the debt
        self._debts = 0
        self._paying = threading.Lock()
        self._dropped = 0

    # --- reading -----------------------------------------------------------------------------

    async def get_many(self, keys: Sequence[str]) -> dict[str, Entry]:
        if self._owed:
            keys = [key for key in keys if key not in self._owed]
        breaker = self.breaker
        if not keys or not breaker.allows():
            return {}
        try:
            found = await self.store.get_many(keys)
        except Exception as error:  # the cache may fail, the answer may not
            self.failed(error)
            return {}
        if breaker.in_a_row:
            breaker.succeeded()
        if self._owed:
            await self._pay()
        return found

    async def look(self, keys: Sequence[str]) -> tuple[dict[str, Entry], Marks]:
        """The entries that are there, and marks for what may be written after computing."""
        if self._owed:
            await self._pay()
            keys = [key for key in keys if key not in self._owed]
        if not self.guarded:
            return await self.get_many(keys), dict.fromkeys(keys, ANY_STATE)
        guarded = self.guarded
        return await self._guard_async(lambda: guarded.look(keys), ({}, {}))

    # --- behind the answer ----------------------------------------------------------------------

    def later(self, entries: Sequence[Entry], marks: Marks, then: Then | None = None) -> bool:
        """Have entries written that were computed from the state which the marks stand for.

        Returns whether `then` will be called.
        """
        marked = [(entry, mark) for entry in entries if (mark := marks.get(entry.key))]
        self._dropped += len(entries) - len(marked)
        if marked:
            self._behind.get().add(marked, then)
        return bool(marked)

    def withdraw(self, meant: Callable[[str], object]) -> None:
        for behind in self._behind.all():
            behind.withdraw(meant)

    async def flush(self) -> None:
        """Return when what this loop has to write was written, or could not be."""
        await self._behind.get().flush()

    async def _write(self, entries: Sequence[tuple[Entry, Mark]]) -> None:
        guarded = self.guarded
        if guarded:
            written = await self._change(lambda: guarded.set_unchanged(entries))
        else:
            written = await self._change(lambda: self._set([entry for entry, _ in entries]))
        self._dropped += len(entries) if written is None else 0

    # --- changes ---------------------------------------------------------------------------------

    async def set_many(self, entries: Sequence[Entry]) -> None:
        keys = [entry.key for entry in entries]
        self.withdraw(frozenset(keys).__contains__)
        if await self._change(lambda: self._set(entries)) is not None:
            self._settle(keys)
        elif not await self._forget(keys):
            self._dropped += len(entries)

    async def delete(self, keys: Sequence[str]) -> int:
        self.withdraw(frozenset(keys).__contains__)
        return await self._forget(keys) or 0

    async def clear(self, selection: Selection) -> int:
        return await self._clear(selection) or 0

    async def clear_surely(self, selection: Selection) -> int:
        """As `clear`, of what is valid still: where that fails, everything becomes invalid."""
        removed = await self._clear(selection)
        if removed is None:
            self._give_up()
        return removed or 0

    async def _clear(self, selection: Selection) -> int | None:
        self.withdraw(selection.may_mean)
        return await self._change(lambda: self.store.clear(selection), always=True)

    def owe(self, keys: Sequence[str]) -> None:
        """Note what is to be forgotten; above a bound, everything is."""
        self._debts += 1
        self._owed.update(dict.fromkeys(keys, self._debts))
        if len(self._owed) > MOST_OWED:
            self._owed.clear()
            self._give_up()

    async def _set(self, entries: Sequence[Entry]) -> int:
        await self.store.set_many(entries)
        return len(entries)

    async def _forget(self, keys: Sequence[str]) -> int | None:
        """How many were there; None where they could not be forgotten, and are owed."""
        debts = self._debts
        removed = await self._change(lambda: self.store.delete(keys), always=True)
        if removed is None:
            self.owe(keys)
        else:
            self._settle(keys, until=debts)
        return removed

    def _settle(self, keys: Sequence[str], *, until: int | None = None) -> None:
        """These are owed no more, but for debts made after number `until`."""
        for key in keys if self._owed else ():
            if until is None or self._owed.get(key, 0) <= until:
                self._owed.pop(key, None)

    async def _pay(self) -> None:
        """Forget what is owed, if the tier answers, and tell who may have read it meanwhile."""
        paid = True
        # Asked again behind it: what came to be owed meanwhile nobody else pays.
        while paid and self._owed and self.breaker.is_due():
            if not self._paying.acquire(blocking=False):
                return
            try:
                keys = list(self._owed)
                paid = await self._forget(keys) is not None
            finally:
                self._paying.release()
            if paid:
                self._tell(keys)

    async def _change(
        self, change: Callable[[], Awaitable[int]], *, always: bool = False
    ) -> int | None:
        """What `change` returns; None where it failed, or was not tried.

        Forgetting is tried `always`: a server that is full can do it.
        """
        if not self.breaker.allows() or not (always or self._writing.allows()):
            return None
        try:
            done = await change()
        except WriteRefused as error:
            self._writing.failed(error)
            return None
        except Exception as error:  # the cache may fail, the answer may not
            self.failed(error)
            return None
        self.breaker.succeeded()
        if not always:
            self._writing.succeeded()
        return done

    # --- the tier --------------------------------------------------------------------------------

    async def sweep(self) -> int:
        if self._owed:
            await self._pay()
        return await super().sweep()

    async def stats(self) -> TierStats:
        stats = await super().stats()
        behinds = self._behind.all()
        stats.dropped += self._dropped + sum(behind.dropped for behind in behinds)
        stats.errors += self._writing.errors
        if stats.detail is None and self._writing.is_open:
            stats.detail = f"takes no writes: {self._writing.detail}"
        return stats

    async def aclose(self) -> None:
        await self._behind.aclose()
        if self._owed:
            if await asyncio.to_thread(self._paying.acquire, timeout=PATIENCE):  # a thread pays
                self._paying.release()
            await self._pay()
        await super().aclose()

    def _make_behind(self) -> Behind:
        return Behind(self._write)

    async def _close_behind(self, behind: Behind) -> None:
        await behind.aclose()
        self._dropped += behind.dropped
