"""`Webhooks`: who wants to be told of what, and telling them.

A secret is made here, returned once, and never again. Whatever changes is written together with its
audit entry and then told to every process by the hub.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, UnsetType

from penstock.audit import AuditLog
from penstock.clock import Clock
from penstock.db import Database
from penstock.db.database import Call
from penstock.errors import BlockedAddress, Conflict, InvalidInput, NotFound
from penstock.hub import Hub
from penstock.net.dial import Dialler
from penstock.notify.delivery import Deliverer, check_scheme
from penstock.notify.event import TEST, Event, check_patterns, new_event
from penstock.notify.mail import Mailer
from penstock.notify.outbox import Outbox
from penstock.notify.signature import new_secret
from penstock.notify.store import Webhook, WebhookStore
from penstock.notify.subscriptions import Subscriptions
from penstock.observe.logging import get_logger
from penstock.observe.metrics import Metrics
from penstock.tasks import Job, Task, TaskQueue

MOST: Final = 100  # webhooks of one owner
OLD_SECRET_SECONDS: Final = 86_400.0
SYSTEM: Final = "penstock"  # who disabled a webhook that is gone

_log = get_logger("penstock.notify")


class NewWebhook(NamedTuple):
    """A webhook with the secret that nobody can show again."""

    webhook: Webhook
    secret: str


class Changes(msgspec.Struct, frozen=True):
    """What is to be different; what is not set stays."""

    url: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    events: tuple[str, ...] | UnsetType = UNSET
    everyone: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class Webhooks:
    """All webhooks of one installation.

    The queue has to know `tasks()`, and `keep()` has to run where events are emitted. What
    `mail` wants is told by e-mail, too.
    """

    def __init__(
        self,
        database: Database,
        *,
        hub: Hub,
        queue: TaskQueue,
        dialler: Dialler,
        clock: Clock,
        metrics: Metrics,
        audit: AuditLog,
        mail: Mailer,
    ) -> None:
        self._store = WebhookStore(database)
        self._queue = queue
        self._guard = dialler.guard
        self._clock = clock
        self._audit = audit
        self._deliverer = Deliverer(
            self._store,
            queue=queue,
            dialler=dialler,
            clock=clock,
            metrics=metrics,
            retire=self._retire,
        )
        self._subscriptions = Subscriptions(self._store.subscriptions, hub=hub, clock=clock)
        self._mail = mail
        self._outbox = Outbox(
            queue,
            self._deliverer.task,
            store=self._store,
            subscriptions=self._subscriptions,
            hub=hub,
            clock=clock,
            metrics=metrics,
            mail=mail,
        )

    # --- telling ---------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Have an event told to whoever subscribed; on the event loop, without waiting.

        It is durable some 50 ms later, if `keep` runs. While nobody subscribes it costs a look-up.
        """
        self._outbox.put(event)

    def wants(self, type: str) -> bool:
        """Whether anybody subscribed to such events, or may have: others need not be made."""
        return self._mail.wants(type) or self._subscriptions.has(type)

    async def test(self, id: str) -> Job[Any]:
        """Send a test event to one webhook, as a job. Raises NotFound and Conflict."""
        webhook = await self.get(id)
        if not webhook.enabled:
            raise Conflict(f"{id} is disabled: enable it first")
        event = new_event(
            TEST,
            subject=id,
            owner=webhook.owner,
            data={"webhook_id": id, "events": list(webhook.events)},
            clock=self._clock,
        )
        task = self._deliverer.task
        return await self._queue.enqueue(task, (id, event), options={"owner": webhook.owner})

    def tasks(self) -> list[Task[..., Any]]:
        """The tasks that deliver."""
        return [self._deliverer.task, self._mail.task]

    async def keep(self) -> None:
        """Turn emitted events into jobs until cancelled.

        Cancelled after the queue stopped and before the database closes, it leaves what the last
        jobs emitted to the next process.
        """
        await self._outbox.keep()

    async def refresh(self) -> None:
        """Learn who subscribed; `keep` does so, too."""
        await self._subscriptions.refresh()

    async def flush(self) -> None:
        """Turn what was emitted into jobs now."""
        await self._outbox.flush()

    # --- webhooks --------------------------------------------------------------------------------

    async def create(
        self,
        url: str,
        *,
        events: Sequence[str],
        owner: str,
        actor: str,
        description: str = "",
        everyone: bool = False,
    ) -> NewWebhook:
        """Subscribe a URL to events of `owner`, or of `everyone`.

        Raises InvalidInput for no or unknown events, BlockedAddress for a URL that may not be
        called, and Conflict when the owner has too many.
        """
        _check(events)
        if await self._store.count(owner) >= MOST:
            raise Conflict(f"{owner} has {MOST} webhooks already: delete one first")
        webhook = Webhook(
            id=f"hook_{secrets.token_hex(8)}",
            owner=owner,
            url=await self._checked(url),
            description=description,
            events=tuple(events),
            everyone=everyone,
            enabled=True,
            disabled_reason=None,
            old_secret_until=None,
            last_status=None,
            last_error=None,
            last_at=None,
            created_at=self._now(),
        )
        secret = new_secret()
        entry = self._entry(actor, "webhook.created", webhook)
        await self._store.add(webhook, secret=secret, audit=entry)
        await self._subscriptions.changed()
        return NewWebhook(webhook, secret)

    async def get(self, id: str) -> Webhook:
        """One webhook. Raises NotFound."""
        webhook = await self._store.find(id)
        if webhook is None:
            raise NotFound(f"there is no webhook {id[:80]!r}")
        return webhook

    async def page(
        self, *, owner: str | None, after: tuple[int, str] | None = None, limit: int = 50
    ) -> list[Webhook]:
        """At most `limit` webhooks, newest first, older than `after` (created_at, id).

        With an `owner` theirs, without those that hear of everyone; else all.
        """
        return await self._store.page(owner=owner, after=after, limit=limit)

    async def update(self, id: str, changes: Changes, *, actor: str) -> Webhook:
        """Change a webhook; enabling it forgets why it was disabled. Raises as `create`."""
        webhook = await self.get(id)
        asked = {
            name: value
            for name, value in msgspec.structs.asdict(changes).items()
            if value is not UNSET
        }
        if "events" in asked:
            _check(asked["events"])
        if "url" in asked:
            asked["url"] = await self._checked(asked["url"])
        if "enabled" in asked:
            asked["disabled_reason"] = None
        changed = msgspec.structs.replace(webhook, **asked)
        entry = self._entry(actor, "webhook.changed", changed)
        await self._store.change(changed, audit=entry)
        await self._subscriptions.changed()
        return changed

    async def rotate(self, id: str, *, actor: str) -> NewWebhook:
        """Make a new secret; the one before signs, too, for 24 hours. Raises NotFound."""
        webhook = await self.get(id)
        until = self._now() + int(OLD_SECRET_SECONDS * 1000)
        secret = new_secret()
        entry = self._entry(actor, "webhook.secret_rotated", webhook)
        await self._store.rotate(id, secret=secret, old_until=until, audit=entry)
        return NewWebhook(msgspec.structs.replace(webhook, old_secret_until=until), secret)

    async def delete(self, id: str, *, actor: str) -> None:
        """Remove a webhook; what waits for it ends quietly. Raises NotFound."""
        webhook = await self.get(id)
        await self._store.delete(id, audit=self._entry(actor, "webhook.deleted", webhook))
        await self._subscriptions.changed()

    async def _retire(self, webhook: Webhook, reason: str) -> None:
        entry = self._entry(SYSTEM, "webhook.disabled", webhook, reason=reason)
        await self._store.retire(webhook.id, reason=reason, audit=entry)
        await self._subscriptions.changed()
        _log.warning("webhooks.disabled", webhook=webhook.id, reason=reason)

    async def _checked(self, url: str) -> str:
        """The URL in its canonical form, if it may be called."""
        try:
            target = await self._guard.check(url)
            check_scheme(target)
        except BlockedAddress as error:
            told = [{"pointer": "/url", "detail": error.detail}]
            raise BlockedAddress(error.detail, errors=told) from error
        return target.url

    def _entry(self, actor: str, action: str, webhook: Webhook, **more: object) -> Call:
        """The audit entry. Of the URL it has the host alone: the rest may be a secret itself."""
        detail = {
            "host": urlsplit(webhook.url).hostname,
            "owner": webhook.owner,
            "events": webhook.events,
            "everyone": webhook.everyone,
            "enabled": webhook.enabled,
            **more,
        }
        return self._audit.entry(actor, action, webhook.id, detail)

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


def _check(events: Sequence[str]) -> None:
    if not events:
        raise InvalidInput(
            "a webhook without events would never be called",
            errors=[{"pointer": "/events", "detail": "must not be empty"}],
        )
    check_patterns(events)
