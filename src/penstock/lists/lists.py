"""User lists: words, patterns and hashes that block, allow or leave to a human.

    change ─► rows and an audit entry, one transaction ─► hub.bump ─► every process learns it
    request ─► stale? refresh ─► match ─► Listed, which the verdict follows

A list is for everyone or for the requests of one API key. Lists whose id begins with `decisions-`
are managed: they hold what people decided about exactly one content, and nobody edits them by hand;
entries may be removed, which takes the decision back.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from functools import partial as bound
from typing import Final, Literal

import msgspec

from penstock.audit import AuditLog
from penstock.clock import Clock
from penstock.db import Database
from penstock.db.database import Call
from penstock.errors import Conflict, InvalidInput, NotFound
from penstock.hub.hub import Hub
from penstock.lists import store
from penstock.lists.entries import (
    EntryKind,
    EntryRefused,
    EntryRules,
    NewEntry,
)
from penstock.lists.files import (
    FileFormat,
    Line,
    Parsed,
    Refusal,
    Report,
    check_all,
    gather,
    parse,
    write_lines,
    write_rows,
)
from penstock.lists.index import NAME, SMALL, CurrentLists
from penstock.lists.listed import NOTHING, Listed, ListHit, ListKind
from penstock.lists.managed import MANAGED, decisions, is_managed
from penstock.lists.quotas import Room, quota_of, whose
from penstock.lists.store import EntryRecord, ListRecord, ListStore
from penstock.lists.turns import Turns
from penstock.observe.metrics import Metrics

__all__ = ["NOTHING", "ListHit", "Listed", "Lists", "is_managed"]

LONGEST_NAME: Final = 100
KEEP_REMOVED: Final = 7 * 86_400.0  # seconds for which removed entries are remembered

_EXPORT_PAGE = 500
_MANY = 1_000  # entries; more are made into rows in a thread
_TOLD_LINES = 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ListChange(msgspec.Struct, frozen=True):
    """What to change of a list; None leaves it."""

    name: str | None = None
    kind: ListKind | None = None
    disguises: bool | None = None
    enabled: bool | None = None


class Lists(CurrentLists):
    """All lists of one installation: asked on every request, changed by people."""

    def __init__(
        self, database: Database, *, hub: Hub, clock: Clock, audit: AuditLog, metrics: Metrics
    ) -> None:
        super().__init__(database, hub=hub, clock=clock, metrics=metrics)
        self._changes = ListStore(database)
        self._audit = audit
        self._rules = EntryRules()
        self._adding = Turns()  # for each key: room that was found is taken before others look

    async def create(
        self,
        name: str,
        *,
        kind: ListKind,
        actor: str,
        key_id: str | None = None,
        disguises: bool = True,
        enabled: bool = True,
    ) -> ListRecord:
        """Make an empty list; for everyone without a `key_id`.

        Raises Conflict where there is one of this name, or too many.
        """
        _check_name(name)
        most = quota_of(key_id).lists
        own = await self._named(name, key_id)
        if sum(not is_managed(each.id) for each in own) >= most:
            raise Conflict(f"{whose(key_id)} are {most}, which is the quota; delete some")
        at = self._now()
        id = f"list_{secrets.token_hex(8)}"
        record = ListRecord(id, name, kind, key_id, disguises, enabled, actor, at, at)
        told = {"name": name, "kind": kind, "key_id": key_id, "disguises": disguises}
        await self._write_and_learn(
            store.adding_list(record, most=most, managed=MANAGED),
            self._audit.entry(actor, "list.created", id, told),
        )
        return record

    async def get(self, id: str) -> ListRecord:
        """One list. Raises NotFound."""
        record = await self._changes.find_list(id)
        if record is None:
            raise NotFound(f"there is no list {id[:80]!r}")
        return record

    async def page(
        self, *, after: tuple[int, str] | None, limit: int, seen_by: str | None
    ) -> list[ListRecord]:
        """At most `limit` lists, newest first; only everyone's and those of one key."""
        lists = [
            each
            for each in await self._changes.lists()
            if (seen_by is None or each.key_id in (None, seen_by))
            and (after is None or (each.created_at, each.id) < after)
        ]
        lists.sort(key=lambda each: (each.created_at, each.id), reverse=True)
        return lists[:limit]

    async def change(
        self, id: str, change: ListChange, *, actor: str, expected: int | None = None
    ) -> ListRecord:
        """Change a list; `expected` is its `updated_at` as the caller knows it.

        Raises NotFound, and Conflict for a managed list or one that someone else changed.
        """
        record = await self._editable(id)
        if expected is not None and record.updated_at != expected:
            raise Conflict(f"{id} was changed meanwhile; read it again and repeat the change")
        told = {k: v for k, v in msgspec.structs.asdict(change).items() if v is not None}
        if "name" in told and told["name"] != record.name:
            _check_name(told["name"])
            await self._named(told["name"], record.key_id)
        changed = msgspec.structs.replace(record, **told)
        before = {key: getattr(record, key) for key in told}
        await self._write(
            store.changing_list(changed, at=self._now(), expected=record.updated_at),
            self._audit.entry(actor, "list.changed", id, {"before": before, "after": told}),
        )
        await self._learnt()
        return await self.get(id)

    async def delete(self, id: str, *, actor: str) -> None:
        """Delete a list and its entries. Raises NotFound."""
        record = await self.get(id)
        told = {"name": record.name, "kind": record.kind, "key_id": record.key_id}
        await self._write_and_learn(
            *store.deleting_list(id, at=self._now()),
            self._audit.entry(actor, "list.deleted", id, told),
        )

    async def entries(self, list_id: str, *, after: int = 0, limit: int = 100) -> list[EntryRecord]:
        """At most `limit` entries behind entry `after`, oldest first. Raises NotFound."""
        await self.get(list_id)
        return await self._changes.page(list_id, after=after, limit=limit)

    async def find_entry(self, list_id: str, *, kind: EntryKind, value: str) -> EntryRecord:
        """An entry by what it finds. Raises NotFound."""
        try:
            value = self._rules.check(kind, value).value
        except EntryRefused:
            found = None  # what cannot be added is in no list
        else:
            found = await self._changes.find_value(list_id, kind, value)
        if found is None:
            raise NotFound(f"list {list_id[:80]!r} has no {kind} {value[:80]!r}")
        return found

    async def add(
        self,
        list_id: str,
        entries: Sequence[tuple[str, str, str]],
        *,
        actor: str,
        partial: bool = False,
    ) -> Report:
        """Add entries (kind, value, note): all, or with `partial` those that can be.

        Raises InvalidInput with what is wrong with which, also for what the list has already.
        """
        async with self._adding.of((await self._editable(list_id)).key_id):
            lines = (Line(at, *entry) for at, entry in enumerate(entries))
            parsed = await check_all(lines, self._rules, repeats=not partial)
            if not partial:
                await self._refuse_known(list_id, parsed, given=len(entries))
            return await self._add(list_id, parsed, actor=actor, action="list.entries_added")

    async def import_(
        self,
        list_id: str,
        chunks: AsyncIterator[bytes],
        *,
        format: FileFormat,
        kind: EntryKind = "phrase",
        actor: str,
        partial: bool = False,
    ) -> Report:
        """Add the entries of a file: all, or with `partial` those that can be.

        What the list has already is skipped. Raises InvalidInput with the lines that are refused,
        TooLarge. When it returns, this process matches all of it.
        """
        await self._editable(list_id)
        data = await gather(chunks)
        async with self._adding.of((await self._editable(list_id)).key_id):
            parsed = await parse(data, self._rules, format=format, kind=kind)
            if parsed.refused and not partial:
                raise InvalidInput(
                    f"{parsed.refused} lines cannot be taken, so none was; "
                    "correct them or import with partial=true",
                    errors=[
                        {"pointer": f"/lines/{each.line}", "detail": each.detail}
                        for each in parsed.refusals
                    ],
                )
            return await self._add(list_id, parsed, actor=actor, action="list.imported")

    async def export(
        self, list_id: str, *, format: FileFormat, kind: EntryKind = "phrase"
    ) -> AsyncIterator[str]:
        """A list as a file, in parts; as text only the entries of one kind."""
        after = 0
        while page := await self._changes.page(list_id, after=after, limit=_EXPORT_PAGE):
            entries = [NewEntry(each.kind, each.value, each.note) for each in page]
            if format == "csv":
                yield write_rows(entries, header=after == 0)
            else:
                yield write_lines(each for each in entries if each.kind == kind)
            after = page[-1].id

    async def remove(self, list_id: str, entry_id: int, *, actor: str) -> None:
        """Remove an entry. Raises NotFound."""
        await self.get(list_id)
        entry = await self._changes.find_entry(list_id, entry_id)
        if entry is None:
            raise NotFound(f"list {list_id[:80]!r} has no entry {entry_id}")
        at = self._now()
        told = {"entry": entry_id, "kind": entry.kind, "value": entry.value}
        await self._write_and_learn(
            store.removing_entry(list_id, entry_id, at=at),
            self._audit.entry(actor, "list.entry_removed", list_id, told),
        )

    async def decide(
        self,
        content_hash: str,
        *,
        decision: Literal["approved", "rejected"],
        key_ids: Sequence[str | None],
        actor: str,
        note: str = "",
    ) -> None:
        """Make exactly this content have this decision for these keys; None is everyone.

        Stands above all other lists; a later decision on the same content replaces it.
        """
        if not _DIGEST.fullmatch(content_hash):
            raise InvalidInput(f"{content_hash[:80]!r} is no SHA-256 in hex")
        at = self._now()
        statements: list[Call] = []
        for key_id in dict.fromkeys(key_ids):
            record, opposite = decisions(key_id, decision, at=at)
            statements += store.deciding(
                record, content_hash, note=note, actor=actor, opposite=opposite
            )
            told = {"sha256": content_hash, "decision": decision, "note": note}
            statements.append(self._audit.entry(actor, "list.decided", record.id, told))
        if statements:
            await self._write_and_learn(*statements)

    async def purge(self, before: int | None = None) -> int:
        """Forget entries that were removed before an instant (ms); how many."""
        return await self._changes.purge(before=before or self._now() - int(KEEP_REMOVED * 1000))

    async def _refuse_known(self, list_id: str, parsed: Parsed, *, given: int) -> None:
        """Raise InvalidInput for what is refused, or is in the list already."""
        known = await self._changes.known(list_id, parsed.entries)
        refusals = parsed.refusals + [
            Refusal(line, "value is in the list already")
            for line, entry in zip(parsed.lines, parsed.entries, strict=True)
            if (entry.kind, entry.value) in known
        ]
        if refusals:
            raise InvalidInput(
                f"{len(refusals)} of {given} entries cannot be added",
                errors=[
                    {"pointer": f"/entries/{each.line}", "detail": each.detail}
                    for each in sorted(refusals, key=lambda each: each.line)
                ],
            )

    async def _add(self, list_id: str, parsed: Parsed, *, actor: str, action: str) -> Report:
        """Add what was checked, if there is room. Then this process matches it."""
        entries, taken = parsed.entries, 0
        if entries:
            await self._make_sure_of_room(list_id, entries)
            told = {"given": len(entries), "entries": _shown(entries)}
            adding = bound(
                self._changes.adding_entries, list_id, entries, actor=actor, at=self._now()
            )
            count = await self._write(
                *adding() if len(entries) <= _MANY else await asyncio.to_thread(adding),
                self._audit.entry(actor, action, list_id, told),
            )
            taken = count - 1
            await self._learnt()
            if len(entries) > SMALL:
                await self.settle()
        skipped = parsed.skipped + len(entries) - taken
        return Report(taken, skipped, parsed.refused, tuple(parsed.refusals))

    async def _make_sure_of_room(self, list_id: str, entries: Sequence[NewEntry]) -> None:
        """Raise Conflict where entries would be over a quota; those that are there take none."""
        key_id = (await self.get(list_id)).key_id
        room = Room(self._scopes)
        try:
            await asyncio.to_thread(room.check, key_id, entries)
        except Conflict:
            known = await self._changes.known(list_id, entries)
            new = [each for each in entries if (each.kind, each.value) not in known]
            await asyncio.to_thread(room.check, key_id, new)

    async def _named(self, name: str, key_id: str | None) -> list[ListRecord]:
        """The lists of this key, of which none has this name. Raises Conflict."""
        own = [each for each in await self._changes.lists() if each.key_id == key_id]
        for each in own:
            if each.name == name:
                raise Conflict(f"{whose(key_id)} have one called {name!r} already: {each.id}")
        return own

    async def _editable(self, id: str) -> ListRecord:
        record = await self.get(id)
        if is_managed(id):
            raise Conflict(
                f"{id} holds decisions of people and is not edited; decide the case anew, "
                "or remove an entry"
            )
        return record

    async def _write(self, *statements: Call) -> int:
        """Run statements as one transaction; what a list that changed meanwhile refuses is told."""
        try:
            return await self._changes.write(*statements)
        except Conflict:
            raise Conflict(
                "the list was changed or deleted meanwhile; read it again and repeat the change"
            ) from None

    async def _write_and_learn(self, *statements: Call) -> None:
        await self._write(*statements)
        await self._learnt()

    async def _learnt(self) -> None:
        """Tell every process, and know it here before the caller goes on."""
        self._hub.bump(NAME)
        await self.refresh()

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


def _shown(entries: Sequence[NewEntry]) -> list[str]:
    """The first entries in words, for the audit log."""
    return [f"{each.kind}: {each.value}" for each in entries[:_TOLD_LINES]]


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput(
            "the list needs another name",
            errors=[
                {
                    "pointer": "/name",
                    "detail": f"must be 1 to {LONGEST_NAME} printable characters",
                }
            ],
        )
