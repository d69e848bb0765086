"""The queries of recorded verdicts; the only SQL about them.

A verdict is written once, before its first reply; its id says everything that it depends on, so
the same verdict again has nothing to write. Ids that are known to be on record are kept in memory,
bounded, so that it does not even ask.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

import msgspec

from penstock.db import Database
from penstock.hub.hub import Hub

GENERATION: Final = "moderation_verdicts"  # bumped when verdicts are deleted
KNOWN_IDS: Final = 50_000  # about 8 MB
DELETED_AT_ONCE: Final = 500  # rows per transaction, so that a large purge lets other writes pass


class StoredVerdict(msgspec.Struct, frozen=True):
    """One row of `moderation_verdicts`."""

    id: str
    owner: str
    content_hash: str  # SHA-256 of the text, hex
    content_key: str
    score_key: str
    policy_version: str
    decision: str
    flagged: bool
    reason: str
    risk: float  # 0..1
    record: bytes  # scores and findings as msgpack
    excerpt_share: float  # 0..1, of the text, that a provider read
    word_count: int
    content: str | None  # only where a setting asks for it
    user_id: str | None
    created_at: int  # milliseconds since 1970, UTC
    key_id: str | None = None  # the API key that asked
    scores: bytes | None = None  # int32 millionths in the order of CATEGORIES, -1: not judged
    is_foreign: bool = False  # in a language that its judges cannot read
    degraded: str | None = None  # the code of what was missing
    listed: str | None = None  # what a list made of it


_BOOLEANS = [StoredVerdict.__struct_fields__.index(name) for name in ("flagged", "is_foreign")]
_COLUMNS = ", ".join(StoredVerdict.__struct_fields__)
_SAVE = (
    f"INSERT INTO moderation_verdicts ({_COLUMNS}) "
    f"VALUES ({', '.join('?' * len(StoredVerdict.__struct_fields__))}) "
    "ON CONFLICT (id) DO NOTHING"
)
_FIND = f"SELECT {_COLUMNS} FROM moderation_verdicts WHERE id = ?"
_FIND_OWNED = f"{_FIND} AND owner = ?"
_RECENT = f"""
SELECT {_COLUMNS} FROM moderation_verdicts
WHERE (created_at, id) < (?, ?)
ORDER BY created_at DESC, id DESC LIMIT ?
"""
_RECENT_OWNED = f"""
SELECT {_COLUMNS} FROM moderation_verdicts
WHERE owner = ? AND (created_at, id) < (?, ?)
ORDER BY created_at DESC, id DESC LIMIT ?
"""
_COUNT = "SELECT count(*) FROM moderation_verdicts"
_PURGE = """
DELETE FROM moderation_verdicts WHERE id IN (
    SELECT id FROM moderation_verdicts WHERE created_at < ? LIMIT ?
)
"""
_ERASE = """
DELETE FROM moderation_verdicts WHERE id IN (
    SELECT id FROM moderation_verdicts WHERE user_id = ? LIMIT ?
)
"""
_LAST = (1 << 62, "")  # behind every (created_at, id), and small enough for SQLite


class VerdictStore:
    """Asks about and changes the table `moderation_verdicts`.

    With a `hub`, a deletion in one process makes the others forget which ids they know; without it
    they may take a deleted verdict for recorded until they restart.
    """

    def __init__(self, database: Database, *, hub: Hub | None = None) -> None:
        self._database = database
        self._hub = hub
        self._known: dict[str, None] = {}  # a set in order of arrival
        self._generation = 0 if hub is None else hub.generation(GENERATION)

    def knows(self, id: str) -> bool:
        """Whether this verdict is surely on record; False when that would have to be looked up."""
        generation = self._hub_generation()
        if generation != self._generation:
            self._generation = generation
            self._known.clear()
        return id in self._known

    async def save(self, verdict: StoredVerdict) -> bool:
        """Record the verdict unless it is on record; on disk on return. Says whether it wrote.

        Raises StorageError when it could not.
        """
        if self.knows(verdict.id):
            return False
        generation = self._generation
        changed = await self._database.write((_SAVE, msgspec.structs.astuple(verdict)))
        if generation == self._generation:  # else it may have been deleted meanwhile
            self._remember(verdict.id)
        return changed == 1

    async def find(self, verdict_id: str, *, owner: str | None = None) -> StoredVerdict | None:
        """One verdict; with `owner`, only if it is that owner's."""
        if owner is None:
            row = await self._database.row(_FIND, (verdict_id,))
        else:
            row = await self._database.row(_FIND_OWNED, (verdict_id, owner))
        return None if row is None else _verdict(row)

    async def recent(
        self, *, after: tuple[int, str] | None = None, limit: int = 50, owner: str | None = None
    ) -> list[StoredVerdict]:
        """At most `limit` verdicts, newest first, older than `after` (created_at, id)."""
        created_at, id = after or _LAST
        place = (min(created_at, _LAST[0]), id)
        if owner is None:
            rows = await self._database.rows(_RECENT, (*place, limit))
        else:
            rows = await self._database.rows(_RECENT_OWNED, (owner, *place, limit))
        return [_verdict(row) for row in rows]

    async def count(self, *, owner: str | None = None) -> int:
        """How many verdicts are on record; reads an index from end to end, in a thread."""
        if owner is None:
            rows = await self._database.scan(_COUNT)
        else:
            rows = await self._database.scan(f"{_COUNT} WHERE owner = ?", (owner,))
        return int(rows[0][0])

    async def purge(self, before: int) -> int:
        """Delete what was recorded before this instant (milliseconds); how many."""
        return await self._delete(_PURGE, before)

    async def erase(self, user_id: str) -> int:
        """Delete what was recorded about a user of the application; how many."""
        return await self._delete(_ERASE, user_id)

    async def _delete(self, sql: str, what: int | str) -> int:
        total = 0
        try:
            while deleted := await self._database.write((sql, (what, DELETED_AT_ONCE))):
                total += deleted
        except BaseException:
            self._forget()  # some may be gone
            raise
        if total:
            self._forget()
        return total

    def _remember(self, id: str) -> None:
        if len(self._known) >= KNOWN_IDS:
            for old in list(islice(self._known, KNOWN_IDS // 100)):
                del self._known[old]
        self._known[id] = None

    def _forget(self) -> None:
        self._known.clear()
        if self._hub is None:
            self._generation += 1
        else:
            self._generation = self._hub.bump(GENERATION)

    def _hub_generation(self) -> int:
        return self._generation if self._hub is None else self._hub.generation(GENERATION)


def _verdict(row: tuple[Any, ...]) -> StoredVerdict:
    values = list(row)
    for place in _BOOLEANS:
        values[place] = bool(values[place])  # SQLite keeps 0 and 1
    return StoredVerdict(*values)
