"""Dry runs: what a policy would have decided about everything that was scored, without any model.

    recorded verdicts ── slices, newest first ── a judge over arrays ── what would change, and why

A verdict's record holds its scores and what else its decision rested on, so the same judge can
decide again. Memory stays the same however many there are, and between slices everyone else has
their turn. What a record does not hold (a stage that did not run, the lists of today) cannot be
rehearsed; `notes` says so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.clock import Clock
from penstock.db import Database
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.policy import STAGES, Decision, Judge
from penstock.services.moderation.recorded import facts_of, unpack
from penstock.services.moderation.rehearsal_store import (
    DECISIONS,
    SLICE,
    Packed,
    Position,
    RecordedStore,
    Row,
    Selection,
)
from penstock.services.moderation.vector import (
    CAUSES,
    FAILED,
    FAILURE,
    LANGUAGE,
    LIST,
    NOT_SEEN,
    OTHER,
    UNLISTED,
    UNSEEN,
    Bytes,
    Facts,
    VectorJudge,
)

MOST_EXAMINED: Final = 5_000_000  # verdicts of one run
SCANNED: Final = 250_000  # verdicts looked at for one page of changes
MOST_EXAMPLES: Final = 200

_BEYOND = re.compile(r"(\S+) beyond the (reject|review) threshold$")


class Move(msgspec.Struct, frozen=True):
    """How many verdicts go from one decision to another."""

    before: Decision = msgspec.field(name="from")
    after: Decision = msgspec.field(name="to")
    count: int


class Driver(msgspec.Struct, frozen=True):
    """How many changes something leads to: a category, or another reason."""

    cause: str
    stricter: int
    looser: int


class Change(msgspec.Struct, frozen=True):
    """One verdict that would be another."""

    verdict_id: str
    content_hash: str
    created_at: int  # milliseconds since 1970, UTC
    before: Decision
    after: Decision
    reason_before: str
    reason_after: str
    risk_before: float
    risk_after: float
    cause: str  # one of CAUSES: of the new decision if it is stricter, else of the old one


@dataclass(frozen=True, slots=True)
class Plan:
    """A policy to try: on which verdicts, and beside which decisions (None: the recorded ones)."""

    judge: Judge
    against: Judge | None = None
    selection: Selection = Selection()  # noqa: RUF009 - a constant


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a dry run found."""

    examined: int
    unreadable: int
    complete: bool  # False: there are older verdicts that were not examined
    oldest: int | None  # milliseconds since 1970, UTC
    moves: list[Move]  # those that change nothing too
    drivers: list[Driver]
    examples: list[Change]
    next: Position | None  # where further changes begin
    notes: list[str]

    @property
    def changed(self) -> int:
        """How many verdicts would be others."""
        return sum(move.count for move in self.moves if move.before != move.after)

    def count(self, *, before: Decision | None = None, after: Decision | None = None) -> int:
        """How many verdicts have these decisions before and after."""
        return sum(
            move.count
            for move in self.moves
            if before in (None, move.before) and after in (None, move.after)
        )


