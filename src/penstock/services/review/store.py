"""The queries of cases, their items and events.

Every change is one transaction that says itself what it depends on: a referral is only placed where
nothing came in between that it should have joined, an action is only written when the case allows
it. So two processes, or two reviewers, cannot both be first: see `alone_store`, which is told what
a write is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from penstock.db import Database
from penstock.db.database import Call
from penstock.db.dialect import each
from penstock.errors import Conflict
from penstock.services.review.alone_store import Alone, matter
from penstock.services.review.content_store import ContentStore
from penstock.services.review.finding_store import OWNED, FindingStore, cases, named
from penstock.services.review.keeping_store import KeepingStore
from penstock.services.review.queue_store import QueueStore
from penstock.services.review.schemas import Case, Content, Decision, Event, Item
from penstock.services.review.similar import meetings
from penstock.services.review.workload_store import WorkloadStore

MOST_ITEMS: Final = 1000  # of one case; what comes then opens another
MOST_CONTENTS: Final = 50  # distinct ones of one case: who decides can look at them all

_COLUMNS = ", ".join(Case.__struct_fields__)
_ITEM_COLUMNS = ", ".join(Item.__struct_fields__)

_NUMBERS: Final = {"risk": "DOUBLE PRECISION", "items": "INTEGER", "contents": "INTEGER"}


def _typed(name: str) -> str:
    """A parameter with the type of its column: what is merely selected has none of its own."""
    if name.endswith("_at"):
        return f"CAST(:{name} AS BIGINT)"
    return f"CAST(:{name} AS {_NUMBERS[name]})" if name in _NUMBERS else f":{name}"


_MARK = "SELECT max(rowid) FROM review_cases"
_FIND = f"SELECT {_COLUMNS} FROM review_cases WHERE id = ?"
_KNOWN = """EXISTS (
    SELECT 1 FROM review_contents WHERE case_id = :id AND content_hash = :content_hash
)"""
_FREE_VERDICT = """NOT EXISTS (
    SELECT 1 FROM review_items i JOIN review_cases c ON c.id = i.case_id
    WHERE i.verdict_id = :verdict_id AND (CAST(:key_id AS TEXT) IS NULL OR i.key_id = :key_id)
    AND +c.decided_at IS NULL
)"""
# A plus keeps SQLite from looking through all later cases instead of going by the keys.
_OPEN = f"""
INSERT INTO review_cases ({_COLUMNS})
SELECT {", ".join(_typed(name) for name in Case.__struct_fields__)}
WHERE {_FREE_VERDICT} AND (CAST(:mark AS BIGINT) IS NULL OR NOT EXISTS (
    SELECT 1 FROM review_items i JOIN review_cases c ON c.id = i.case_id
    WHERE i.content_hash = :content_hash AND i.owner = :owner
    AND +c.decided_at IS NULL AND +c.rowid > :mark
)) AND (CAST(:mark AS BIGINT) IS NULL OR NOT EXISTS (
    SELECT 1 FROM {{probes}} p
    JOIN review_bands b ON b.band = p.value JOIN review_cases c ON c.id = b.case_id
    WHERE c.owner = :owner AND +c.decided_at IS NULL AND +c.rowid > :mark
))
"""
# Who has claimed a case decides on what it holds: only more of the same comes in then. One without
# items is about to be removed.
_JOIN = f"""
UPDATE review_cases SET
    items = items + 1,
    contents = contents + CASE WHEN {_KNOWN} THEN 0 ELSE 1 END,
    kind = CASE WHEN :kind = 'appeal' THEN 'appeal' ELSE kind END,
    category = CASE WHEN :risk > risk THEN :category ELSE category END,
    risk = CASE WHEN :risk > risk THEN :risk ELSE risk END,
    due_at = CASE WHEN :due_at < due_at THEN :due_at ELSE due_at END
WHERE id = :id AND owner = :owner AND decided_at IS NULL
AND items > 0 AND items < {MOST_ITEMS}
AND ({_KNOWN} OR (assignee IS NULL AND contents < {MOST_CONTENTS}))
AND {_FREE_VERDICT}
"""
_ADD_ITEM = f"""
INSERT INTO review_items ({_ITEM_COLUMNS})
SELECT {", ".join(_typed(name) for name in Item.__struct_fields__)} WHERE changes() = 1
"""
_ADD_EVENT = """
INSERT INTO review_events (case_id, action, actor, detail, at)
SELECT :case_id, :action, :actor, :detail, CAST(:at AS BIGINT) WHERE changes() = 1
"""
_ADD_BAND = """
INSERT INTO review_bands (band, case_id)
SELECT CAST(:band AS BIGINT), id FROM review_cases WHERE id = :id
ON CONFLICT DO NOTHING
"""
_APPEAL_ITEM = """
UPDATE review_items SET appealed_at = :at WHERE verdict_id = :verdict_id AND case_id = :id
AND appealed_at IS NULL
AND EXISTS (SELECT 1 FROM review_cases WHERE id = :id AND decided_at IS NULL)
"""
_APPEAL_CASE = """
UPDATE review_cases SET kind = 'appeal',
    due_at = CASE WHEN :due_at < due_at THEN :due_at ELSE due_at END
