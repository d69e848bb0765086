"""What callers are shown of policies, dry runs and suggestions; the command line shows the same."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, Field

from penstock.services.moderation.capacity import Suggestion
from penstock.services.moderation.policies import Policies, Standing
from penstock.services.moderation.policy import (
    REJECT_RISK,
    REVIEW_RISK,
    Decision,
    Judge,
    cautions,
    complete,
)
from penstock.services.moderation.policy_store import Revision
from penstock.services.moderation.rehearsal import Change, Outcome, Plan
from penstock.web.instants import instant
from penstock.web.pages import encode_cursor

REVISIONS = 50  # shown with a policy
KEYS = 1000
DIGITS = 6
LAST_DIGIT = 1e-6


class RevisionSummary(BaseModel):
    """One revision without its document."""

    revision: int = Field(description="From 1; 0 is the policy of the settings.")
    version: str = Field(description="Of the content: what verdicts name.")
    note: str
    created_by: str = Field(description='The key that wrote it, or "cli".')
    created_at: datetime | None = Field(description="Null for the policy of the settings.")


class RevisionView(RevisionSummary):
    """One revision, which nobody can change."""

    policy_id: str
    policy: dict[str, Any] = Field(description="The whole document, every category named.")


class PolicySummary(BaseModel):
    """One policy."""

    id: str
    is_default: bool = Field(description="Whether it decides for keys without one of their own.")
    active: int | None = Field(description="The revision that holds; null: none does yet.")
    version: str | None = Field(description="Of the active revision.")
    latest: int = Field(description="The revision that was written last.")
    activated_at: datetime | None
    activated_by: str | None
    notes: list[str] = Field(
        description="What to know while the active revision holds here: that nobody reads under "
        "it, for example."
    )


class PolicyView(PolicySummary):
    """One policy with what holds, what there is, and whose it is."""

    policy: dict[str, Any] | None = Field(description="The document of the active revision.")
    revisions: list[RevisionSummary] = Field(description=f"At most {REVISIONS}, latest first.")
    keys: list[str] = Field(
        description=f"At most {KEYS} keys that have it for their own; who is no admin sees the "
        "key that asks."
    )


class Difference(BaseModel):
    """One place in which two revisions differ."""

    pointer: str
    before: Any = Field(serialization_alias="from")
    after: Any = Field(serialization_alias="to")


class DifferenceView(BaseModel):
    """How two revisions differ."""

    before: int = Field(serialization_alias="from")
    after: int = Field(serialization_alias="to")
    changes: list[Difference]


class PolicyName(BaseModel):
    """A policy at one moment."""

    id: str
    version: str


class MoveView(BaseModel):
    """How many verdicts go from one decision to another; also those that stay."""

    before: Decision = Field(serialization_alias="from")
    after: Decision = Field(serialization_alias="to")
    count: int


class DriverView(BaseModel):
    """What leads to changes: a category, or language, provider failure, unseen, list, other."""

    category: str
    stricter: int
    looser: int


class ChangeView(BaseModel):
    """One verdict that would be another."""

    verdict_id: str
    content_hash: str
    created_at: datetime
    before: Decision = Field(serialization_alias="from")
    after: Decision = Field(serialization_alias="to")
    reason_before: str = Field(serialization_alias="from_reason")
    reason_after: str = Field(serialization_alias="to_reason")
    risk_before: float = Field(serialization_alias="from_risk")
    risk_after: float = Field(serialization_alias="to_risk")
    category: str = Field(
        description="What leads to the change, as in `categories`: to the new decision if it is "
        "the stricter one, else to the old one."
    )


class DryRunView(BaseModel):
    """What would have been decided about recorded verdicts. Nothing is changed by it."""

    policy: PolicyName
    against: PolicyName | Literal["recorded"] = Field(
        description="What it was compared with: a policy, or the decisions that were recorded."
    )
    examined: int
    changed: int
    unreadable: int
    complete: bool = Field(description="False: older verdicts were left out; they were too many.")
    oldest: datetime | None = Field(description="When the oldest of them was recorded.")
    model_calls: int = Field(description="Always 0: only what was recorded is read.")
    duration_seconds: float
    decisions: list[MoveView]
    categories: list[DriverView] = Field(description="What drives the changes, the most first.")
    examples: list[ChangeView] = Field(description="Changed verdicts, newest first.")
    next: str | None = Field(description="The cursor for further ones: POST .../dry-run/changes.")
    notes: list[str] = Field(description="What recorded scores cannot tell.")


class SuggestionView(BaseModel):
    """Thresholds that fit a team's capacity, ready to be posted as a draft."""

    policy: dict[str, Any]
    risk: float = Field(description="The level of the active policy's risk where review begins.")
    reviews_per_day: float = Field(description="The capacity that was asked for.")
    before: float = Field(description="Reviews a day under the active policy.")
    after: float = Field(description="Reviews a day under the suggested one.")
    fixed: float = Field(
        description="Of these, from other languages, failures, lists and the highest scores in "
        "categories that are never rejected: no suggestion moves them."
    )
    fits: bool
    approved_instead: float = Field(description="Verdicts a day that nobody would look at any more")
    reviewed_instead: float = Field(description="Verdicts a day that somebody would look at now")
    days: float = Field(description="Days of recorded verdicts that it rests on.")
    dry_run: DryRunView
    notes: list[str]


