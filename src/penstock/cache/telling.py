"""Tells other processes of a change, once what they will read instead is true.

A process that is told drops the key from memory and reads what lies in the shared tiers. Told too
early, it would find the old value there, take it into memory and keep it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_blocking
from typing import Any

from penstock.cache.tier import Tier
from penstock.observe.logging import get_logger

PATIENCE = 2.0  # seconds that a caller waits for a tier

log = get_logger("penstock.cache")


class Telling:
    """Calls `tell` with keys when the tiers have settled.

    A tier that takes too long is not waited for, nor by others until it has caught up: the keys are
    told at once, which is all that can be done in time, and again when it has settled.
    """

    def __init__(
        self,
        tiers: Sequence[Tier],
        tell: Callable[[Sequence[str]], None],
        heard: Callable[[], Awaitable[None]],
    ) -> None:
        self._tiers = tiers
        self._tell = tell
        self._heard = heard
        self._overdue: dict[str, Future[None]] = {}

    async def tell(self, keys: Sequence[str]) -> None:
        """Return when the keys were told; a caller that is cancelled does not prevent it."""
        settling = self._begin(keys)
        awaited = self._worth_waiting(settling)
        if awaited:
            await asyncio.wait(map(asyncio.wrap_future, awaited), timeout=PATIENCE)
        self._end(keys, settling)
        await self._heard()

    def tell_blocking(self, keys: Sequence[str]) -> None:
        """As `tell`, holding up this thread."""
        settling = self._begin(keys)
        wait_blocking(self._worth_waiting(settling), timeout=PATIENCE)
        self._end(keys, settling)

    def _begin(self, keys: Sequence[str]) -> dict[Tier, Future[None]]:
        """Have each tier that needs time tell the keys once it has settled."""
        settling = {}
        for tier in self._tiers if keys else ():
            settled = tier.settled()
            if settled is not None:
                settling[tier] = _after(settled, lambda: self._tell(keys))
        return settling

    def _worth_waiting(self, settling: dict[Tier, Future[None]]) -> list[Future[None]]:
        return [
            told
            for tier, told in settling.items()
            if (overdue := self._overdue.get(tier.name)) is None or overdue.done()
        ]

    def _end(self, keys: Sequence[str], settling: dict[Tier, Future[None]]) -> None:
        late = [tier for tier, told in settling.items() if not told.done()]
        if late or not settling:
            self._tell(keys)
        for tier in late:
            tier.errors.value += 1
            overdue = self._overdue.get(tier.name)
            if overdue is None or overdue.done():
                self._overdue[tier.name] = settling[tier]
                log.warning("cache.tier_slow", tier=tier.name, patience_seconds=PATIENCE)


def _after(settled: Future[Any], act: Callable[[], None]) -> Future[None]:
    """Done when `act` was called, which happens after `settled`, whatever became of that."""
    done: Future[None] = Future()

    def finish(_: Future[Any]) -> None:
        try:
            act()
        finally:
            done.set_result(None)

    settled.add_done_callback(finish)
    return done
