"""The queries of user lists and their entries; the only SQL about them.

Every change to an entry gets the next number of `change`, in the transaction of the change, so that
a process learns what is new by asking for what lies behind the last number it saw. So no number may
be committed behind a higher one: changes take their turns. SQLite has one writer anyway, PostgreSQL
locks the table of lists against other changes, not against readers. A removed entry stays as a row
with `deleted_at` until others had days to learn of it; the row with the highest number stays for
good, or the numbers would begin again.

Where a list must not have changed meanwhile, a NULL in a column that takes none ends the whole
transaction, the audit entry with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from penstock.db import Database
from penstock.db.database import Call, Dialect
from penstock.db.dialect import values_of
from penstock.lists.entries import EntryKind, NewEntry
from penstock.lists.listed import ListKind


class ListRecord(msgspec.Struct, frozen=True):
    """A list as it is stored. Instants are milliseconds since 1970, UTC."""

    id: str
    name: str
    kind: ListKind
    key_id: str | None  # whose requests it is for; None: everyone's
    disguises: bool
    enabled: bool
    created_by: str
    created_at: int
    updated_at: int


class EntryRecord(msgspec.Struct, frozen=True):
    """An entry as it is stored."""

    id: int
    list_id: str
    kind: EntryKind
    value: str
    note: str
    created_by: str
    created_at: int


class ChangeRecord(msgspec.Struct, frozen=True, gc=False):
    """What the matcher learns of an entry."""

    id: int
    change: int
    list_id: str
    kind: EntryKind
    value: str
    deleted: bool


_LIST: Final = ", ".join(ListRecord.__struct_fields__)
_ENTRY: Final = ", ".join(EntryRecord.__struct_fields__)
_CHANGE: Final = "id, change, list_id, kind, value, deleted_at IS NOT NULL"
_NEXT: Final = "(SELECT coalesce(max(change), 0) + 1 FROM moderation_entries)"
_LISTS: Final = f"SELECT {_LIST} FROM moderation_lists"
_FIND_LIST: Final = f"{_LISTS} WHERE id = ?"
_STATE: Final = """
SELECT (SELECT coalesce(max(change), 0) FROM moderation_entries),
       (SELECT count(*) FROM moderation_lists),
       (SELECT coalesce(max(updated_at), 0) FROM moderation_lists)
"""
_CHANGED: Final = f"""
SELECT {_CHANGE} FROM moderation_entries WHERE change > ? ORDER BY change LIMIT ?
"""
_LIVE: Final = f"""
SELECT {_CHANGE} FROM moderation_entries WHERE id > ? AND deleted_at IS NULL ORDER BY id LIMIT ?
"""
_PAGE: Final = f"""
SELECT {_ENTRY} FROM moderation_entries
WHERE list_id = ? AND id > ? AND deleted_at IS NULL ORDER BY id LIMIT ?
"""
_FIND_ENTRY: Final = f"""
SELECT {_ENTRY} FROM moderation_entries WHERE id = ? AND list_id = ? AND deleted_at IS NULL
"""
_FIND_VALUE: Final = f"""
SELECT {_ENTRY} FROM moderation_entries
WHERE list_id = ? AND kind = ? AND value = ? AND deleted_at IS NULL
"""
_KNOWN: Final = """
SELECT kind, value FROM moderation_entries
WHERE list_id = :list_id AND kind IN ({kinds}) AND value IN ({values}) AND deleted_at IS NULL
"""
_OWN: Final = "coalesce(other.key_id, '') = coalesce(:key_id, '')"
_TAKEN: Final = f"""
EXISTS (
    SELECT 1 FROM moderation_lists AS other
    WHERE {_OWN} AND other.name = :name AND other.id <> :id
)
"""
_ADD_LIST: Final = f"""
INSERT INTO moderation_lists ({_LIST})
SELECT :id, CASE WHEN {_TAKEN} OR :most <= (
    SELECT count(*) FROM moderation_lists AS other
    WHERE {_OWN} AND substr(other.id, 1, length(:managed)) <> :managed
) THEN NULL ELSE :name END, :kind, :key_id, :disguises, :enabled, :created_by, :created_at,
:updated_at
"""
_CHANGE_LIST: Final = f"""
UPDATE moderation_lists
SET name = CASE WHEN updated_at = :expected AND NOT {_TAKEN} THEN :name ELSE NULL END,
    kind = :kind, disguises = :disguises, enabled = :enabled,
    updated_at = CASE WHEN :at > updated_at THEN :at ELSE updated_at + 1 END
