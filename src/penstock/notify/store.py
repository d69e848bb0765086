"""The queries of webhooks; the only SQL about them.

Secrets are read by the one query that signs, and are in no record that is shown or logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from penstock.db import Database
from penstock.db.database import Call
from penstock.db.dialect import values_of
from penstock.notify.event import Event

MOST: Final = 10_000  # webhooks that are subscribed at once, and deliveries read at once


class Webhook(msgspec.Struct, frozen=True):
    """Where which events are posted; without its secret. Instants are milliseconds, UTC."""

    id: str
    owner: str
    url: str
    description: str
    events: tuple[str, ...]  # types, or patterns as `verdict.*`
    everyone: bool  # events of all owners
    enabled: bool
    disabled_reason: str | None
    old_secret_until: int | None  # until then the secret before signs, too
    last_status: int | None  # of the latest attempt; None: there was no answer
    last_error: str | None
    last_at: int | None
    created_at: int


class Subscription(msgspec.Struct, frozen=True):
    """What a webhook wants to be told."""

    id: str
    owner: str
    everyone: bool
    events: tuple[str, ...]


class Delivery(msgspec.Struct, frozen=True):
    """One event for one receiver, before it is a job: a webhook's id, or mailto: and an address."""

    receiver: str
    owner: str
    event: Event


_COLUMNS: Final = ", ".join(Webhook.__struct_fields__)
_ADD: Final = f"""
INSERT INTO notify_webhooks ({_COLUMNS}, secret)
VALUES ({", ".join(f":{name}" for name in Webhook.__struct_fields__)}, :secret)
"""
_FIND: Final = f"SELECT {_COLUMNS} FROM notify_webhooks WHERE id = ?"
_SECRETS: Final = """
SELECT secret, old_secret, old_secret_until FROM notify_webhooks WHERE id = ?
"""
_SUBSCRIBED: Final = """
SELECT id, owner, everyone, events FROM notify_webhooks WHERE enabled LIMIT ?
"""
_PAGE: Final = f"""
SELECT {_COLUMNS} FROM notify_webhooks WHERE (created_at, id) < (?, ?)
ORDER BY created_at DESC, id DESC LIMIT ?
"""
_PAGE_OWNED: Final = f"""
SELECT {_COLUMNS} FROM notify_webhooks
WHERE owner = ? AND NOT everyone AND (created_at, id) < (?, ?)
ORDER BY created_at DESC, id DESC LIMIT ?
"""
_COUNT: Final = "SELECT count(*) FROM notify_webhooks WHERE owner = ?"
_CHANGE: Final = """
UPDATE notify_webhooks SET url = ?, description = ?, events = ?, everyone = ?, enabled = ?,
disabled_reason = ? WHERE id = ?
"""
_ROTATE: Final = """
UPDATE notify_webhooks SET old_secret = secret, old_secret_until = ?, secret = ? WHERE id = ?
"""
_RETIRE: Final = """
UPDATE notify_webhooks SET enabled = false, disabled_reason = ? WHERE id = ? AND enabled
"""
_NOTE: Final = """
UPDATE notify_webhooks SET last_status = :status, last_error = :error, last_at = :at
WHERE id = :id AND (last_at IS NULL OR last_at <= :at)
"""
_DELETE: Final = "DELETE FROM notify_webhooks WHERE id = ?"
_LEAVE: Final = "INSERT INTO notify_waiting (webhook_id, owner, event) VALUES (?, ?, ?)"
_LEFT: Final = """
SELECT number, webhook_id, owner, event FROM notify_waiting ORDER BY number LIMIT ?
"""
_FORGET: Final = "DELETE FROM notify_waiting WHERE number IN ({numbers})"
_LAST: Final = (1 << 62, "")  # behind every (created_at, id), and small enough for SQLite


