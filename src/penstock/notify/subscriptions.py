"""Who wants to be told of an event, known without asking the database.

Read again when a webhook was changed, here or in another process: the hub's generation says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from penstock.clock import Clock
from penstock.errors import StorageError
from penstock.hub import Hub
from penstock.notify.event import Event, meant
from penstock.notify.store import Subscription
from penstock.observe.logging import get_logger

GENERATION: Final = "webhooks"
RETRY_SECONDS: Final = 1.0  # between attempts to read from a database that failed

_log = get_logger("penstock.notify")


class Subscriptions:
    """The enabled webhooks by the type of event; `read` asks the store."""

    def __init__(self, read: Callable[[], list[Subscription]], *, hub: Hub, clock: Clock) -> None:
        self._read = read
        self._hub = hub
        self._clock = clock
        self._generation = -1
        self._retry_at = 0.0
        self._by_type: dict[str, list[Subscription]] = {}

    def has(self, type: str) -> bool:
        """Whether anybody wants events of this type; while nothing changed, one look-up."""
        if self._hub.generation(GENERATION) != self._generation:
            self._reload()
        return type in self._by_type

    def of(self, event: Event) -> Sequence[Subscription]:
        """Who is to be told."""
        if not self.has(event.type):
            return ()
        found = self._by_type[event.type]
        return [one for one in found if one.everyone or one.owner == event.owner]

    def changed(self) -> None:
        """Let every process read again; told after the commit."""
        self._hub.bump(GENERATION)

    def _reload(self) -> None:
        if self._clock.monotonic() < self._retry_at:
            return
        # Taken before reading, so that what changes meanwhile is read again.
        generation = self._hub.generation(GENERATION)
        try:
            found = self._read()
        except StorageError as error:  # what is known stays good
            self._retry_at = self._clock.monotonic() + RETRY_SECONDS
            _log.warning("webhooks.unreadable", detail=error.detail)
            return
        by_type: defaultdict[str, list[Subscription]] = defaultdict(list)
        for one in found:
            for type in frozenset().union(*map(meant, one.events)):
                by_type[type].append(one)
        self._by_type = dict(by_type)
        self._generation = generation
        self._retry_at = 0.0
