"""Events on their way from a request to the queue: a bounded buffer, and what empties it.

A request must not wait for a commit that is not its own, so an event becomes a job some 50 ms
later, with all others of that time in one transaction. What the queue does not take any more when
the process stops (its last jobs tell of events, too) is kept in the database for the next one. A
process that is killed loses what is not a job yet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from penstock.clock import Clock
from penstock.errors import PenstockError, QueueStopped, RequestError, StorageError
from penstock.notify.event import Event
from penstock.notify.store import Delivery, WebhookStore
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.tasks import Task, TaskQueue

MOST: Final = 10_000  # deliveries that wait to become jobs
TOGETHER: Final = 1_000  # become jobs in one go
GATHER_SECONDS: Final = 0.05
RETRY_SECONDS: Final = 1.0  # while the queue cannot store jobs
LOST: Final = "penstock_webhook_events_lost_total"

_log = get_logger("penstock.notify")


class Outbox:
    """Deliveries that are not jobs yet. It belongs to one event loop."""

    def __init__(
        self,
        queue: TaskQueue,
        task: Task[..., Any],
        *,
        store: WebhookStore,
        clock: Clock,
        metrics: Metrics,
        most: int = MOST,
    ) -> None:
        self._queue = queue
        self._task = task
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._most = most
        self._waiting: deque[Delivery] = deque()
        self._filled = asyncio.Event()

    def put(self, webhook_id: str, owner: str, event: Event) -> None:
        """Have an event delivered; beyond the bound it is lost, and counted."""
        if len(self._waiting) >= self._most:
            self._lose(1, "full")
            return
        self._waiting.append(Delivery(webhook_id, owner, event))
        self._filled.set()

    async def keep(self) -> None:
        """Turn what comes in into jobs until cancelled, what was left behind first."""
        try:
            await self._recover()
            while True:
                await self._filled.wait()
                await self._clock.sleep(GATHER_SECONDS)
                if not await self.flush():
                    await self._clock.sleep(RETRY_SECONDS)
        finally:
            if not await self.flush():
                await self._leave()

    async def flush(self) -> bool:
        """Turn all that waits into jobs; False when that cannot be done now."""
        self._filled.clear()
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
            while taken:  # a call to the queue has one owner; the order of each one's events stays
                owner = taken[0].owner
                now = [one for one in taken if one.owner == owner]
                try:
                    await self._accept(now, owner)
                except (StorageError, QueueStopped, asyncio.CancelledError) as error:
                    self._waiting.extendleft(reversed(taken))
                    self._filled.set()
                    if isinstance(error, asyncio.CancelledError):
                        raise
                    _log.warning("webhooks.not_enqueued", detail=error.detail)
                    return False
                except Exception:  # the edge of a flush: the next events are as due
                    _log.exception("webhooks.not_enqueued")
                    self._lose(len(now), "not_storable")
                taken = [one for one in taken if one.owner != owner]
        return True

    async def _accept(self, calls: Sequence[Delivery], owner: str) -> None:
        arguments = [(one.webhook_id, one.event) for one in calls]
        try:
            await self._queue.enqueue_many(self._task, arguments, {"owner": owner})
        except RequestError as error:  # one is no JSON, or too large; the others are innocent
            if len(calls) > 1:
                for one in calls:
                    await self._accept([one], owner)
                return
            _log.error("webhooks.not_storable", type=calls[0].event.type, detail=error.detail)
            self._lose(1, "not_storable")

    async def _leave(self) -> None:
        try:
            await self._store.leave(self._waiting)
        except Exception as error:  # nobody is left to be told, and the other parts have to stop
            _log.error("webhooks.lost", count=len(self._waiting), error=type(error).__name__)
            self._lose(len(self._waiting), "stopped")
        self._waiting.clear()

    async def _recover(self) -> None:
        """Take over what stopped processes left; two that start at once may both do so."""
        try:
            while True:
                last, found = await self._store.left()
                if not found:
                    return
                for owner in {one.owner for one in found}:
                    await self._accept([one for one in found if one.owner == owner], owner)
                await self._store.forget(last)
        except PenstockError as error:  # it stays where it is
            _log.warning("webhooks.left_behind", detail=error.detail)

    def _lose(self, count: int, reason: str) -> None:
        if count:
            self._metrics.count(LOST, count, reason=reason)
