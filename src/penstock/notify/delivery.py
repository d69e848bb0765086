"""One attempt at telling one receiver, and what follows from how it went.

    2xx              done
    410              the webhook is disabled
    anything else    again: eight attempts, with waits from seconds to hours, over about a day;
                     then the job is failed, and `penstock tasks retry` begins anew

Delivery is at least once: a process that dies between the answer and its commit delivers again,
under the same webhook-id.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from penstock.clock import Clock
from penstock.errors import BlockedAddress, FetchFailed, StorageError
from penstock.net.dial import Dialler, Fetched
from penstock.net.guard import Target
from penstock.notify.event import TEST, Event, payload
from penstock.notify.signature import signed
from penstock.notify.store import Webhook, WebhookStore
from penstock.notify.turns import Later, Resting, Turns
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.tasks import Retry, Task, TaskQueue, ctx
from penstock.tasks.task import declare

TASK: Final = "penstock.webhooks.deliver"
ATTEMPT_SECONDS: Final = 15.0
WAITS: Final = (5.0, 60.0, 600.0, 2_700.0, 7_200.0, 21_600.0, 50_400.0)  # 23 hours in all
ATTEMPTS: Final = len(WAITS) + 1
JITTER: Final = 0.1  # of a wait, either way: what failed together need not come back together
LONGEST_WAIT: Final = 86_400.0  # that a receiver may ask for
DELIVERIES: Final = "penstock_webhook_deliveries_total"
SECONDS: Final = "penstock_webhook_delivery_seconds"

_log = get_logger("penstock.notify")

Retire = Callable[[Webhook, str], Awaitable[None]]


class NotDelivered(Retry):
    """The receiver did not take it."""


class Deliverer:
    """Posts events. `retire` disables a webhook whose receiver is gone."""

    def __init__(
        self,
        store: WebhookStore,
        *,
        queue: TaskQueue,
        dialler: Dialler,
        clock: Clock,
        metrics: Metrics,
        retire: Retire,
    ) -> None:
        self._store = store
        self._queue = queue
        self._dialler = dialler
        self._clock = clock
        self._metrics = metrics
        self._retire = retire
        self._turns = Turns(clock)
        self.task = self._declare()

    def _declare(self) -> Task[..., Any]:
        @declare(
            name=TASK,
            queue="notifications",
            retries=ATTEMPTS - 1,
            timeout=4 * ATTEMPT_SECONDS,  # the dialler's own deadline is met long before
            keep="1d",
        )
        async def deliver(webhook: str, event: Event, tried: int = 0) -> dict[str, Any]:
            """Post one event to one webhook; `tried` counts the attempts of jobs before this."""
            return await self._deliver(webhook, event, tried)

        return deliver

    async def _deliver(self, id: str, event: Event, tried: int) -> dict[str, Any]:
        webhook = await self._store.find(id)
        if webhook is None or not webhook.enabled:
            self._metrics.count(DELIVERIES, outcome="dropped")
            return {"outcome": "dropped", "reason": "deleted" if webhook is None else "disabled"}
        attempt = tried + max(ctx.attempt, 1)
        name = f"{id} {webhook.url}"  # another address is another receiver
        try:
            last = attempt >= ATTEMPTS or event.type == TEST
            since = await self._turns.take(name, last=last)
        except Later as later:
            return await self._pass_on(webhook, event, attempt - 1, later.seconds)
        except Resting:
            raise self._again(
                "not called: it did not answer a moment ago", attempt, "resting"
            ) from None
        answered = False
        try:
            fetched = await self._post(webhook, event)
            answered = True
        except (FetchFailed, BlockedAddress) as error:
            # What fails soon keeps no place: only what took its time has to rest.
            answered = self._clock.monotonic() - since < ATTEMPT_SECONDS / 3
            self._note(webhook, None, error.detail)
            raise self._again(error.detail, attempt, "failed") from error
        finally:
            self._metrics.observe(SECONDS, self._clock.monotonic() - since)
            self._turns.give(name, since, answered=answered)
        return await self._judge(webhook, fetched, attempt)

    async def _post(self, webhook: Webhook, event: Event) -> Fetched:
        if not webhook.url.startswith("https:"):  # the allow list may be another than it was
            check_scheme(await self._dialler.guard.check(webhook.url))
        now = self._clock.now()
        body = payload(event)
        secrets = await self._store.secrets(webhook.id, at=int(now * 1000))
        headers = signed(event.id, timestamp=int(now), body=body, secrets=secrets)
        headers["content-type"] = "application/json"
        return await self._dialler.fetch(
            webhook.url,
            method="POST",
            headers=headers,
            body=body,
            max_bytes=0,
            cut=True,
            timeout=ATTEMPT_SECONDS,
        )

    async def _judge(self, webhook: Webhook, fetched: Fetched, attempt: int) -> dict[str, Any]:
        status = fetched.status
        if 200 <= status < 300:
            self._note(webhook, status, None)
            self._metrics.count(DELIVERIES, outcome="delivered")
            return {"outcome": "delivered", "status": status}
        host = urlsplit(webhook.url).hostname
        told = f"{host} answered {status}"
        if 300 <= status < 400:
            told = f"{told}, and redirects are not followed: give the address that it leads to"
        self._note(webhook, status, told)
        if status == 410:
            await self._retire(webhook, told)
            self._metrics.count(DELIVERIES, outcome="gone")
            return {"outcome": "gone", "status": status}
        asked = _retry_after(fetched.headers.get("retry-after"), self._clock.now())
        raise self._again(told, attempt, "failed", asked)

    async def _pass_on(
        self, webhook: Webhook, event: Event, tried: int, seconds: float
    ) -> dict[str, Any]:
        """Come back with a job of its own, since an attempt that was not made does not count."""
        left = max(0, ATTEMPTS - tried - 1)
        job = await self._queue.enqueue(
            self.task,
            (webhook.id, event, tried),
            options={"delay": seconds, "retries": left, "owner": webhook.owner},
        )
        self._metrics.count(DELIVERIES, outcome="postponed")
        return {"outcome": "postponed", "job_id": job.id}

    def _again(
        self, told: str, attempt: int, outcome: str, asked: float | None = None
    ) -> NotDelivered:
        self._metrics.count(DELIVERIES, outcome=outcome)
        return NotDelivered(told, after=max(wait_after(attempt), asked or 0.0))

    def _note(self, webhook: Webhook, status: int | None, error: str | None) -> None:
        at = int(self._clock.now() * 1000)
        try:
            self._store.note(webhook.id, status=status, error=error, at=at)
        except StorageError as failure:
            _log.warning("webhooks.not_noted", detail=failure.detail)


def wait_after(attempt: int) -> float:
    """Seconds until the next attempt."""
    return WAITS[min(attempt, len(WAITS)) - 1] * (1 + JITTER * (2 * random.random() - 1))


def check_scheme(target: Target) -> None:
    """Refuse to post over http to whoever is not on the allow list. Raises BlockedAddress."""
    if target.scheme != "https" and not target.trusted:
        raise BlockedAddress(
            "a webhook is called over https; http is for the hosts in PENSTOCK_ALLOW_PRIVATE"
        )


def _retry_after(told: str | None, now: float) -> float | None:
    """Seconds, of a number or a date (RFC 9110, 10.2.3); None for what is neither."""
    if told is None:
        return None
    try:
        if told.strip().isdecimal():
            seconds = float(told)
        else:
            seconds = parsedate_to_datetime(told).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT)
