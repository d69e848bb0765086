"""Who wants to be told of an event, known without asking the database.

    stale ─► what is emitted is held, and told to whom `refresh` reads that it is for

Read again when a webhook was changed, here or in another process: the hub's generation says so.
While the hub does not hear what others change, it is read every second that something is emitted.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from penstock.clock import Clock
from penstock.errors import StorageError
from penstock.hub import Hub
from penstock.notify.event import Event, meant
from penstock.notify.store import Subscription
from penstock.observe.logging import get_logger

GENERATION: Final = "webhooks"
LOOK_SECONDS: Final = 1.0  # between two looks while the hub is not current, or reading fails

_log = get_logger("penstock.notify")

Read = Callable[[], Awaitable[Sequence[Subscription]]]


class Subscriptions:
    """The enabled webhooks by the type of event; `read` asks the store."""

    def __init__(self, read: Read, *, hub: Hub, clock: Clock) -> None:
        self._read = read
        self._hub = hub
        self._clock = clock
        self._generation = -1
        self._failed = False
        self._look_at = 0.0
        self._by_type: dict[str, list[Subscription]] | None = None  # None: nothing was read yet
        self._reading = asyncio.Lock()

    @property
    def stale(self) -> bool:
        """Whether others may want to be told by now; while nothing changed, one look-up."""
        if self._hub.generation(GENERATION) != self._generation:
            return True
        if self._failed or not self._hub.is_current:
            return self._clock.monotonic() >= self._look_at
        return False

    def has(self, type: str) -> bool:
        """Whether anybody wants events of this type, or may."""
        return self.stale or type in (self._by_type or ())

    def of(self, event: Event) -> Sequence[Subscription]:
        """Who is to be told, as far as is known."""
        found = (self._by_type or {}).get(event.type, ())
        return [one for one in found if one.everyone or one.owner == event.owner]

    async def refresh(self) -> bool:
        """Read again if need be; False where nothing was ever read. What is known stays good."""
        async with self._reading:
            if self.stale:
                await self._reload()
            return self._by_type is not None

    async def changed(self) -> None:
        """Let every process read again; told after the commit. This one does so now."""
        self._hub.bump(GENERATION)
        await self.refresh()

    async def _reload(self) -> None:
        # Taken before reading, so that what changes meanwhile is read again.
        self._generation = self._hub.generation(GENERATION)
        try:
            found = await self._read()
        except StorageError as error:
            self._failed = True
            _log.warning("webhooks.unreadable", detail=error.detail)
            return
        finally:
            self._look_at = self._clock.monotonic() + LOOK_SECONDS
        by_type: defaultdict[str, list[Subscription]] = defaultdict(list)
        for one in found:
            for type in frozenset().union(*map(meant, one.events)):
                by_type[type].append(one)
        self._by_type = dict(by_type)
        self._failed = False
