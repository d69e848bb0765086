"""Moderation as operations that batches run: OpenAI's requests, and plain texts.

Equal items are found by the texts themselves; what other items, single requests or other processes
know or compute already, the pipeline finds.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import msgspec

from penstock.batch.operation import Answer, Operation
from penstock.cache.keys import fingerprint
from penstock.clock import Clock
from penstock.errors import ProviderThrottled, ProviderTimeout, ProviderUnavailable
from penstock.services.moderation.answers import MODEL, Question, question, response, verdicts
from penstock.services.moderation.excerpt import ExcerptRule
from penstock.services.moderation.schemas import ModerationRequest, ModerationResponse, Verdict
from penstock.services.moderation.service import ModerationService, check_text
from penstock.web.hot import invalid, unreadable

T = TypeVar("T")

PASSING = frozenset(kind.slug for kind in (ProviderThrottled, ProviderTimeout, ProviderUnavailable))
"""Reasons for a missing stage that may be gone a little later."""


class Text(msgspec.Struct, frozen=True):
    """A text on its own, and what of it a paid model may read."""

    content: str
    excerpt: ExcerptRule | None = None


class TextAnswer(msgspec.Struct, frozen=True):
    """What was decided about a text, without the text."""

    id: str
    content_hash: str  # SHA-256 of the text, hexadecimal
    decision: str
    risk: float
    reason: str
    rationale: str
    word_count: int
    excerpt_share: float
    degraded: str | None  # the code of what was missing
    created_at: int  # when it was found out, milliseconds since 1970


def operations(service: ModerationService, *, clock: Clock, max_inputs: int) -> list[Operation]:
    """What moderation can do for the items of a batch."""
    return [
        ModerationOperation(service, max_inputs=max_inputs),
        TextOperation(service, clock=clock),
    ]


class _ByService:
    """What both operations say of the service behind them."""

    def __init__(self, service: ModerationService) -> None:
        self._service = service

    @property
    def version(self) -> str:
        return self._service.version

    @property
    def waits(self) -> bool:
        return self._service.asks_provider


class ModerationOperation(_ByService):
    """`/v1/moderations`: OpenAI's request and response."""

    endpoint = "/v1/moderations"

    def __init__(self, service: ModerationService, *, max_inputs: int) -> None:
        super().__init__(service)
        self._max_inputs = max_inputs
        self._decoder = msgspec.json.Decoder(ModerationRequest)

    def check(self, body: bytes) -> Question:
        asked = question(_read(self._decoder, body), max_inputs=self._max_inputs)
        for number, text in enumerate(asked.texts):
            if text or not asked.images:
                check_text(text, pointer=f"/input/{number}" if asked.several else "/input")
        return asked

    def key(self, request: Question) -> str:
        return fingerprint(*request.texts, len(request.texts), request.user, *request.images)

    async def run(
        self, request: Question, *, owner: str, key: str | None
    ) -> Answer[ModerationResponse]:
        found = await verdicts(self._service, request, owner=owner, key=key)
        cached = all(verdict.from_cache for verdict in found)
        return Answer(response(found, model=MODEL), cached, _again(found))


class TextOperation(_ByService):
    """`/api/moderate`: one text; adapters make other systems' shapes of the answer."""

    endpoint = "/api/moderate"

    def __init__(self, service: ModerationService, *, clock: Clock) -> None:
        super().__init__(service)
        self._clock = clock
        self._decoder = msgspec.json.Decoder(Text)

    def check(self, body: bytes) -> Text:
        asked = _read(self._decoder, body)
        check_text(asked.content, pointer="/content")
        return asked

    def key(self, request: Text) -> str:
        return fingerprint(request.content, request.excerpt.key if request.excerpt else "")

    async def run(self, request: Text, *, owner: str, key: str | None) -> Answer[TextAnswer]:
        text = request.content
        check_text(text, pointer="/content")
        verdict = await self._service.moderate(
            text, owner=owner, key=key, excerpt_rule=request.excerpt
        )
        judgement = verdict.judgement
        made = self._clock.now() - verdict.receipt.age_seconds
        body = TextAnswer(
            id=verdict.id,
            content_hash=hashlib.sha256(text.encode()).hexdigest(),
            decision=verdict.decision,
            risk=verdict.risk,
            reason=verdict.reason,
            rationale=judgement.rationale,
            word_count=len(text.split()),
            excerpt_share=judgement.excerpt_share,
            degraded=verdict.degraded.code if verdict.degraded else None,
            created_at=int(made * 1000),
        )
        return Answer(body, verdict.from_cache, _again([verdict]))


def _again(found: list[Verdict]) -> float | None:
    """Seconds after which a verdict without its provider is worth another try."""
    passing = any(v.degraded is not None and v.degraded.code in PASSING for v in found)
    return 0.0 if passing else None


def _read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(body, error) from None
