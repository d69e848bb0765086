"""Events on their way from a request to the queue: a bounded buffer, and what empties it.

They go to webhooks and to who is told by mail.

A request must not wait for a commit that is not its own, so an event becomes a job some 50 ms
later, with all others of that time in one transaction. Where it is not known at once who wants to
hear of it, it is held, and that is read first. What the queue does not take any more when
the process stops (its last jobs tell of events, too) is kept in the database for the next one. Of
several that start together one takes it over, and a delivery that is a job already becomes no
second one. A process that is killed loses what is not a job yet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from penstock.clock import Clock
from penstock.errors import PenstockError, QueueStopped, RequestError, StorageError
from penstock.hub import Hub
from penstock.notify.event import Event
from penstock.notify.mail import RECEIVER, Mailer
from penstock.notify.store import Delivery, WebhookStore
from penstock.notify.subscriptions import Subscriptions
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.tasks import Task, TaskQueue
from penstock.tasks.options import JobOptions

MOST: Final = 10_000  # deliveries that wait to become jobs
TOGETHER: Final = 1_000  # become jobs in one go
GATHER_SECONDS: Final = 0.05
RETRY_SECONDS: Final = 1.0  # while the queue cannot store jobs
LEFT: Final = "outbox:left"  # the lease of who takes over what was left behind
LEFT_SECONDS: Final = 15.0  # for one round of it; who died in one keeps others waiting so long
LEFT_TOGETHER: Final = 100  # of these become jobs beside each other
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
        subscriptions: Subscriptions,
        hub: Hub,
        clock: Clock,
        metrics: Metrics,
        mail: Mailer,
        most: int = MOST,
    ) -> None:
        self._queue = queue
        self._task = task
        self._store = store
        self._subscriptions = subscriptions
        self._hub = hub
        self._clock = clock
        self._metrics = metrics
        self._mail = mail
        self._most = most
        self._waiting: deque[Delivery | Event] = deque()  # events: it is not known for whom
        self._filled = asyncio.Event()

    def put(self, event: Event) -> None:
        """Have an event delivered; beyond the bound it is lost, and counted."""
        for letter in self._mail.of(event):
            self._put(letter)
        if self._subscriptions.stale:
            self._put(event)
            return
        for one in self._subscriptions.of(event):
            self._put(Delivery(one.id, one.owner, event))

    async def keep(self) -> None:
        """Turn what comes in into jobs until cancelled, what was left behind first."""
        try:
            await self._subscriptions.refresh()
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
            if any(isinstance(one, Event) for one in self._waiting):
                if not await self._subscriptions.refresh():
                    self._filled.set()
                    return False
                if self._subscriptions.stale:
                    continue
                self._address()
            if not await self._enqueue(self._taken(TOGETHER)):
                return False
        return True

    async def _enqueue(self, taken: list[Delivery]) -> bool:
        while taken:  # a call to the queue has one task and owner; the order of events stays
            first = self._call(taken[0])
            now = [one for one in taken if self._call(one) == first]
            try:
                await self._accept(now, *first)
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
            taken = [one for one in taken if self._call(one) != first]
        return True

    def _put(self, one: Delivery | Event) -> None:
        if len(self._waiting) >= self._most:
            self._lose(1, "full")
            return
        self._waiting.append(one)
        self._filled.set()

    def _taken(self, most: int) -> list[Delivery]:
        """The first that wait; none of them is held."""
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        return [one for one in taken if isinstance(one, Delivery)]

    def _address(self) -> None:
        """Make deliveries of the events that are held, in their places."""
        held, self._waiting = self._waiting, deque()
        for one in held:
            if isinstance(one, Delivery):
                self._put(one)
            else:
                for receiver in self._subscriptions.of(one):
                    self._put(Delivery(receiver.id, receiver.owner, one))

    def _call(self, one: Delivery) -> tuple[Task[..., Any], str | None]:
        """The task of a delivery's job, and whose job it is; None: the installation's own."""
        if one.receiver.startswith(RECEIVER):
            return self._mail.task, None
        return self._task, one.owner

    async def _accept(
        self, calls: Sequence[Delivery], task: Task[..., Any], owner: str | None
    ) -> None:
        arguments = [(one.receiver, one.event) for one in calls]
        try:
            await self._queue.enqueue_many(task, arguments, {"owner": owner})
        except RequestError as error:  # one is no JSON, or too large; the others are innocent
            if len(calls) > 1:
                for one in calls:
                    await self._accept([one], task, owner)
                return
            _log.error("webhooks.not_storable", type=calls[0].event.type, detail=error.detail)
            self._lose(1, "not_storable")

    async def _leave(self) -> None:
        held = sum(isinstance(one, Event) for one in self._waiting)
        if held and not await self._subscriptions.refresh():
            self._lose(held, "stopped")  # it was never known who wants to hear of them
        self._address()
        waiting = self._taken(len(self._waiting))
        try:
            await self._store.leave(waiting)
        except Exception as error:  # nobody is left to be told, and the other parts have to stop
            _log.error("webhooks.lost", count=len(waiting), error=type(error).__name__)
            self._lose(len(waiting), "stopped")

    async def _recover(self) -> None:
        """Take over what stopped processes left, unless another one does."""
        lease = await self._hub.acquire(LEFT, seconds=LEFT_SECONDS)
        if lease is None:  # it may die of it
            await self._hub.wait_released(LEFT, seconds=LEFT_SECONDS)
            lease = await self._hub.acquire(LEFT, seconds=LEFT_SECONDS)
        if lease is None:
            return
        try:
            while found := await self._store.left():
                for start in range(0, len(found), LEFT_TOGETHER):
                    await self._take_over(found[start : start + LEFT_TOGETHER])
                    await lease.extend(LEFT_SECONDS)
        except PenstockError as error:  # it stays where it is
            _log.warning("webhooks.left_behind", detail=error.detail)
        finally:
            await lease.release()

    async def _take_over(self, found: Sequence[tuple[int, Delivery]]) -> None:
        accepted = await asyncio.gather(
            *(self._accept_left(one) for _, one in found), return_exceptions=True
        )
        await self._store.forget(
            [number for (number, _), error in zip(found, accepted, strict=True) if error is None]
        )
        for error in accepted:
            if error is not None:
                raise error

    async def _accept_left(self, one: Delivery) -> None:
        """Make a job of it, unless there is one: where no lease is shared, others may do so too."""
        task, owner = self._call(one)
        options: JobOptions = {
            "owner": owner,
            "key": f"webhook:{one.receiver}:{one.event.id}",
        }
        try:
            await self._queue.enqueue(task, (one.receiver, one.event), options=options)
        except RequestError as error:
            _log.error("webhooks.not_storable", type=one.event.type, detail=error.detail)
            self._lose(1, "not_storable")

    def _lose(self, count: int, reason: str) -> None:
        if count:
            self._metrics.count(LOST, count, reason=reason)