class Rehearsal:
    """Tries policies on recorded verdicts, one run at a time."""

    def __init__(self, database: Database, *, clock: Clock, rows: int = SLICE) -> None:
        self._store = RecordedStore(database)
        self._clock = clock
        self._rows = rows  # of a slice
        self.gate = asyncio.Semaphore(1)  # held while walking

    async def run(self, plan: Plan, *, examples: int = 20) -> Outcome:
        """Decide about every selected verdict again."""
        plan = replace(plan, selection=self.bounded(plan.selection))
        tally = _Tally()
        shown: list[Change] = []
        more = True
        async with self.gate:
            async for facts, unreadable, packed in self.walk(plan.selection):
                compared = await asyncio.to_thread(_compare, plan, facts)
                tally.add(packed, unreadable, compared)
                await self._count_causes(plan, compared, tally)
                if len(shown) < examples:
                    shown += await self._examples(plan, compared, examples - len(shown))
                more = packed.end is not None
        moves = tally.listed_moves()
        changed = sum(move.count for move in moves if move.before != move.after)
        last = shown[-1] if shown and changed > len(shown) else None
        return Outcome(
            examined=tally.examined,
            unreadable=tally.unreadable,
            complete=not more,
            oldest=tally.oldest,
            moves=moves,
            drivers=tally.listed_drivers(),
            examples=shown,
            next=(last.created_at, last.verdict_id) if last else None,
            notes=_notes(plan, tally),
        )

    async def changes(
        self, plan: Plan, *, after: Position | None = None, limit: int = 50
    ) -> tuple[list[Change], Position | None]:
        """At most `limit` changed verdicts, newest first, behind `after`, and where to go on.

        A page may be short, even empty, where changes are rare; only without a place to go on it
        is the last.
        """
        plan = replace(plan, selection=self.bounded(plan.selection))
        found: list[Change] = []
        examined = 0
        async with self.gate, aclosing(self.walk(plan.selection, start=after)) as slices:
            async for facts, _, packed in slices:
                compared = await asyncio.to_thread(_compare, plan, facts)
                found += await self._examples(plan, compared, limit - len(found))
                examined += packed.rows
                if len(found) >= limit:
                    return found, (found[-1].created_at, found[-1].verdict_id)
                if examined >= SCANNED or packed.end is None:
                    return found, packed.end
        return found, None

    async def walk(
        self, selection: Selection, *, start: Position | None = None
    ) -> AsyncGenerator[tuple[Facts, int, Packed], None]:
        """Selected verdicts in slices, with how many of each cannot be read."""
        position: Position | None = start or selection.start
        examined = 0
        while position is not None and examined < MOST_EXAMINED:
            packed = await self._store.pack(selection, position, rows=self._rows)
            facts, unreadable = await unpack(packed)
            yield facts, unreadable, packed
            examined += packed.rows
            # `end` is the oldest of the slice: the next begins behind it.
            position = packed.end

    def bounded(self, selection: Selection) -> Selection:
        """The selection without what is recorded from now on."""
        now = int(self._clock.now() * 1000) + 1
        return selection._replace(until=now if selection.until is None else selection.until)

    async def _count_causes(self, plan: Plan, compared: _Compared, tally: _Tally) -> None:
        """Count what led to changes: the new decision's cause, or the old one's where it fell."""
        tally.stricter += compared.stricter_causes
        tally.looser += compared.looser_causes
        if plan.against is None and len(compared.recorded_looser):
            rowids = compared.recorded_looser.tolist()
            for reason, decision, count in await self._store.reasons(rowids):
                tally.looser[cause_of(reason, decision)] += count

    async def _examples(self, plan: Plan, compared: _Compared, most: int) -> list[Change]:
        changed = compared.changed
        if most <= 0 or not len(changed):
            return []
        # With all that were recorded in the same millisecond: their order is decided by the ids.
        order = np.sort(changed.created_at)[::-1]
        newest = changed.created_at >= order[min(most, len(order)) - 1]
        rows = await self._store.rows(changed.rowids[newest].tolist())
        made = (_change(plan, row) for row in rows[:most])
        return [each for each in made if each is not None]


def cause_of(reason: str, decision: str) -> int:
    """Index in CAUSES of what led to a decision that is no approval, by the reason it was given."""
    if reason.startswith(("blocked by", "allowed by", "to be reviewed by")):
        return LIST
    beyond = _BEYOND.search(reason)
    has_failed = reason.startswith("provider failed")
    if has_failed and decision == "rejected" and not (beyond and beyond[2] == "reject"):
        return FAILURE  # the scores alone would not have rejected it
    if beyond and beyond[1] in CATEGORIES:
        return CATEGORIES.index(beyond[1])
    if "not English" in reason:
        return LANGUAGE
    if has_failed:
        return FAILURE
    return NOT_SEEN if "looked at" in reason else OTHER


@dataclass(slots=True)
class _Compared:
    """One slice before and after, and what of it changes."""

    facts: Facts
    before: Bytes
    after: Bytes
    changed: Facts
    stricter_causes: NDArray[np.int64]
    looser_causes: NDArray[np.int64]
    recorded_looser: NDArray[np.int64]  # rowids, where the old decision's cause is in its reason


