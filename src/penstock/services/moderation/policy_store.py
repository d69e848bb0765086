"""The queries of policies, their activations and who they are for; the only SQL about them.

Changes are written with the audit entry that tells of them, in one transaction. An activation says
which one it follows: where another came first it breaks a rule of the table and nothing is written.
Numbers from outside may be larger than a column holds, so they are compared as BIGINT.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from penstock.db import Database
from penstock.db.database import Call


class Revision(msgspec.Struct, frozen=True):
    """One row of `moderation_policies`; never changed once it is written."""

    policy_id: str
    number: int  # from 1; 0 is the policy of the settings, which is not stored
    version: str  # of the content
    document: bytes  # the whole policy as JSON
    note: str
    created_by: str  # key id, or "cli"; "" for revision 0
    created_at: int  # milliseconds since 1970, UTC


class Activation(msgspec.Struct, frozen=True):
    """One row of `moderation_activations`: from then on this revision held."""

    number: int  # ascending over all policies
    policy_id: str
    revision: int
    is_rollback: bool
    activated_by: str
    activated_at: int  # milliseconds since 1970, UTC


_REVISION = "id, revision, version, document, note, created_by, created_at"
_ACTIVATION = "number, policy_id, revision, is_rollback, activated_by, activated_at"
_IDS = "SELECT id, max(revision) FROM moderation_policies GROUP BY id ORDER BY id"
_FIND = f"""
SELECT {_REVISION} FROM moderation_policies WHERE id = ? AND revision = CAST(? AS BIGINT)
"""
_LATEST = f"""
SELECT {_REVISION} FROM moderation_policies WHERE id = ? ORDER BY revision DESC LIMIT 1
"""
_REVISIONS = f"""
SELECT {_REVISION} FROM moderation_policies WHERE id = ? AND revision < CAST(? AS BIGINT)
ORDER BY revision DESC LIMIT ?
"""
_HOLDING = f"""
SELECT {", ".join(f"a.{name}" for name in _ACTIVATION.split(", "))}, p.document
FROM moderation_activations AS a
LEFT JOIN moderation_policies AS p ON p.id = a.policy_id AND p.revision = a.revision
WHERE a.number IN (SELECT max(number) FROM moderation_activations GROUP BY policy_id)
"""
_HISTORY = f"SELECT {_ACTIVATION} FROM moderation_activations WHERE policy_id = ? ORDER BY number"
_ASSIGNED = "SELECT key_id, policy_id FROM moderation_assignments"
_KEYS = """
SELECT key_id FROM moderation_assignments WHERE policy_id = ? ORDER BY key_id LIMIT ?
"""
_ASSIGNMENT = "SELECT policy_id FROM moderation_assignments WHERE key_id = ?"
# Counts too: of two changes at once, the one with the lower number may be the later to be seen.
_STATE = """
SELECT (SELECT max(number) FROM moderation_activations),
    (SELECT count(*) FROM moderation_activations), count(*), sum(assigned_at)
FROM moderation_assignments
"""
_ADD = f"INSERT INTO moderation_policies ({_REVISION}) VALUES (?, ?, ?, ?, ?, ?, ?)"
_ACTIVATE = """
INSERT INTO moderation_activations
(policy_id, revision, is_rollback, activated_by, activated_at)
VALUES (:policy_id, CASE WHEN coalesce(
    (SELECT max(number) FROM moderation_activations WHERE policy_id = :policy_id), 0
) = CAST(:after AS BIGINT) THEN CAST(:revision AS INTEGER) END, :is_rollback, :by, :at)
"""
_ASSIGN = """
INSERT INTO moderation_assignments (key_id, policy_id, assigned_at) VALUES (?, ?, ?)
ON CONFLICT (key_id) DO UPDATE
SET policy_id = excluded.policy_id, assigned_at = excluded.assigned_at
"""
_UNASSIGN = "DELETE FROM moderation_assignments WHERE key_id = ? AND policy_id = ?"
_LAST: Final = (1 << 63) - 1  # no revision is numbered higher


class PolicyStore:
    """Asks about and changes policies, which are few."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ids(self) -> list[tuple[str, int]]:
        """Every stored policy and its latest revision."""
        return [(str(id), int(latest)) for id, latest in await self._database.rows(_IDS)]

    async def find(self, policy_id: str, number: int) -> Revision | None:
        """One revision."""
        return _revision(await self._database.row(_FIND, (policy_id, min(number, _LAST))))

    async def latest(self, policy_id: str) -> Revision | None:
        """The revision that was written last."""
        return _revision(await self._database.row(_LATEST, (policy_id,)))

    async def revisions(self, policy_id: str, *, before: int | None, limit: int) -> list[Revision]:
        """At most `limit` revisions, latest first, numbered below `before`."""
        place = _LAST if before is None else min(before, _LAST)
        rows = await self._database.rows(_REVISIONS, (policy_id, place, limit))
        return [Revision(*row) for row in rows]

    async def holding(self) -> list[tuple[Activation, bytes | None]]:
        """What holds now for every policy that was ever activated; None for revision 0."""
        return [(_activation(row[:-1]), row[-1]) for row in await self._database.rows(_HOLDING)]

    async def history(self, policy_id: str) -> list[Activation]:
        """Every activation of a policy, oldest first."""
        return [_activation(row) for row in await self._database.rows(_HISTORY, (policy_id,))]

    async def assigned(self) -> dict[str, str]:
        """The policy of every key that has one of its own."""
        return dict(await self._database.rows(_ASSIGNED))

    async def keys(self, policy_id: str, *, limit: int) -> list[str]:
        """Keys that a policy is for."""
        return [str(row[0]) for row in await self._database.rows(_KEYS, (policy_id, limit))]

    async def assignment(self, key_id: str) -> str | None:
        """The policy of one key, if it has one of its own."""
        row = await self._database.row(_ASSIGNMENT, (key_id,))
        return None if row is None else str(row[0])

    async def state(self) -> tuple[Any, ...] | None:
        """Something that differs when what holds or who it is for was changed since."""
        return await self._database.row(_STATE)

    async def add(self, revision: Revision, told: Call) -> None:
        """Write a revision. Raises Conflict when another has its number."""
        await self._database.write((_ADD, msgspec.structs.astuple(revision)), told)

    async def activate(self, activation: Activation, told: Call, *, after: int) -> None:
        """Let a revision hold, if `after` is still the policy's last activation (0: none).

        Raises Conflict when another came first.
        """
        params = {
            "policy_id": activation.policy_id,
            "revision": activation.revision,
            "is_rollback": activation.is_rollback,
            "by": activation.activated_by,
            "at": activation.activated_at,
            "after": after,
        }
        await self._database.write((_ACTIVATE, params), told)

    async def assign(self, key_id: str, policy_id: str, told: Call, *, at: int) -> None:
        """Give a key a policy of its own."""
        await self._database.write((_ASSIGN, (key_id, policy_id, at)), told)

    async def unassign(self, key_id: str, policy_id: str, told: Call) -> None:
        """Take a key's own policy away; one that it does not have changes nothing."""
        await self._database.write((_UNASSIGN, (key_id, policy_id)), told)


def _revision(row: tuple[Any, ...] | None) -> Revision | None:
    return None if row is None else Revision(*row)


def _activation(row: tuple[Any, ...]) -> Activation:
    values = list(row)
    values[3] = bool(values[3])  # SQLite keeps 0 and 1
    return Activation(*values)
