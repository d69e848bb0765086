"""What moderation takes, remembers and answers.

Requests and responses are OpenAI's, with a `penstock` block per result. msgspec Structs are the
only schema of these routes: they parse, they serialise and they are what /docs shows.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from penstock.lists.listed import NOTHING, Listed, ListHit
from penstock.pipeline import Receipt, Usage
from penstock.providers.provider import Finding
from penstock.services.moderation.policy import Decision

MAX_HITS = 20  # entries of lists that an answer names
MAX_FINDINGS = 64  # of one text; more would say nothing new and make records large

UserId = Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[^\x00]*$")]


class Judgement(msgspec.Struct, frozen=True, array_like=True):
    """What was found out about one text: the cached record. Holds no text and no decision."""

    digest: str  # of the scores: tells two judgements of one text apart
    scores: tuple[float | None, ...]  # in the order of CATEGORIES; None: nobody judged it
    findings: tuple[Finding, ...]
    other_language: float  # how likely the text is in a language the local model cannot judge
    source: str  # the last stage that contributed
    versions: tuple[tuple[str, str], ...]
    usage: Usage = Usage()
    rationale: str = ""
    excerpt_share: float = 1.0  # part of the text that the provider saw
    language: str = ""  # ISO 639-1 where it is not English and somebody knew; "und": nobody did

    @property
    def models(self) -> dict[str, str]:
        """Name -> version of everything that contributed."""
        return dict(self.versions)


class ImageUrl(msgspec.Struct):
    """Address of an image, or the image itself as a data URL."""

    url: str


class TextPart(msgspec.Struct, tag_field="type", tag="text"):
    """Text in a multi-part input."""

    text: str


class ImagePart(msgspec.Struct, tag_field="type", tag="image_url"):
    """Image in a multi-part input."""

    image_url: ImageUrl


class ModerationRequest(msgspec.Struct):
    """OpenAI's request. Unknown fields are ignored, as OpenAI does."""

    input: str | list[str | TextPart | ImagePart]
    model: str | None = None
    user: UserId | None = None


class Span(msgspec.Struct, frozen=True):
    """A place in the text, offsets in code points, and what it speaks for."""

    start: int
    end: int
    category: str
    score: float
    stage: str
    rule: str


class PolicyRef(msgspec.Struct, frozen=True):
    """The policy that decided."""

    id: str
    version: str


class Degradation(msgspec.Struct, frozen=True):
    """Why a stage is missing from a verdict."""

    code: str
    detail: str


class ListedDetail(msgspec.Struct, frozen=True):
    """What block, review and allow lists made of an item, and the entries that were found."""

    decision: Decision | None  # None: the entries only exempt others, or allow a part
    hits: tuple[ListHit, ...]  # at most MAX_HITS; the first one decided


class Detail(msgspec.Struct, frozen=True):
    """Penstock's own part of a result."""

    id: str
    decision: Decision
    reason: str
    risk: float  # 0..1 over all categories: 0.2 where review begins, 0.8 where rejection begins
    spans: tuple[Span, ...]
    language: str  # ISO 639-1, "other" where nobody asked which, "und" where nobody could say
    policy: PolicyRef
    receipt: Receipt
    recorded: bool  # whether the verdict is on record under its id
    degraded: Degradation | None = None
    rationale: str = ""
    listed: ListedDetail | None = None


class ModerationResult(msgspec.Struct, frozen=True):
    """OpenAI's result for one input, with the `penstock` block.

    A category that nobody judged has score 0 and no entry in `category_applied_input_types`.
    """

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]
    penstock: Detail


class ModerationResponse(msgspec.Struct, frozen=True):
    """OpenAI's response."""

    id: str
    model: str
    results: list[ModerationResult]


class Verdict(msgspec.Struct, frozen=True):
    """One decision on one text, with everything it rests on."""

    id: str
    decision: Decision
    reason: str
    risk: float
    flags: tuple[bool, ...]
    judgement: Judgement
    receipt: Receipt
    policy: PolicyRef
    from_cache: bool
    recorded: bool
    degraded: Degradation | None = None
    applied: tuple[list[str], ...] | None = None  # kinds by category; None: all that has scores
    listed: Listed = NOTHING
