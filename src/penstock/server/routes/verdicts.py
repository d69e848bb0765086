"""/v1/verdicts: what is on record under the id that an answer, a case or a dry run names."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from penstock.errors import NotFound, StorageUnavailable
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.policy import Decision
from penstock.services.moderation.schemas import Judgement
from penstock.services.moderation.service import ModerationService
from penstock.services.moderation.store import StoredVerdict
from penstock.web.errors import responses
from penstock.web.instants import instant
from penstock.web.roles import Viewer

Id = Annotated[
    str, Path(min_length=1, max_length=200, examples=["mod_5d41402abc4b2a76b9719d911017c592"])
]


class RecordedSpan(BaseModel):
    """A place in the text, offsets in code points, and what it speaks for."""

    start: int
    end: int
    category: str
    score: float
    stage: str
    rule: str


class RecordedVerdict(BaseModel):
    """A verdict as it was recorded: what the policy and the lists of that time decided."""

    id: str
    decision: Decision
    reason: str
    risk: float = Field(description="0.2 where review begins, 0.8 where rejection begins.")
    scores: dict[str, float] = Field(description="By category; what nobody judged is missing.")
    spans: list[RecordedSpan]
    policy: str = Field(description="The version of the policy that decided.")
    degraded: str | None = Field(description="The code of what was missing, if anything was.")
    listed: Decision | None = Field(description="What block, review and allow lists made of it.")
    owner: str
    key_id: str | None = Field(description="The API key that asked.")
    user_id: str | None = Field(description="The application's user, where it named one.")
    content_hash: str
    word_count: int
    created_at: datetime
    content: str | None = Field(
        description="The text, where it is stored (`PENSTOCK_STORE_TEXT`), for operators and up."
    )


def router(moderation: ModerationService) -> APIRouter:
    """The route below /v1/verdicts."""
    routes = APIRouter(
        prefix="/v1/verdicts", tags=["verdicts"], responses=responses(StorageUnavailable)
    )

    @routes.get("/{verdict_id}", responses=responses(NotFound))
    async def get_verdict(verdict_id: Id, who: Viewer) -> RecordedVerdict:
        """One recorded verdict of the key's owner; admins see everyone's."""
        found = await moderation.find(verdict_id, owner=None if who.may("admin") else who.owner)
        return _view(found, with_content=who.may("operator"))

    return routes


def _view(verdict: StoredVerdict, *, with_content: bool) -> RecordedVerdict:
    scores, spans = _judged(verdict.record)
    return RecordedVerdict.model_validate(
        {
            "id": verdict.id,
            "decision": verdict.decision,
            "reason": verdict.reason,
            "risk": verdict.risk,
            "scores": scores,
            "spans": spans,
            "policy": verdict.policy_version,
            "degraded": verdict.degraded,
            "listed": verdict.listed,
            "owner": verdict.owner,
            "key_id": verdict.key_id,
            "user_id": verdict.user_id,
            "content_hash": verdict.content_hash,
            "word_count": verdict.word_count,
            "created_at": instant(verdict.created_at),
            "content": verdict.content if with_content else None,
        }
    )


def _judged(record: bytes) -> tuple[dict[str, float], list[RecordedSpan]]:
    """Scores and places of a record; nothing of one that another version wrote otherwise."""
    try:
        judgement = msgspec.msgpack.decode(record, type=Judgement)
    except msgspec.DecodeError:
        return {}, []
    pairs = zip(CATEGORIES, judgement.scores, strict=False)  # an older record has fewer
    scores = {category: score for category, score in pairs if score is not None}
    spans = [RecordedSpan(**msgspec.structs.asdict(found)) for found in judgement.findings]
    return scores, spans