WHERE id = :id
"""
_DELETE_LIST: Final = "DELETE FROM moderation_lists WHERE id = ?"
_EMPTY_LIST: Final = (
    """
DELETE FROM moderation_entries
WHERE list_id = ? AND change < (SELECT max(change) FROM moderation_entries)
""",
    f"""
UPDATE moderation_entries SET deleted_at = ?, change = {_NEXT}
WHERE list_id = ? AND deleted_at IS NULL
""",
)
_REVIVE: Final = """
SET deleted_at = NULL, note = excluded.note, created_by = excluded.created_by,
    created_at = excluded.created_at, change = excluded.change
"""
_ADD_ENTRIES: Final = f"""
INSERT INTO moderation_entries (list_id, kind, value, note, created_by, created_at, change)
SELECT (SELECT id FROM moderation_lists WHERE id = :list_id), kind, value, note,
    CAST(:actor AS TEXT), CAST(:at AS BIGINT), {_NEXT} + place
FROM ({{given}}) AS given WHERE true
ON CONFLICT (list_id, kind, value) DO UPDATE {_REVIVE}
WHERE moderation_entries.deleted_at IS NOT NULL
"""
_GIVEN: Final[dict[Dialect, str]] = {
    "sqlite": """
SELECT key AS place, json_extract(value, '$[0]') AS kind, json_extract(value, '$[1]') AS value,
    json_extract(value, '$[2]') AS note FROM json_each(:rows)
""",
    "postgresql": """
SELECT place, entry ->> 0 AS kind, entry ->> 1 AS value, entry ->> 2 AS note
FROM json_array_elements(CAST(:rows AS json)) WITH ORDINALITY AS listed (entry, place)
""",
}
_REMOVE_ENTRY: Final = f"""
UPDATE moderation_entries SET deleted_at = ?, change = {_NEXT}
WHERE id = ? AND list_id = ? AND deleted_at IS NULL
"""
_ENSURE_LIST: Final = f"""
INSERT INTO moderation_lists ({_LIST})
VALUES ({", ".join(f":{name}" for name in ListRecord.__struct_fields__)})
ON CONFLICT (id) DO UPDATE SET updated_at = CASE
    WHEN excluded.updated_at > moderation_lists.updated_at THEN excluded.updated_at
    ELSE moderation_lists.updated_at + 1