class WebhookStore:
    """Asks about and changes `notify_webhooks` and `notify_waiting`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        numbers = values_of(database.dialect, ":numbers", "bigint")
        self._forget = _FORGET.format(numbers=numbers)

    async def find(self, id: str) -> Webhook | None:
        """One webhook."""
        row = await self._database.row(_FIND, (id,))
        return None if row is None else _webhook(row)

    async def secrets(self, id: str, *, at: int) -> list[str]:
        """The secrets that sign at an instant, the present one first; none for no webhook."""
        row = await self._database.row(_SECRETS, (id,))
        if row is None:
            return []
        secret, old, until = row
        return [secret, old] if old is not None and until > at else [secret]

    async def subscriptions(self) -> list[Subscription]:
        """What all that are enabled want to be told."""
        rows = await self._database.rows(_SUBSCRIBED, (MOST,))
        return [
            Subscription(id, owner, bool(everyone), _patterns(events))
            for id, owner, everyone, events in rows
        ]

    async def count(self, owner: str) -> int:
        """How many webhooks an owner has."""
        row = await self._database.row(_COUNT, (owner,))
        return 0 if row is None else int(row[0])

    async def page(
        self, *, owner: str | None, after: tuple[int, str] | None, limit: int
    ) -> list[Webhook]:
        """At most `limit` webhooks, newest first, older than `after` (created_at, id).

        With an `owner` only theirs, without those that hear of everyone.
        """
        created_at, id = after or _LAST
        place = (min(created_at, _LAST[0]), id, limit)
        if owner is None:
            rows = await self._database.rows(_PAGE, place)
        else:
            rows = await self._database.rows(_PAGE_OWNED, (owner, *place))
        return [_webhook(row) for row in rows]

    async def add(self, webhook: Webhook, *, secret: str, audit: Call) -> None:
        """Store a new webhook."""
        values = msgspec.structs.asdict(webhook)
        values |= {"events": msgspec.json.encode(webhook.events), "secret": secret}
        await self._database.write((_ADD, values), audit)

    async def change(self, webhook: Webhook, *, audit: Call) -> None:
        """Store what may be changed of a webhook."""
        values = (
            webhook.url,
            webhook.description,
            msgspec.json.encode(webhook.events),
            webhook.everyone,
            webhook.enabled,
            webhook.disabled_reason,
            webhook.id,
        )
        await self._database.write((_CHANGE, values), audit)

    async def rotate(self, id: str, *, secret: str, old_until: int, audit: Call) -> None:
        """Give a webhook a new secret; the present one signs on for a while."""
        await self._database.write((_ROTATE, (old_until, secret, id)), audit)

    async def retire(self, id: str, *, reason: str, audit: Call) -> None:
        """Disable a webhook."""
        await self._database.write((_RETIRE, (reason, id)), audit)

    async def delete(self, id: str, *, audit: Call) -> None:
        """Remove a webhook."""
        await self._database.write((_DELETE, (id,)), audit)

    async def leave(self, waiting: Sequence[Delivery]) -> None:
        """Keep for the next process what this one cannot enqueue any more."""
        rows = [(one.receiver, one.owner, msgspec.json.encode(one.event)) for one in waiting]
        await self._database.write((_LEAVE, rows))

    async def left(self) -> list[tuple[int, Delivery]]:
        """What processes left behind, each with its number."""
        return [
            (number, Delivery(receiver, owner, msgspec.json.decode(event, type=Event)))
            for number, receiver, owner, event in await self._database.rows(_LEFT, (MOST,))
        ]

    async def forget(self, numbers: Sequence[int]) -> None:
        """Remove what was left behind; not what others are leaving now, whatever their numbers."""
        told = msgspec.json.encode(numbers).decode()
        await self._database.write((self._forget, {"numbers": told}))

    def note(self, id: str, *, status: int | None, error: str | None, at: int) -> None:
        """Remember how the latest attempt went, some time soon; nobody waits for it."""
        noted = {"id": id, "status": status, "error": error, "at": at}
        self._database.write_later((_NOTE, noted))


def _webhook(row: tuple[Any, ...]) -> Webhook:
    values = dict(zip(Webhook.__struct_fields__, row, strict=True))
    values["events"] = _patterns(values["events"])
    values |= {name: bool(values[name]) for name in ("everyone", "enabled")}
    return Webhook(**values)


def _patterns(stored: bytes) -> tuple[str, ...]:
    return msgspec.json.decode(stored, type=tuple[str, ...])
