"""The queries of the audit log; the only SQL about it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from penstock.db import Database
from penstock.db.database import Call

_ADD: Final = """
INSERT INTO audit_entries (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)
"""
_ADD_IF_CHANGED: Final = """
INSERT INTO audit_entries (at, actor, action, subject, detail)
SELECT ?, ?, ?, ?, ? WHERE changes() > 0
"""
_PAGE: Final = """
SELECT number, at, actor, action, subject, detail FROM audit_entries
WHERE {conditions} ORDER BY number DESC LIMIT ?
"""
_FILTERS: Final = ("subject", "action", "actor")
_LAST: Final = (1 << 63) - 1  # no entry is numbered higher


class AuditEntry(msgspec.Struct, frozen=True):
    """One change. `at` is milliseconds since 1970, UTC; `detail` is a JSON object."""

    number: int  # ascending as they are written; with gaps on PostgreSQL
    at: int
    actor: str  # key id, or "cli"
    action: str  # "policy.activated"
    subject: str  # id of what was changed
    detail: bytes


class AuditStore:
    """Asks about and adds to the table `audit_entries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def adding(self, *, at: int, actor: str, action: str, subject: str, detail: bytes) -> Call:
        """The statement that adds an entry; its number is given when it is written."""
        return _ADD, (at, actor, action, subject, detail)

    def adding_if_changed(
        self, *, at: int, actor: str, action: str, subject: str, detail: bytes
    ) -> Call:
        """The same, where the statement before it in the transaction changed a row."""
        return _ADD_IF_CHANGED, (at, actor, action, subject, detail)

    async def add(self, call: Call) -> None:
        """Run a statement of `adding` on its own."""
        await self._database.write(call)

    async def page(
        self, *, before: int | None, limit: int, **wanted: str | None
    ) -> list[AuditEntry]:
        """At most `limit` entries, newest first, numbered below `before`.

        `wanted` are equalities of subject, action and actor, each with an index of its own.
        """
        asked = {name: wanted.get(name) for name in _FILTERS}
        names = [name for name, value in asked.items() if value is not None]
        conditions = " AND ".join(["number < ?", *(f"{name} = ?" for name in names)])
        params: list[Any] = [_LAST if before is None else before]
        params += [asked[name] for name in names]
        sql = _PAGE.format(conditions=conditions)
        rows = await self._database.scan(sql, [*params, limit])
        return [AuditEntry(*row) for row in rows]
