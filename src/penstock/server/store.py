"""The queries of API keys; the only SQL about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from penstock.db import Database
from penstock.db.database import Call
from penstock.web.principal import Role


class KeyRecord(msgspec.Struct, frozen=True):
    """A key as it is stored: without its token. Instants are milliseconds since 1970, UTC."""

    id: str
    name: str
    owner: str
    role: Role
    digest: str  # SHA-256 of the token, hex
    prefix: str  # the token's first characters
    rate_limit: int | None  # requests a minute; None: the server's default, 0: none
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None
    route_limits: str | None = None  # JSON: route -> rate, as `limits.stored` writes it
    budget_micros: int | None = None
    budget_tokens: int | None = None
    budget_period: str | None = None  # day or month

    def is_live(self, at: int) -> bool:
        """Whether the key opens anything at instant `at`."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > at)


CHANGEABLE: Final = frozenset(
    (
        *("name", "rate_limit", "route_limits"),
        *("budget_micros", "budget_tokens", "budget_period"),
    )
)
"""Columns that may be set on a key that exists."""

_COLUMNS = ", ".join(KeyRecord.__struct_fields__)
_VALUES = ", ".join(f":{name}" for name in KeyRecord.__struct_fields__)
_FIND = f"SELECT {_COLUMNS} FROM auth_keys WHERE id = ?"
_UNREVOKED = f"SELECT {_COLUMNS} FROM auth_keys WHERE revoked_at IS NULL"
_PAGE = f"""
SELECT {_COLUMNS} FROM auth_keys
WHERE (created_at, id) < (:created_at, :id)
ORDER BY created_at DESC, id DESC LIMIT :limit
"""
_ADD = f"INSERT INTO auth_keys ({_COLUMNS}) VALUES ({_VALUES})"
_ADD_FIRST = f"""
INSERT INTO auth_keys ({_COLUMNS}) SELECT {_VALUES}
WHERE NOT EXISTS (SELECT 1 FROM auth_keys)
"""
_REVOKE = "UPDATE auth_keys SET revoked_at = :at WHERE id = :id AND revoked_at IS NULL"
_REVOKE_KEEPING_ADMIN = f"""
{_REVOKE} AND (
    role <> 'admin' OR expires_at <= :at OR EXISTS (
        SELECT 1 FROM auth_keys AS other
        WHERE other.role = 'admin' AND other.id <> :id AND other.revoked_at IS NULL
        AND (other.expires_at IS NULL OR other.expires_at > :at)
    )
)
"""
_CHANGE = "UPDATE auth_keys SET {values} WHERE id = :id AND revoked_at IS NULL"
_TOUCH = """
UPDATE auth_keys SET last_used_at = :at
WHERE id = :id AND (last_used_at IS NULL OR last_used_at < :at)
"""
# Each change of a key that exists has its entry on the audit log, in the same transaction.
_STATE = """
SELECT count(*), max(created_at), count(revoked_at), max(revoked_at),
(SELECT count(*) FROM audit_entries WHERE action = 'key.changed') FROM auth_keys
"""
_LAST = (1 << 62, "")  # behind every (created_at, id), and small enough for SQLite


class KeyStore:
    """Asks about and changes the table `auth_keys`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, id: str) -> KeyRecord | None:
        """One key, revoked or not."""
        row = await self._database.row(_FIND, (id,))
        return None if row is None else KeyRecord(*row)

    async def unrevoked(self) -> list[KeyRecord]:
        """Every key that was not revoked, expired ones too."""
        return [KeyRecord(*row) for row in await self._database.rows(_UNREVOKED)]

    async def state(self) -> tuple[Any, ...] | None:
        """Something that differs when keys were made, revoked or given other limits since."""
        return await self._database.row(_STATE)

    async def page(self, *, after: tuple[int, str] | None, limit: int) -> list[KeyRecord]:
        """At most `limit` keys, newest first, older than `after` (created_at, id)."""
        created_at, id = after or _LAST
        params = {"created_at": min(created_at, _LAST[0]), "id": id, "limit": limit}
        return [KeyRecord(*row) for row in await self._database.rows(_PAGE, params)]

    async def add(self, record: KeyRecord, *, audit: Call) -> None:
        """Store a new key, with the entry that tells of it."""
        await self._database.write((_ADD, msgspec.structs.asdict(record)), audit)

    async def add_first(self, record: KeyRecord, *, audit: Call) -> bool:
        """Store `record` if there is no key yet, not even a revoked one; says whether it did.

        Serial, so that of several processes that start at once exactly one makes the key; `audit`
        is an entry for where it did.
        """
        adding = (_ADD_FIRST, msgspec.structs.asdict(record))
        return await self._database.write(adding, audit, serial=True) > 0

    async def revoke(self, id: str, *, at: int, keep_admin: bool, audit: Call) -> bool:
        """Revoke a key; False for none, a revoked one, or (`keep_admin`) the last admin's.

        Serial, so that of the two last admins' keys one stays; `audit` is an entry for where it
        did.
        """
        sql = _REVOKE_KEEPING_ADMIN if keep_admin else _REVOKE
        params: dict[str, Any] = {"id": id, "at": at}
        return await self._database.write((sql, params), audit, serial=True) > 0

    async def change(self, id: str, values: Mapping[str, Any], *, audit: Call) -> bool:
        """Set columns of a live key; False for none. `audit` is an entry for where it did."""
        assert values.keys() <= CHANGEABLE, values.keys()
        sql = _CHANGE.format(values=", ".join(f"{name} = :{name}" for name in values))
        return await self._database.write((sql, {**values, "id": id}), audit) > 0

    def touch(self, id: str, *, at: int) -> None:
        """Note the time of use, some time soon; nobody waits for it."""
        self._database.write_later((_TOUCH, {"id": id, "at": at}))
