"""ReviewService: what the machine leaves open, people decide.

An item for people joins the live case of what is alike, or opens one. Whoever works on a case has
claimed it; the decision stands for all of its items, is recorded with the audit entry that says who
made it, and then made to count: see `settling`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

import msgspec

from penstock.audit import AuditLog
from penstock.clock import Clock
from penstock.db.database import Call
from penstock.errors import Conflict, NotFound, RequestError
from penstock.observe.metrics import Metrics
from penstock.services.review.placing import content_of, new_case, place, sign
from penstock.services.review.refusals import CLAIM_SECONDS, check_same, refusal
from penstock.services.review.schemas import (
    Case,
    CaseFile,
    Decision,
    Decisions,
    Emit,
    Example,
    Filter,
    Forget,
    Item,
    Referral,
    Reviewer,
    VerdictFacts,
    Verdicts,
    Workload,
)
from penstock.services.review.settling import GRACE, Settling
from penstock.services.review.store import MOST_CONTENTS, Asked, ReviewStore
from penstock.services.review.telling import Teller
from penstock.services.review.workload import measure

APPEAL_SLA_SECONDS: Final = 86_400.0
APPEAL_KEEP_SECONDS: Final = 30 * 86_400.0  # of what came with an appeal, unless decided before
MOST_APPEALS: Final = 1000  # live cases of one owner
MOST_EVENTS: Final = 1000  # of one case
SHOWN_ITEMS: Final = 100
CLAIM_ATTEMPTS: Final = 20

Position = tuple[int, int, float, int, str]
"""Where a page ended: when it was asked for, and the sort key of its last case."""


class Listing(NamedTuple):
    """One page of cases."""

    cases: list[Case]
    next: Position | None
    now: int  # ages are told as of then


class ReviewService:
    """Cases and appeals. Its parts come by constructor; it knows no web and no settings."""

    def __init__(
        self,
        *,
        store: ReviewStore,
        decisions: Decisions,
        forget: Forget,
        verdicts: Verdicts,
        audit: AuditLog,
        clock: Clock,
        metrics: Metrics,
        emit: Emit | None = None,
    ) -> None:
        self._store = store
        self._settling = Settling(
            store=store, decisions=decisions, forget=forget, clock=clock, metrics=metrics
        )
        self._verdicts = verdicts
        self._audit = audit
        self._clock = clock
        self._teller = Teller(metrics=metrics, emit=emit)

    async def refer(self, referral: Referral) -> None:
        """Put a verdict before people: into the live case of what is alike, or into a new one.

        On disk on return. A verdict that waits already for the same key costs one read and changes
        nothing; one that was decided comes up again: what was decided no longer holds for it.
        Raises StorageError.
        """
        key_id, since = referral.key_id or "", referral.created_at - GRACE
        if await self._store.finding.waits(referral.verdict_id, key_id=key_id, since=since):
            return
        item = Item(
            verdict_id=referral.verdict_id,
            key_id=key_id,
            case_id="",
            owner=referral.owner,
            user_id=referral.user_id,
            content_key=referral.content_key,
            content_hash=referral.content_hash,
            decision=referral.decision,
            created_at=referral.created_at,
        )
        content = content_of(
            item,
            risk=referral.risk,
            category=referral.category,
            words=referral.text,
            keep=referral.retention_seconds,
        )
        case = new_case(
            item,
            kind="review",
            content=content,
            reason=referral.reason,
            sla=referral.sla_seconds,
            signed=await sign(referral.text, referral.images),
        )
        self._teller.placed(case, await place(self._store, case, item, content))

    async def appeal(
        self, verdict_id: str, *, reason: str, text: str | None, who: Reviewer
    ) -> Case:
        """Ask people to look at a verdict; the case is one of kind appeal from then on.

        An appeal that is open already stays as it is. Raises NotFound for a verdict that is not
        on record, InvalidInput where `text` is not what it judged, and Conflict where people have
        decided on an appeal against it or the owner has as many open as there may be.
        """
        facts = await self._verdicts.find(verdict_id, owner=who.owner)
        if facts is None:
            raise NotFound(f"there is no verdict {verdict_id[:80]!r}")
        check_same(text, facts.content_hash)
        await self._refuse_appeal(facts)
        item = await self._appealed(facts)
        content = content_of(
            item,
            risk=facts.risk,
            category=facts.category,
            words=text,
            keep=APPEAL_KEEP_SECONDS,
        )
        case = new_case(
            item,
            kind="appeal",
            content=content,
            reason=facts.reason,
            sla=APPEAL_SLA_SECONDS,
            signed=await sign(text),
        )

        def then(case_id: str) -> Sequence[Call]:
            detail = {"verdict": verdict_id, "was": item.decision}
            return (
                self._store.appealed(case_id, actor=who.id, reason=reason, at=item.created_at),
                self._audit.entry(who.id, "case.appealed", case_id, detail),
            )

        placed = await place(self._store, case, item, content, then=then)
        if not placed.new:
            await self._store.mark_appealed(
                case, content, into=placed.case_id, then=then(placed.case_id)
            )
        self._teller.placed(case, placed)
        return await self._found(placed.case_id, Reviewer(who.id))

    async def page(
        self, which: Filter, *, who: Reviewer, after: Position | None = None, limit: int = 50
    ) -> Listing:
        """Cases as they want to be worked on: overdue ones first, then those of highest risk.

        Decided ones only where `which` asks for them, the latest first.
        """
        now = after[0] if after else self.now()
        if which.state == "decided":
            place = after and (after[3], after[4])
            found = await self._store.queue.decided(
                which, owner=who.owner, after=place or None, limit=limit + 1
            )
            keys = [(now, 0, 0.0, case.decided_at or 0, case.id) for case in found]
        else:
            found = await self._store.queue.page(
                which,
                owner=who.owner,
                now=now,
                after=after and (after[1], after[2], after[3], after[4]),
                limit=limit + 1,
            )
            keys = [
                (now, int(case.due_at > now), -case.risk, case.due_at, case.id) for case in found
            ]
        more = len(found) > limit
        return Listing(found[:limit], keys[limit - 1] if more else None, now)

    async def open_file(self, case_id: str, *, who: Reviewer) -> CaseFile:
        """A case with all that it decides on, its items and its history. Raises NotFound."""
        await self._found(case_id, who)
        contents = [
            msgspec.structs.replace(each, verdict=await self._verdicts.find(each.verdict_id))
            for each in await self._store.contents.of(case_id, limit=MOST_CONTENTS)
        ]
        items = tuple(await self._store.items(case_id, limit=SHOWN_ITEMS))
        events = tuple(await self._store.events(case_id, limit=MOST_EVENTS + 10))
        case = await self._found(case_id, who)
        return CaseFile(case=case, contents=tuple(contents), items=items, events=events)

    async def next(self, *, who: Reviewer) -> Case | None:
        """The case that `who` would work on next; their own first, then the most urgent."""
        return await self._store.queue.next(
            actor=who.id, owner=who.owner, now=self.now(), stale=self._stale()
        )

    async def claim_next(self, *, who: Reviewer) -> Case | None:
        """Claim the most urgent case that is free; no other reviewer gets the same one.

        None where there is nothing to do. Who has claimed a case gets that one.
        """
        for _ in range(CLAIM_ATTEMPTS):
            case = await self.next(who=who)
            if case is None or case.assignee == who.id:
                return case
            try:
                return await self.claim(case.id, who=who)
            except RequestError:
                continue  # someone else was quicker
        raise Conflict("many reviewers claim at once; ask again")

    async def claim(self, case_id: str, *, who: Reviewer) -> Case:
        """Take a case to work on. Raises NotFound, Forbidden, or Conflict when it is another's.

        A claim without a sign of life for `CLAIM_SECONDS` can be taken over.
        """
        return await self._act(case_id, Asked("claimed"), who=who)

    async def release(self, case_id: str, *, who: Reviewer) -> Case:
        """Give a case back; an admin may for others."""
        return await self._act(case_id, Asked("released"), who=who)

    async def comment(self, case_id: str, text: str, *, who: Reviewer) -> Case:
        """Say something about a case, decided or not."""
        return await self._act(case_id, Asked("commented", text), who=who)

    async def escalate(self, case_id: str, reason: str, *, who: Reviewer) -> Case:
        """Leave a case to admins."""
        case = await self._act(case_id, Asked("escalated", reason), who=who)
        self._teller.tell("case.escalated", case, await self._store.items(case_id))
        return case

    async def decide(
        self,
        case_id: str,
        decision: Decision,
        *,
        note: str = "",
        group: bool = False,
        who: Reviewer,
    ) -> Case:
        """Settle all items of a case; exact repeats follow from then on.

        To approve what differs takes `group`, and a claim: nothing else joins a claimed case.
        An overturned verdict leaves every cache tier and joins the regression set. The same
        decision again changes nothing. Raises NotFound, Forbidden, or Conflict when it is another's
        or decided otherwise, or when `group` is missing.
        """
        case = await self._found(case_id, who)
        if case.decision != decision:
            asked, now = Asked("decided", note, decision, group), self.now()
            calls = (
                self._store.keeping.learn(case_id, decision=decision, at=now),
                self._store.contents.seal(case_id, at=now),
            )
            case = await self._act(case_id, asked, who=who, calls=calls)
            items = await self._store.items(case_id)
            await self._settling.settle(case, items)
            self._teller.decided(case, items)
        elif case.settled_at is None:
            await self._settling.settle(case, await self._store.items(case_id))
        return await self._found(case_id, Reviewer(who.id))

    async def workload(self, *, who: Reviewer) -> Workload:
        """How much work there is, how fast it comes and goes, and where that leads."""
        return await measure(self._store.workload, owner=who.owner, now=self.now())

    async def examples(self, *, together: int = 500) -> AsyncIterator[list[Example]]:
        """The regression set: every verdict that people overturned, oldest first."""
        after: tuple[int, str] | None = None
        while found := await self._store.keeping.examples(after=after, limit=together):
            yield found
            after = (found[-1].created_at, found[-1].id)

    async def purge(self, before: int) -> int:
        """Delete cases decided and examples made before an instant; how many."""
        return await self._store.keeping.purge(before)

    async def purge_content(self, now: int) -> int:
        """Take away content that is not to be kept any longer; how many.

        Also finishes what a crash cut off after a decision.
        """
        await self._settling.settle_rest()
        return await self._store.contents.purge(now)

    async def erase(self, user_id: str) -> int:
        """Delete what is about a user of the application; how much that was."""
        return await self._store.keeping.erase(user_id)

    def now(self) -> int:
        """Milliseconds since 1970, as ages are told."""
        return int(self._clock.now() * 1000)

    async def _act(
        self, case_id: str, asked: Asked, *, who: Reviewer, calls: Sequence[Call] = ()
    ) -> Case:
        case = await self._found(case_id, who)
        if asked.action != "decided" and await self._store.event_count(case_id) >= MOST_EVENTS:
            raise Conflict(f"{case_id} has {MOST_EVENTS} events; decide it")
        told: dict[str, object] = {"kind": case.kind, "items": case.items}
        if asked.decision is not None:
            told["decision"] = asked.decision
        done = await self._store.act(
            case_id,
            asked,
            actor=who.id,
            owner=who.owner,
            at=self.now(),
            stale=self._stale(),
            calls=(self._audit.entry(who.id, f"case.{asked.action}", case_id, told), *calls),
        )
        if not done:
            raise refusal(await self._found(case_id, who), asked, who=who, stale=self._stale())
        return await self._found(case_id, who)

    async def _found(self, case_id: str, who: Reviewer) -> Case:
        case = await self._store.find(case_id)
        if case is None or who.owner not in (None, case.owner):
            raise NotFound(f"there is no case {case_id[:80]!r}")
        return case

    async def _appealed(self, facts: VerdictFacts) -> Item:
        """The item of an appeal: its decision is the one that stands, by people if need be."""
        stands = facts.decision
        if stands == "review":
            human = await self._store.human(facts.content_hash, owner=facts.owner)
            stands = human or stands
        now = self.now()
        return Item(
            verdict_id=facts.id,
            key_id=facts.key_id or "",
            case_id="",
            owner=facts.owner,
            user_id=facts.user_id,
            content_key=facts.content_key,
            content_hash=facts.content_hash,
            decision=stands,
            created_at=now,
            appealed_at=now,
        )

    async def _refuse_appeal(self, facts: VerdictFacts) -> None:
        heard = await self._store.finding.heard(facts.id)
        if heard is not None:
            raise Conflict(
                f"the appeal against {facts.id} was decided in {heard.id}: {heard.decision}"
            )
        live = await self._store.finding.live(facts.id)
        if live is not None and live.kind == "appeal":
            return
        if await self._store.finding.appeals(facts.owner, most=MOST_APPEALS) >= MOST_APPEALS:
            raise Conflict(
                f"{facts.owner} has {MOST_APPEALS} cases of appeals open; decide some of them"
            )

    def _stale(self) -> int:
        return self.now() - int(CLAIM_SECONDS * 1000)