END
"""
_DECIDE: Final = f"""
INSERT INTO moderation_entries (list_id, kind, value, note, created_by, created_at, change)
VALUES (?, 'sha256', ?, ?, ?, ?, {_NEXT})
ON CONFLICT (list_id, kind, value) DO UPDATE {_REVIVE}
"""
_UNDECIDE: Final = f"""
UPDATE moderation_entries SET deleted_at = ?, change = {_NEXT}
WHERE list_id = ? AND kind = 'sha256' AND value = ? AND deleted_at IS NULL
"""
_PURGE: Final = """
DELETE FROM moderation_entries
WHERE deleted_at < ? AND change < (SELECT max(change) FROM moderation_entries)
"""
_IN_TURN: Final = "LOCK TABLE moderation_lists IN SHARE ROW EXCLUSIVE MODE"  # PostgreSQL's
_TOGETHER: Final = 1_000  # entries in one statement


class ListStore:
    """Asks about and changes the tables of lists. Changes are statements for one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.dialect
        self._in_turn: tuple[str, ...] = () if dialect == "sqlite" else (_IN_TURN,)
        self._add_entries = _ADD_ENTRIES.format(given=_GIVEN[dialect])
        self._known = _KNOWN.format(
            kinds=values_of(dialect, ":kinds"), values=values_of(dialect, ":values")
        )

    async def lists(self) -> list[ListRecord]:
        """All lists."""
        return [_list(row) for row in await self._database.rows(_LISTS)]

    async def find_list(self, id: str) -> ListRecord | None:
        """One list."""
        row = await self._database.row(_FIND_LIST, (id,))
        return None if row is None else _list(row)

    async def state(self) -> tuple[int, int, int]:
        """The number of the last change to an entry, and two that differ when a list changed."""
        row = await self._database.row(_STATE)
        return (0, 0, 0) if row is None else (row[0], row[1], row[2])

    async def changed(self, *, after: int, limit: int) -> list[ChangeRecord]:
        """Entries changed behind number `after`, in order."""
        return [_change(row) for row in await self._database.rows(_CHANGED, (after, limit))]

    async def live(self, *, after: int, limit: int) -> list[ChangeRecord]:
        """Entries that are not removed, by id."""
        return [_change(row) for row in await self._database.rows(_LIVE, (after, limit))]

    async def page(self, list_id: str, *, after: int, limit: int) -> list[EntryRecord]:
        """At most `limit` entries of a list behind id `after`, oldest first."""
        rows = await self._database.rows(_PAGE, (list_id, after, limit))
        return [EntryRecord(*row) for row in rows]

    async def known(self, list_id: str, entries: Sequence[NewEntry]) -> set[tuple[str, str]]:
        """Kind and value of those entries that a list has."""
        found: set[tuple[str, str]] = set()
        waiting = iter(entries)
        while part := list(islice(waiting, _TOGETHER)):
            params = {
                "list_id": list_id,
                "kinds": _json(sorted({each.kind for each in part})),
                "values": _json([each.value for each in part]),
            }
            found.update((row[0], row[1]) for row in await self._database.rows(self._known, params))
        return found

    async def find_entry(self, list_id: str, id: int) -> EntryRecord | None:
        """One entry that is not removed."""
        row = await self._database.row(_FIND_ENTRY, (id, list_id))
        return None if row is None else EntryRecord(*row)

    async def find_value(self, list_id: str, kind: EntryKind, value: str) -> EntryRecord | None:
        """The entry of a list that finds this, unless it is removed."""
        row = await self._database.row(_FIND_VALUE, (list_id, kind, value))
        return None if row is None else EntryRecord(*row)

    def adding_entries(
        self, list_id: str, entries: Iterable[NewEntry], *, actor: str, at: int
    ) -> list[Call]:
        """Add entries; those that the list has are left. Raises Conflict where it is gone."""
        calls: list[Call] = []
        waiting = iter(entries)
        while part := list(islice(waiting, _TOGETHER)):
            rows = _json([(each.kind, each.value, each.note) for each in part])
            params = {"list_id": list_id, "rows": rows, "actor": actor, "at": at}
            calls.append((self._add_entries, params))
        return calls

    async def write(self, *statements: Call) -> int:
        """Run statements as one transaction, in turn; the number of changed rows."""
        return await self._database.write(*self._in_turn, *statements, serial=False)

    async def purge(self, *, before: int) -> int:
        """Forget entries that were removed before an instant."""
        return await self._database.write((_PURGE, (before,)))


def adding_list(record: ListRecord, *, most: int, managed: str) -> Call:
    """Store a new list. Raises Conflict where its key has one of its name, or `most` already.

    Lists whose ids begin with `managed` are not counted.
    """
    return _ADD_LIST, {**msgspec.structs.asdict(record), "most": most, "managed": managed}


def changing_list(record: ListRecord, *, at: int, expected: int) -> Call:
    """Change a list that was last changed at `expected`; raises Conflict otherwise."""
    return _CHANGE_LIST, {**msgspec.structs.asdict(record), "at": at, "expected": expected}


def deleting_list(id: str, *, at: int) -> Sequence[Call]:
    """Delete a list and its entries."""
    gone, kept = _EMPTY_LIST
    return (_DELETE_LIST, (id,)), (gone, (id,)), (kept, (at, id))


def removing_entry(list_id: str, id: int, *, at: int) -> Call:
    """Remove an entry."""
    return _REMOVE_ENTRY, (at, id, list_id)


def deciding(
    record: ListRecord, digest: str, *, note: str, actor: str, opposite: str
) -> Sequence[Call]:
    """Put a digest into a managed list, made if need be, and take it out of its opposite."""
    at = record.updated_at
    return (
        (_ENSURE_LIST, msgspec.structs.asdict(record)),
        (_UNDECIDE, (at, opposite, digest)),
        (_DECIDE, (record.id, digest, note, actor, at)),
    )


def _list(row: tuple[Any, ...]) -> ListRecord:
    record = ListRecord(*row)
    return msgspec.structs.replace(
        record, disguises=bool(record.disguises), enabled=bool(record.enabled)
    )


def _change(row: tuple[Any, ...]) -> ChangeRecord:
    id, change, list_id, kind, value, deleted = row
    return ChangeRecord(id, change, list_id, kind, value, bool(deleted))


def _json(rows: Any) -> str:
    return msgspec.json.encode(rows).decode()