@dataclass(slots=True)
class _Tally:
    """What was counted so far."""

    examined: int = 0
    unreadable: int = 0
    padded: int = 0
    failed: int = 0
    unseen: int = 0
    listed: int = 0
    oldest: int | None = None
    moves: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, 3), np.int64))
    stricter: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(CAUSES), np.int64))
    looser: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(CAUSES), np.int64))

    def add(self, packed: Packed, unreadable: int, compared: _Compared) -> None:
        facts = compared.facts
        self.examined += packed.rows - unreadable
        self.unreadable += unreadable
        self.padded += packed.padded + len(packed.unpacked)
        self.failed += int((facts.missing == FAILED).sum())
        self.unseen += int((facts.missing == UNSEEN).sum())
        self.listed += int((facts.listed != UNLISTED).sum())
        if len(facts):
            self.oldest = int(facts.created_at.min())
        pairs = compared.before.astype(np.int64) * 3 + compared.after
        self.moves += np.bincount(pairs, minlength=9).reshape(3, 3)

    def listed_moves(self) -> list[Move]:
        return [
            Move(cast("Decision", before), cast("Decision", after), int(self.moves[i, j]))
            for i, before in enumerate(DECISIONS)
            for j, after in enumerate(DECISIONS)
            if self.moves[i, j]
        ]

    def listed_drivers(self) -> list[Driver]:
        found = [
            Driver(cause, int(stricter), int(looser))
            for cause, stricter, looser in zip(CAUSES, self.stricter, self.looser, strict=True)
            if stricter or looser
        ]
        return sorted(found, key=lambda driver: -(driver.stricter + driver.looser))


def _compare(plan: Plan, facts: Facts) -> _Compared:
    """Decide about one slice; in a thread. Most of it runs without the interpreter's lock."""
    new = VectorJudge(plan.judge)
    old = None if plan.against is None else VectorJudge(plan.against)
    after = new.decide(facts)
    before = facts.decisions if old is None else old.decide(facts)
    changes = before != after
    stricter, looser = facts.where(after > before), facts.where(after < before)
    nothing = np.zeros(0, np.int8)
    return _Compared(
        facts=facts,
        before=before,
        after=after,
        changed=facts.where(changes),
        stricter_causes=_counted(new.causes(stricter) if len(stricter) else nothing),
        looser_causes=_counted(old.causes(looser) if old and len(looser) else nothing),
        recorded_looser=looser.rowids if old is None else looser.rowids[:0],
    )


def _counted(causes: Bytes) -> NDArray[np.int64]:
    return np.bincount(causes, minlength=len(CAUSES)).astype(np.int64)


def _change(plan: Plan, row: Row) -> Change | None:
    scores, foreign, degraded, listed = facts_of(row)
    after = plan.judge.decide(scores, foreign=foreign, degraded=degraded, listed=listed)
    before, reason, risk = cast("Decision", row.decision), row.reason, row.risk
    if plan.against is not None:
        old = plan.against.decide(scores, foreign=foreign, degraded=degraded, listed=listed)
        before, reason, risk = old.decision, old.reason, old.risk
    if before == after.decision:
        return None
    is_stricter = DECISIONS.index(after.decision) > DECISIONS.index(before)
    led = (after.reason, after.decision) if is_stricter else (reason, before)
    return Change(
        verdict_id=row.id,
        content_hash=row.content_hash,
        created_at=row.created_at,
        before=before,
        after=after.decision,
        reason_before=reason,
        reason_after=after.reason,
        risk_before=risk,
        risk_after=after.risk,
        cause=CAUSES[cause_of(*led)],
    )


def _notes(plan: Plan, tally: _Tally) -> list[str]:
    """What this run could not know."""
    notes = []
    stages = plan.judge.policy.stages
    if set(stages) != set(STAGES if plan.against is None else plan.against.policy.stages):
        notes.append(
            f"only {', '.join(stages)} would read: the scores are those of all that read then"
        )
    if tally.listed:
        notes.append(
            f"{tally.listed} verdicts met a list: what it said then is applied again, the lists of "
            "today were not asked"
        )
    if tally.failed:
        action = plan.judge.policy.on_provider_failure
        notes.append(
            f"{tally.failed} verdicts were given without the provider: on_provider_failure = "
            f"{action} decides about them"
        )
    if tally.unseen:
        notes.append(
            f"{tally.unseen} verdicts are about what nobody has looked at, an image or a text that "
            "no stage read: those stay with people"
        )
    if tally.padded:
        notes.append(
            f"{tally.padded} verdicts are older than the newest categories: those count as unknown"
        )
    if tally.unreadable:
        notes.append(f"{tally.unreadable} records cannot be read and were left out")
    return notes
