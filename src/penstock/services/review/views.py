"""What the routes of review take and answer, as /docs shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from pydantic import BaseModel, Field

from penstock.services.review.schemas import (
    Case,
    CaseFile,
    Content,
    Decision,
    Event,
    Example,
    Item,
    Kind,
    State,
    VerdictFacts,
    Workload,
)
from penstock.web.instants import instant, maybe

LONGEST_NOTE = 2000  # characters

Instant = datetime | None
Words = Annotated[str, Field(min_length=1, max_length=LONGEST_NOTE, pattern=r"^[^\x00]*$")]


class CommentRequest(BaseModel, extra="forbid"):
    """Something to say about a case."""

    text: Words


class EscalationRequest(BaseModel, extra="forbid"):
    """Why an admin has to decide."""

    reason: Words


class DecisionRequest(BaseModel, extra="forbid"):
    """What stands from now on for everything in the case."""

    decision: Decision
    note: str = Field("", max_length=LONGEST_NOTE, pattern=r"^[^\x00]*$")
    group: bool = Field(
        False,
        description="To approve a case with `distinct` above 1: every one of its contents was "
        "looked at. It has to be claimed. Rejecting does not need it.",
    )


class AppealRequest(BaseModel, extra="forbid"):
    """Why people should look at a verdict."""

    verdict_id: str = Field(min_length=1, max_length=64, examples=["mod_2d9858b0c1a7e6f4"])
    reason: Words
    text: str | None = Field(
        None,
        max_length=1_000_000,
        description="What was judged, exactly: reviewers see it until they decide, and an "
        "overturned verdict can be replayed. Default: they see its hash and scores.",
    )


class CaseView(BaseModel):
    """Items that are alike, and what people do about them."""

    id: str
    state: State
    kind: Kind
    decision: Decision | None
    owner: str = Field(description="Of all its items.")
    assignee: str | None = Field(description="The key of who works on it.")
    risk: float = Field(description="The highest of its items, 0..1.")
    category: str | None
    reason: str
    similar_to: str | None = Field(
        description="A decided case of the same owner with the same or nearly the same content."
    )
    items: int = Field(description="How many verdicts it decides on, each once for every API key.")
    distinct: int = Field(description="How many different contents they have, at most 50.")
    created_at: datetime
    due_at: datetime
    age_seconds: float = Field(description="Until now, or until it was decided.")
    overdue: bool = Field(description="Not decided by `due_at`.")
    claimed_at: Instant
    decided_at: Instant
    decided_by: str | None
    effects_pending: bool = Field(
        description="It is decided, but exact repeats do not follow the decision yet."
    )


class ItemView(BaseModel):
    """A verdict that a case decides on."""

    verdict_id: str
    owner: str
    key_id: str | None
    user_id: str | None
    content_hash: str = Field(description="SHA-256 of what was judged.")
    decision: str = Field(description="What stood before people decided.")
    created_at: datetime
    appealed_at: Instant


class EventView(BaseModel):
    """Something that was done to a case."""

    action: str = Field(
        description="opened, appealed, claimed, released, commented, escalated, decided"
    )
    actor: str = Field(description="A key's id; `cli`: a command; `penstock`: the machine.")
    detail: str = Field(description="The words given; for operators.")
    at: datetime


class SpanView(BaseModel):
    """A place in the text, offsets in code points, and what it speaks for."""

    start: int
    end: int
    category: str
    score: float
    rule: str


class VerdictView(BaseModel):
    """What the machine found."""

    id: str
    decision: str
    risk: float
    reason: str
    scores: dict[str, float]
    spans: list[SpanView]


class ContentView(BaseModel):
    """What one or more items of a case say."""

    content_hash: str = Field(description="SHA-256 of what was judged.")
    items: int
    risk: float = Field(description="The highest of its items, 0..1.")
    category: str | None
    content: str | None = Field(description="For operators, while the policy lets it be kept.")
    content_note: str | None = Field(description="Why there is none, and where else to look.")
    content_until: Instant
    verdict: VerdictView | None = Field(description="Of its first item, while it is on record.")


class CaseFileView(CaseView):
    """A case with everything known about it."""

    contents: list[ContentView] = Field(description="Everything that a decision stands for.")
    verdicts: list[ItemView] = Field(description="The first 100 items.")
    events: list[EventView]


class AppealView(BaseModel):
    """The case that an appeal is heard in."""

    case_id: str
    verdict_id: str
    state: State
    due_at: datetime


class RatesView(BaseModel):
    """Cases per day."""

    last_7_days: float
    last_30_days: float


class CategoryLoadView(BaseModel):
    """The work of one category; counts and times of the last 30 days."""

    category: str | None
    live: int
    overdue: int
    opened: int
    decided: int
    median_seconds: float | None
    p95_seconds: float | None


class WorkloadView(BaseModel):
    """How much work there is, how fast it comes and goes, and where that leads."""

    open: int
    claimed: int
    escalated: int
    overdue: int
    oldest_age_seconds: float
    opened_per_day: RatesView
    decided_per_day: RatesView
    median_seconds: float | None = Field(description="From opening to decision, last 30 days.")
    p95_seconds: float | None
    backlog_in_7_days: float = Field(description="At the rates of the last 7 days.")
    backlog_in_30_days: float
    categories: list[CategoryLoadView]


def case_view(case: Case, *, now: int) -> CaseView:
    """A case as of `now`, without its content."""
    until = case.decided_at or now
    return CaseView(
        id=case.id,
        state=case.state,
        kind=case.kind,
        decision=case.decision,
        owner=case.owner,
        assignee=case.assignee,
        risk=case.risk,
        category=case.category,
        reason=case.reason,
        similar_to=case.similar_to,
        items=case.items,
        distinct=case.contents,
        created_at=instant(case.created_at),
        due_at=instant(case.due_at),
        age_seconds=max(0, until - case.created_at) / 1000,
        overdue=case.due_at <= until,
        claimed_at=maybe(case.claimed_at),
        decided_at=maybe(case.decided_at),
        decided_by=case.decided_by,
        effects_pending=case.decided_at is not None and case.settled_at is None,
    )


def file_view(file: CaseFile, *, now: int, open_content: bool) -> CaseFileView:
    """A case with its items and history; words of people only for who may see content."""
    return CaseFileView(
        **case_view(file.case, now=now).model_dump(),
        contents=[
            _content(content, kind=file.case.kind, open_content=open_content)
            for content in file.contents
        ],
        verdicts=[_item(item) for item in file.items],
        events=[_event(event, open_content=open_content) for event in file.events],
    )


def appeal_view(case: Case, verdict_id: str) -> AppealView:
    """What an appellant is told."""
    return AppealView(
        case_id=case.id, verdict_id=verdict_id, state=case.state, due_at=instant(case.due_at)
    )


def workload_view(load: Workload) -> WorkloadView:
    """The numbers."""
    return WorkloadView.model_validate(msgspec.to_builtins(load))


def example_lines(examples: list[Example]) -> bytes:
    """Examples as lines of JSON, to be replayed against a model."""
    fields = ("id", "content", "content_hash", "category", "was", "decision")
    lines = [
        {name: getattr(example, name) for name in fields}
        | {"created_at": instant(example.created_at)}
        for example in examples
    ]
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def _content(content: Content, *, kind: Kind, open_content: bool) -> ContentView:
    return ContentView(
        content_hash=content.content_hash,
        items=content.items,
        risk=content.risk,
        category=content.category,
        content=content.content if open_content else None,
        content_note=_note(content, kind=kind) if open_content else "content is for operators",
        content_until=maybe(content.content_until),
        verdict=_verdict(content.verdict),
    )


def _note(content: Content, *, kind: Kind) -> str | None:
    if content.content is not None:
        return None
    if content.content_until is not None:
        why = "content is not kept any longer"
    elif kind == "appeal":
        why = "content is not kept: the appeal came without its text"
    else:
        why = "content is not kept: its policy has review.retention_seconds 0, or it has no text"
    return f"{why}; GET /v1/verdicts/{content.verdict_id} has what is on record"


def _verdict(facts: VerdictFacts | None) -> VerdictView | None:
    if facts is None:
        return None
    return VerdictView(
        id=facts.id,
        decision=facts.decision,
        risk=facts.risk,
        reason=facts.reason,
        scores=dict(facts.scores),
        spans=[SpanView(**msgspec.structs.asdict(span)) for span in facts.spans],
    )


def _item(item: Item) -> ItemView:
    return ItemView(
        verdict_id=item.verdict_id,
        owner=item.owner,
        key_id=item.key_id or None,
        user_id=item.user_id,
        content_hash=item.content_hash,
        decision=item.decision,
        created_at=instant(item.created_at),
        appealed_at=maybe(item.appealed_at),
    )


def _event(event: Event, *, open_content: bool) -> EventView:
    return EventView(
        action=event.action,
        actor=event.actor,
        detail=event.detail if open_content else "",
        at=instant(event.at),
    )
