"""The audit log: what is written beside a change, and how it is read again.

`entry` makes a statement for the caller's own transaction. Details are what an admin needs to see
what changed (ids, versions, names, counts), never a user's text; they are cut to a bound, because a
change must not fail for being described at length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from penstock.audit.store import AuditEntry, AuditStore
from penstock.clock import Clock
from penstock.db import Database
from penstock.db.database import Call

LONGEST_TEXT: Final = 500  # characters of one value
MOST_ITEMS: Final = 50  # of one list or mapping
DEEPEST: Final = 4  # levels of nesting
MOST_BYTES: Final = 8_192  # of one entry's detail
LONGEST_NAME: Final = 200  # characters of actor, action and subject


class AuditLog:
    """Adds entries and pages through them. Entries are numbered as they are written."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._store = AuditStore(database)
        self._clock = clock

    def entry(
        self,
        actor: str,
        action: str,
        subject: str,
        detail: Mapping[str, object] | None = None,
        *,
        if_changed: bool = False,
    ) -> Call:
        """The statement that records a change, for the same `database.write` as the change.

        `actor` is a key's id or "cli", `action` what was done ("policy.activated"), `subject` the
        id of what it was done to. `detail` becomes JSON, cut to `MOST_BYTES`. With `if_changed`
        nothing is recorded unless the statement just before this one changed a row.
        """
        adding = self._store.adding_if_changed if if_changed else self._store.adding
        return adding(
            at=int(self._clock.now() * 1000),
            actor=_storable(actor[:LONGEST_NAME]),
            action=action[:LONGEST_NAME],
            subject=_storable(subject[:LONGEST_NAME]),
            detail=_encoded(detail or {}),
        )

    async def record(
        self, actor: str, action: str, subject: str, detail: Mapping[str, object] | None = None
    ) -> None:
        """Write an entry on its own, for what changes nothing in the database."""
        await self._store.add(self.entry(actor, action, subject, detail))

    async def page(
        self,
        *,
        before: int | None = None,
        limit: int = 50,
        subject: str | None = None,
        action: str | None = None,
        actor: str | None = None,
    ) -> list[AuditEntry]:
        """At most `limit` entries, newest first, numbered below `before`."""
        return await self._store.page(
            before=before, limit=limit, subject=subject, action=action, actor=actor
        )


def _encoded(detail: Mapping[str, object]) -> bytes:
    data = msgspec.json.encode(_cut(detail, DEEPEST), enc_hook=str)
    if len(data) <= MOST_BYTES:
        return data
    keys = [_storable(_shortened(str(key), 60)) for key in detail]
    return msgspec.json.encode({"cut": True, "keys": keys[:MOST_ITEMS]})


def _cut(value: object, levels: int) -> object:
    """`value` with long texts, long lists and deep nesting shortened, in a visible way."""
    match value:
        case str():
            return _storable(_shortened(value, LONGEST_TEXT))
        case bytes():
            return f"{len(value)} bytes"
        case Mapping() | list() | tuple() | set() | frozenset() if levels == 0:
            return f"{len(value)} items"
        case Mapping():
            kept = list(value.items())[:MOST_ITEMS]
            return {
                _storable(str(key)[:LONGEST_NAME]): _cut(item, levels - 1) for key, item in kept
            }
        case list() | tuple():
            shown = [_cut(item, levels - 1) for item in value[:MOST_ITEMS]]
            left = len(value) - MOST_ITEMS
            return [*shown, f"and {left} more"] if left > 0 else shown
        case set() | frozenset():
            return _cut(sorted(map(str, value)), levels)
        case _:
            return value


def _name(key: object) -> str:
    return _storable(_shortened(str(key), LONGEST_NAME))


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _storable(text: str) -> str:
    """`text` with what UTF-8 cannot say (lone surrogates) replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")