WHERE id = :id AND changes() > 0
"""
# No case, no id, no event: the column refuses NULL, and with it the whole transaction fails.
_APPEALED = """
INSERT INTO review_events (case_id, action, actor, detail, at)
VALUES ((SELECT :case_id WHERE changes() = 1), :action, :actor, :detail, :at)
"""
_ACT = f"""
INSERT INTO review_events (case_id, action, actor, detail, at) VALUES (
    (SELECT id FROM review_cases WHERE id = :id AND {OWNED} AND {{may}}),
    :action, :actor, :detail, :at
)
"""
_FREE = """decided_at IS NULL AND (assignee IS NULL OR assignee = :actor OR claimed_at <= :stale)
    AND (state <> 'escalated' OR CAST(:owner AS TEXT) IS NULL)"""
_MAY: Final[dict[str, str]] = {
    "claimed": _FREE,
    "released": "decided_at IS NULL AND (assignee = :actor OR CAST(:owner AS TEXT) IS NULL)",
    "commented": "TRUE",
    "escalated": f"{_FREE} AND state <> 'escalated'",
    "decided": f"""{_FREE}
    AND (:decision = 'rejected' OR contents = 1 OR (:group AND assignee = :actor))""",
}
_SET: Final[dict[str, str]] = {
    "claimed": """assignee = :actor, claimed_at = :at,
        state = CASE WHEN state = 'escalated' THEN state ELSE 'claimed' END""",
    "released": """assignee = NULL, claimed_at = NULL,
        state = CASE WHEN state = 'escalated' THEN state ELSE 'open' END""",
    "commented": "claimed_at = CASE WHEN assignee = :actor THEN :at ELSE claimed_at END",
    "escalated": "state = 'escalated', assignee = NULL, claimed_at = NULL",
    "decided": """state = 'decided', decision = :decision, decided_at = :at, decided_by = :actor,
        assignee = NULL, claimed_at = NULL""",
}
_ACTS: Final = {
    action: (_ACT.format(may=may), f"UPDATE review_cases SET {_SET[action]} WHERE id = :id")
    for action, may in _MAY.items()
}
_ITEMS = f"""
SELECT {_ITEM_COLUMNS} FROM review_items WHERE case_id = ? ORDER BY created_at, verdict_id LIMIT ?
"""
_EVENTS = """
SELECT number, case_id, action, actor, detail, at FROM review_events
WHERE case_id = ? ORDER BY number LIMIT ?
"""
_COUNT_EVENTS = "SELECT count(*) FROM review_events WHERE case_id = ?"
_HUMAN = """
SELECT c.decision FROM review_items i JOIN review_cases c ON c.id = i.case_id
WHERE i.content_hash = ? AND i.owner = ? AND c.decided_at IS NOT NULL
ORDER BY c.decided_at DESC LIMIT 1
"""
_SETTLED = "UPDATE review_cases SET settled_at = ? WHERE id = ? AND decided_at IS NOT NULL"
_UNSETTLED = f"""
SELECT {_COLUMNS} FROM review_cases
WHERE decided_at < ? AND settled_at IS NULL ORDER BY decided_at LIMIT 100
"""


class Asked(NamedTuple):
    """What somebody wants to do with a case."""

    action: str
    detail: str = ""
    decision: Decision | None = None
    group: bool = False  # the decision is meant for several contents


class Looked(NamedTuple):
    """What was known when it was decided where an item belongs."""

    probes: Sequence[int]
    mark: int | None  # the latest case by then; None: be placed whatever there is


class ReviewStore:
    """Asks about and changes the tables of review."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._alone = Alone(database)
        self._open = _OPEN.format(probes=each(database.dialect, ":probes", "bigint"))
        self.contents = ContentStore(database)
        self.finding = FindingStore(database)
        self.queue = QueueStore(database)
        self.keeping = KeepingStore(database, self._alone)
        self.workload = WorkloadStore(database)

    async def find(self, case_id: str) -> Case | None:
        """One case."""
        row = await self._database.row(_FIND, (case_id,))
        return None if row is None else Case(**named(Case, row))

    async def mark(self, case: Case, item: Item) -> int:
        """What tells later cases that could be alike from those that are there to be looked at."""
        return int(await self._alone.value(_MARK, about=_opening(case, item)) or 0)

    async def open(
        self,
        case: Case,
        item: Item,
        content: Content,
        *,
        looked: Looked,
        bands: Sequence[int],
        then: Sequence[Call] = (),
    ) -> bool:
        """Make a case with its first item; False where the verdict waits or one came up.

        `then` begins with `appealed`, or is empty.
        """
        params = {
            **_params(case, item, into=case.id),
            "probes": _json(looked.probes),
            "mark": looked.mark,
        }
        statements: list[Call] = [
            (self._open, params),
            self.contents.add(content, case_id=case.id, at=case.created_at),
            _adding(item, case.id),
            (_ADD_EVENT, _event(case.id, "opened", "penstock", "", case.created_at)),
            *then,
            (_ADD_BAND, [{"band": band, "id": case.id} for band in bands]),
        ]
        return await self._placed(statements, about=_opening(case, item))

    async def join(
        self, case: Case, item: Item, content: Content, *, into: str, then: Sequence[Call] = ()
    ) -> bool:
        """Add an item to the live case `into`; `case` is what it would have been on its own.

        False where the verdict waits already, or the case is decided or full, or somebody works on
        it and has not seen this content.
        """
        statements: list[Call] = [
            (_JOIN, _params(case, item, into=into)),
            self.contents.add(content, case_id=into, at=case.created_at),
            _adding(item, into),
            *then,
        ]
        return await self._placed(statements, about=[_case(into), *_saying(item)])

    async def mark_appealed(
        self, case: Case, content: Content, *, into: str, then: Sequence[Call]
    ) -> bool:
        """Make a live case that holds the verdict an appeal; False where it is one already."""
        params = {
            "id": into,
            "due_at": case.due_at,
            "verdict_id": content.verdict_id,
            "at": case.created_at,
        }
        statements: list[Call] = [
            (_APPEAL_ITEM, params),
            (_APPEAL_CASE, params),
            self.contents.give(content, case_id=into, at=case.created_at),
            *then,
        ]
        about = [_case(into), matter("verdict", content.verdict_id)]
        return await self._placed(statements, about=about)

    def appealed(self, case_id: str, *, actor: str, reason: str, at: int) -> Call:
        """The statement that says why; it undoes what stands before it if that changed nothing."""
        return _APPEALED, _event(case_id, "appealed", actor, reason, at)

    async def act(
        self,
        case_id: str,
        asked: Asked,
        *,
        actor: str,
        owner: str | None,
        at: int,
        stale: int,
        calls: Sequence[Call] = (),
    ) -> bool:
        """Do something with a case, `calls` in the same transaction; False where it may not be.

        `stale` is the instant before which a claim holds nobody off.
        """
        params: dict[str, Any] = {
            **asked._asdict(),
            "id": case_id,
            "actor": actor,
            "owner": owner,
            "at": at,
            "stale": stale,
        }
        check, change = _ACTS[asked.action]
        about = [_case(case_id)]
        if asked.action == "decided":  # what is learnt may be of content that other cases have
            about.append(matter("examples"))
        try:
            await self._alone.write((check, params), *calls, (change, params), about=about)
        except Conflict:
            return False
        return True

    async def items(self, case_id: str, *, limit: int = MOST_ITEMS) -> list[Item]:
        """What a case decides on, in order of arrival."""
        rows = await self._database.scan(_ITEMS, (case_id, limit))
        return [Item(**named(Item, row)) for row in rows]

    async def events(self, case_id: str, *, limit: int) -> list[Event]:
        """What was done to a case, in order."""
        return [Event(*row) for row in await self._database.scan(_EVENTS, (case_id, limit))]

    async def event_count(self, case_id: str) -> int:
        """How much was done to a case."""
        found = await self._database.row(_COUNT_EVENTS, (case_id,))
        return int(found[0]) if found else 0

    async def human(self, content_hash: str, *, owner: str) -> Decision | None:
        """What people decided last about this content of this owner."""
        found = await self._database.row(_HUMAN, (content_hash, owner))
        return found[0] if found else None

    async def settled(self, case_id: str, *, at: int) -> None:
        """Note that all that follows from the decision was done."""
        await self._database.write((_SETTLED, (at, case_id)))

    async def unsettled(self, before: int) -> list[Case]:
        """Cases decided before an instant of which something that follows may be missing."""
        return cases(await self._database.scan(_UNSETTLED, (before,)))

    async def _placed(self, statements: Sequence[Call], *, about: Sequence[int]) -> bool:
        try:
            return await self._alone.write(*statements, about=about) > 0
        except Conflict:
            return False


def _opening(case: Case, item: Item) -> list[int]:
    """What a case that is opened is about: of those that are alike, only one may."""
    alike = meetings(case.signature, owner=case.owner) if case.signature else []
    return [*_saying(item), *alike]


def _saying(item: Item) -> tuple[int, int]:
    return matter("verdict", item.verdict_id), matter("content", item.owner, item.content_hash)


def _case(case_id: str) -> int:
    return matter("case", case_id)


def _params(case: Case, item: Item, *, into: str) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(case),
        "id": into,
        "verdict_id": item.verdict_id,
        "content_hash": item.content_hash,
        # An appeal is about the verdict, whatever key it was for.
        "key_id": None if item.appealed_at is not None else item.key_id,
    }


def _adding(item: Item, case_id: str) -> Call:
    return _ADD_ITEM, {**msgspec.structs.asdict(item), "case_id": case_id}


def _event(case_id: str, action: str, actor: str, detail: str, at: int) -> dict[str, Any]:
    return {"case_id": case_id, "action": action, "actor": actor, "detail": detail, "at": at}


def _json(values: Sequence[object]) -> str:
    return msgspec.json.encode(values).decode()