def summary_of(policies: Policies, standing: Standing, *, asks_provider: bool) -> dict[str, Any]:
    """The members of a PolicySummary; `asks_provider`: whether one is set here."""
    activation, judge = standing.activation, standing.judge
    return {
        "id": standing.policy_id,
        "is_default": standing.policy_id == policies.base_id,
        "active": standing.active,
        "version": judge.version if judge else None,
        "latest": standing.latest,
        "activated_at": instant(activation.activated_at) if activation else None,
        "activated_by": activation.activated_by if activation else None,
        "notes": cautions(judge.policy, asks_provider=asks_provider) if judge else [],
    }


async def policy_of(
    policies: Policies, standing: Standing, *, asks_provider: bool, only_key: str | None = None
) -> PolicyView:
    """A policy as it stands; of its keys only `only_key`, or all."""
    id, judge = standing.policy_id, standing.judge
    if only_key is None:
        keys = await policies.keys(id, limit=KEYS)
    else:
        keys = [only_key] if await policies.is_own(id, only_key) else []
    revisions = await policies.revisions(id, limit=REVISIONS)
    return PolicyView(
        **summary_of(policies, standing, asks_provider=asks_provider),
        policy=None if judge is None else document_of(judge),
        revisions=[revision_summary(each) for each in revisions],
        keys=keys,
    )


def revision_summary(revision: Revision) -> RevisionSummary:
    """A revision without its document."""
    return RevisionSummary(**_revision(revision))


def revision_of(revision: Revision) -> RevisionView:
    """A revision with its document."""
    return RevisionView(
        policy_id=revision.policy_id,
        policy=msgspec.json.decode(revision.document),
        **_revision(revision),
    )


def difference_of(before: Revision, after: Revision) -> DifferenceView:
    """Where two revisions differ, by place."""
    old = dict(_places(msgspec.json.decode(before.document)))
    new = dict(_places(msgspec.json.decode(after.document)))
    places = [place for place in {**old, **new} if old.get(place) != new.get(place)]
    return DifferenceView(
        before=before.number,
        after=after.number,
        changes=[
            Difference(pointer=place, before=old.get(place), after=new.get(place))
            for place in places
        ],
    )


def dry_run_of(plan: Plan, outcome: Outcome, *, seconds: float) -> DryRunView:
    """What a dry run found."""
    return DryRunView(
        policy=_name(plan.judge),
        against="recorded" if plan.against is None else _name(plan.against),
        examined=outcome.examined,
        changed=outcome.changed,
        unreadable=outcome.unreadable,
        complete=outcome.complete,
        oldest=None if outcome.oldest is None else instant(outcome.oldest),
        model_calls=0,
        duration_seconds=round(seconds, 3),
        decisions=[
            MoveView(before=move.before, after=move.after, count=move.count)
            for move in outcome.moves
        ],
        categories=[
            DriverView(category=each.cause, stricter=each.stricter, looser=each.looser)
            for each in outcome.drivers
        ],
        examples=[change_of(each) for each in outcome.examples],
        next=None if outcome.next is None else encode_cursor(outcome.next),
        notes=outcome.notes,
    )


def change_of(change: Change) -> ChangeView:
    """One changed verdict."""
    return ChangeView(
        verdict_id=change.verdict_id,
        content_hash=change.content_hash,
        created_at=instant(change.created_at),
        before=change.before,
        after=change.after,
        reason_before=change.reason_before,
        reason_after=change.reason_after,
        risk_before=_shown(change.risk_before),
        risk_after=_shown(change.risk_after),
        category=change.cause,
    )


def suggestion_of(found: Suggestion, *, capacity: float, seconds: float) -> SuggestionView:
    """What was suggested."""
    outcome = found.outcome

    def daily(count: int) -> float:
        return round(count / found.days, DIGITS)

    return SuggestionView(
        policy=document_of(Judge(found.policy)),
        risk=_shown(found.risk),
        reviews_per_day=capacity,
        before=round(found.before, DIGITS),
        after=round(found.after, DIGITS),
        fixed=round(found.fixed, DIGITS),
        fits=found.after <= capacity,
        approved_instead=daily(outcome.count(before="review", after="approved")),
        reviewed_instead=daily(outcome.count(before="approved", after="review")),
        days=round(found.days, DIGITS),
        dry_run=dry_run_of(found.plan, outcome, seconds=seconds),
        notes=found.notes,
    )


def document_of(judge: Judge) -> dict[str, Any]:
    """A policy as it can be posted again."""
    document: dict[str, Any] = msgspec.to_builtins(complete(judge.policy))
    return document


def _revision(revision: Revision) -> dict[str, Any]:
    return {
        "revision": revision.number,
        "version": revision.version,
        "note": revision.note,
        "created_by": revision.created_by,
        "created_at": instant(revision.created_at) if revision.number else None,
    }


def _shown(risk: float) -> float:
    """A risk in six digits; one below a threshold is not rounded up to it."""
    rounded = round(risk, DIGITS)
    for threshold in (REVIEW_RISK, REJECT_RISK):
        if risk < threshold <= rounded:
            return round(threshold - LAST_DIGIT, DIGITS)
    return rounded


def _name(judge: Judge) -> PolicyName:
    return PolicyName(id=judge.policy.id, version=judge.version)


def _places(document: Any, pointer: str = "") -> list[tuple[str, Any]]:
    """Every value of a document by its RFC 6901 pointer; lists are values."""
    if not isinstance(document, dict):
        return [(pointer, document)]
    return [
        found
        for name, value in document.items()
        for found in _places(value, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    ]
