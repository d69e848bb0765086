"""What review takes, keeps and answers, and what it needs of others.

Instants are milliseconds since 1970, UTC; probabilities 0..1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

Decision = Literal["approved", "rejected"]
State = Literal["open", "claimed", "escalated", "decided"]
Kind = Literal["review", "appeal"]

Emit = Callable[[str, str, str, Mapping[str, object]], None]
"""Tells of (type, subject, owner, data)."""


class Referral(Protocol):
    """One item for people: what `moderation` hands over."""

    @property
    def verdict_id(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def key_id(self) -> str | None: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def content_key(self) -> str:
        """Of the cached judgement."""

    @property
    def content_hash(self) -> str:
        """SHA-256 of what was judged, hexadecimal."""

    @property
    def text(self) -> str | None:
        """To find near-duplicates by; kept only where `retention_seconds` is above 0."""

    @property
    def images(self) -> tuple[bytes, ...]:
        """A PDQ hash for each image; b"" for one that could not be looked at."""

    @property
    def decision(self) -> str: ...
    @property
    def risk(self) -> float: ...
    @property
    def category(self) -> str | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def retention_seconds(self) -> float: ...
    @property
    def sla_seconds(self) -> float: ...
    @property
    def created_at(self) -> int: ...


class Span(msgspec.Struct, frozen=True):
    """A place in the text, offsets in code points, and what it speaks for."""

    start: int
    end: int
    category: str
    score: float
    rule: str


class VerdictFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is on record about one verdict."""

    id: str
    owner: str
    key_id: str | None
    user_id: str | None
    content_key: str
    content_hash: str
    decision: str
    risk: float
    category: str | None
    reason: str
    scores: Mapping[str, float] = {}
    spans: tuple[Span, ...] = ()


class Verdicts(Protocol):
    """Finds recorded verdicts."""

    async def find(self, verdict_id: str, *, owner: str | None = None) -> VerdictFacts | None:
        """One verdict; with `owner`, only if it is that owner's."""


class Decisions(Protocol):
    """Makes exact repeats follow what a human decided."""

    async def decide(
        self,
        content_hash: str,
        *,
        decision: Decision,
        key_ids: Sequence[str],
        actor: str,
        note: str,
    ) -> object:
        """From now on this content has this decision for requests with these keys."""


class Forget(Protocol):
    """Forgets cached judgements."""

    async def forget(self, content_key: str) -> object:
        """Forget one in every tier of every process, at once."""


class Reviewer(msgspec.Struct, frozen=True):
    """Who looks or acts. Without an owner everything is seen, and escalated cases are theirs."""

    id: str  # key id, or "cli"
    owner: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether this one sees the cases of every owner."""
        return self.owner is None


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `review_cases`: items that are alike, and what people do about them."""

    id: str
    state: State
    kind: Kind
    decision: Decision | None
    owner: str  # of all its items
    assignee: str | None
    risk: float  # the highest of its items
    category: str | None
    reason: str
    signature: bytes | None
    similar_to: str | None
    items: int
    contents: int  # distinct ones among its items
    created_at: int
    due_at: int
    claimed_at: int | None
    decided_at: int | None
    decided_by: str | None
    settled_at: int | None


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What one or more items of a case say: one row of `review_contents`, and of whose items."""

    content_hash: str
    verdict_id: str  # of its first item
    items: int
    risk: float  # the highest of its items
    category: str | None
    content: str | None
    content_until: int | None  # None: it was never to be kept
    verdict: VerdictFacts | None = None  # of `verdict_id`, where it was asked for and is on record


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `review_items`: a verdict that a case decides on, for one API key."""

    verdict_id: str
    key_id: str  # "": without one
    case_id: str
    owner: str
    user_id: str | None
    content_key: str
    content_hash: str
    decision: str  # what stood before people decided
    created_at: int
    appealed_at: int | None = None


class Event(msgspec.Struct, frozen=True):
    """One row of `review_events`: what was done to a case."""

    number: int
    case_id: str
    action: str
    actor: str
    detail: str
    at: int


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `review_examples`: a verdict that people overturned."""

    id: str
    case_id: str
    content: str | None  # None: only its hash is known, it cannot be replayed
    content_hash: str
    category: str | None
    was: str
    decision: Decision
    user_id: str | None
    created_at: int


class CaseFile(msgspec.Struct, frozen=True, kw_only=True):
    """A case with everything known about it; of items and events at most the first hundreds."""

    case: Case
    contents: tuple[Content, ...]  # all of them: see `MOST_CONTENTS`
    items: tuple[Item, ...]
    events: tuple[Event, ...]


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which cases are meant; None: all, except that without a state decided ones are left out."""

    state: State | None = None
    kind: Kind | None = None
    assignee: str | None = None
    category: str | None = None
    overdue: bool | None = None


class Rates(msgspec.Struct, frozen=True):
    """Cases per day over the last days."""

    last_7_days: float
    last_30_days: float


class CategoryLoad(msgspec.Struct, frozen=True, kw_only=True):
    """The work of one category; times are of decisions of the last 30 days."""

    category: str | None
    live: int
    overdue: int
    opened: int  # in the last 30 days
    decided: int
    median_seconds: float | None
    p95_seconds: float | None


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """How much work there is, how fast it comes and goes, and where that leads."""

    open: int
    claimed: int
    escalated: int
    overdue: int
    oldest_age_seconds: float
    opened_per_day: Rates
    decided_per_day: Rates
    median_seconds: float | None  # from opening to decision, over the last 30 days
    p95_seconds: float | None
    backlog_in_7_days: float  # at the rates of the last 7 days
    backlog_in_30_days: float
    categories: tuple[CategoryLoad, ...]
