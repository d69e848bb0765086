"""What goes on record about an item: the verdict, and what people are handed of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from penstock.services.moderation.evidence import Asking, is_foreign
from penstock.services.moderation.parts import Item
from penstock.services.moderation.policy import REVIEW_RISK, Review, Ruling
from penstock.services.moderation.referral import Referral
from penstock.services.moderation.store import StoredVerdict


def record(
    item: Item, ruling: Ruling, asking: Asking, *, id: str, score_key: str, created_at: int
) -> StoredVerdict:
    """The row of a verdict, without the text."""
    part = item.whole
    judgement = part.answer.value
    return StoredVerdict(
        id=id,
        owner=asking.owner,
        content_hash=item.content_hash,
        content_key=part.key,
        score_key=score_key,
        policy_version=asking.judge.version,
        decision=ruling.decision,
        flagged=any(ruling.flags) or ruling.decision == "rejected",
        reason=ruling.reason,
        risk=ruling.risk,
        record=msgspec.msgpack.encode(judgement),
        excerpt_share=judgement.excerpt_share,
        word_count=len(item.text.split()),
        content=None,
        user_id=asking.user_id,
        created_at=created_at,
        key_id=asking.key,
        scores=packed(judgement.scores),
        is_foreign=is_foreign(judgement),
        degraded=part.fault.code if part.fault else None,
        listed=part.listed.decision,
    )


def referral(stored: StoredVerdict, item: Item, ruling: Ruling, review: Review) -> Referral:
    """What people are handed of a verdict that is left to them."""
    return Referral(
        verdict_id=stored.id,
        owner=stored.owner,
        key_id=stored.key_id,
        user_id=stored.user_id,
        content_key=stored.content_key,
        content_hash=stored.content_hash,
        text=item.text or None,
        images=tuple(part.look for part in item.parts if part.kind == "image"),
        decision=ruling.decision,
        risk=ruling.risk,
        category=_cause(stored, item, ruling),
        reason=ruling.reason,
        retention_seconds=review.retention_seconds,
        sla_seconds=review.sla_seconds,
        created_at=stored.created_at,
    )


def _cause(stored: StoredVerdict, item: Item, ruling: Ruling) -> str | None:
    """What a human is asked for: a category's score, or what stood in the way of judging."""
    if item.whole.listed.decision == "review":
        return "list"
    if ruling.risk >= REVIEW_RISK:
        return ruling.category
    if stored.degraded:
        return "image" if stored.degraded.startswith("image") else "provider"
    return "language" if stored.is_foreign else None


def packed(scores: Sequence[float | None]) -> bytes:
    """Scores as a record keeps them for dry runs: int32 millionths, -1 where nobody judged."""
    millionths = [-1 if score is None else round(score * 1_000_000) for score in scores]
    return np.array(millionths, "<i4").tobytes()
