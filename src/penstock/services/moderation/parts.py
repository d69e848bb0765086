"""One item in parts, a text and images beside it, as one: what was found, missing and listed.

What an allow list holds as a whole says nothing against the item, so its scores do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from penstock.cache.keys import fingerprint
from penstock.lists.lists import NOTHING, Listed
from penstock.pipeline import Answer, Cost, Receipt, Tokens
from penstock.services.moderation.policy import UNSEEN, Decision
from penstock.services.moderation.schemas import Degradation, Judgement

_SOURCES = ("provider", "local", "prescreen", "inflight", "redis", "disk", "memory")


class Part(NamedTuple):
    """What is known of a text, of an image, or of both."""

    key: str  # of the cached record; of several, all of them
    answer: Answer[Judgement]
    listed: Listed
    fault: Degradation | None
    kind: Literal["text", "image", "both"]
    sha256: str = ""  # of an image's bytes, hexadecimal
    look: bytes = b""  # its PDQ hash


class Item(NamedTuple):
    """What is judged at once."""

    text: str
    parts: Sequence[Part]
    whole: Part

    @property
    def content_hash(self) -> str:
        """What stands for the content on record and in lists; a hot verdict needs none."""
        return _content_hash(self.text, self.parts)


def item_of(text: str, parts: Sequence[Part]) -> Item:
    """The item that a text and its parts are."""
    return Item(text, parts, whole(parts))


def _content_hash(text: str, parts: Sequence[Part]) -> str:
    """SHA-256 of a text or of an image's bytes; of anything else, of what no content can be.

    People decide about hashes: what they say of one item must never hold for another. No text has
    U+0000, and an image that was not reached is told by its key alone.
    """
    images = [part.sha256 or f"unseen {part.key}" for part in parts if part.kind == "image"]
    if text and not images:
        return hashlib.sha256(text.encode()).hexdigest()
    if not text and len(images) == 1 and parts[0].sha256:
        return images[0]
    told = hashlib.sha256(text.encode()).hexdigest() if text else ""
    return hashlib.sha256("\x00".join(("", "item", told, *images)).encode()).hexdigest()


def whole(parts: Sequence[Part]) -> Part:
    """The parts of one item as one."""
    if len(parts) == 1:
        return parts[0]
    counted = [part for part in parts if part.listed.decision != "approved"] or list(parts)
    answers = [part.answer for part in parts]
    return Part(
        key="+".join(part.key for part in parts),
        answer=Answer(
            _judgement([part.answer.value for part in counted]),
            _receipt([answer.receipt for answer in answers]),
            from_cache=all(answer.from_cache for answer in answers),
        ),
        listed=_listed([part.listed for part in parts]),
        fault=_fault([part.fault for part in counted if part.fault]),
        kind="both",
    )


def applied(parts: Sequence[Part]) -> tuple[list[str], ...]:
    """Which kinds of part each category was judged in, in the order of CATEGORIES."""
    columns = zip(*(part.answer.value.scores for part in parts), strict=True)
    kinds = [part.kind for part in parts]
    return tuple(
        list(dict.fromkeys(k for k, score in zip(kinds, column, strict=True) if score is not None))
        for column in columns
    )


def _judgement(judgements: Sequence[Judgement]) -> Judgement:
    first = judgements[0]
    ordered = tuple(
        max((score for score in column if score is not None), default=None)
        for column in zip(*(each.scores for each in judgements), strict=True)
    )
    versions = dict(pair for each in judgements for pair in each.versions)
    spent = [each.usage for each in judgements]
    return Judgement(
        digest=fingerprint(*(each.digest for each in judgements)),
        scores=ordered,
        findings=tuple(found for each in judgements for found in each.findings),
        other_language=max(each.other_language for each in judgements),
        source=min((each.source for each in judgements), key=_SOURCES.index),
        versions=tuple(versions.items()),
        usage=msgspec.structs.replace(
            spent[0],
            tokens_in=sum(each.tokens_in for each in spent),
            tokens_out=sum(each.tokens_out for each in spent),
            cost_micros=sum(each.cost_micros for each in spent),
        ),
        rationale=next((each.rationale for each in judgements if each.rationale), ""),
        excerpt_share=first.excerpt_share,
        language=first.language,
    )


def _receipt(receipts: Sequence[Receipt]) -> Receipt:
    """The receipt of all: its source is the dearest one, its seconds are those of the slowest."""
    stages: dict[str, float] = {}
    for receipt in receipts:
        for stage, seconds in receipt.stages.items():
            stages[stage] = max(seconds, stages.get(stage, 0.0))
    return Receipt(
        source=min((each.source for each in receipts), key=_SOURCES.index),
        age_seconds=max(each.age_seconds for each in receipts),
        stale=any(each.stale for each in receipts),
        queue_wait_seconds=max(each.queue_wait_seconds for each in receipts),
        stages=stages,
        models=dict(pair for each in receipts for pair in each.models.items()),
        tokens=Tokens(
            sum(each.tokens.in_ for each in receipts),
            sum(each.tokens.out for each in receipts),
            sum(each.tokens.saved for each in receipts),
        ),
        cost=Cost(
            sum(each.cost.spent_micros for each in receipts),
            sum(each.cost.saved_micros for each in receipts),
            receipts[0].cost.currency,
        ),
    )


def _fault(faults: Sequence[Degradation]) -> Degradation | None:
    """The one that counts: an image that nobody looked at before a provider that failed."""
    unseen = (fault for fault in faults if fault.code in UNSEEN)
    return next(unseen, faults[0] if faults else None)


def _listed(found: Sequence[Listed]) -> Listed:
    """The sternest word of any list; approved only where every part is."""
    decisions = [each.decision for each in found]
    hits = tuple(hit for each in found for hit in each.hits)
    if not hits:
        return NOTHING
    decision: Decision | None
    if "rejected" in decisions:
        decision = "rejected"
    elif "review" in decisions:
        decision = "review"
    else:
        decision = "approved" if all(each == "approved" for each in decisions) else None
    digest = fingerprint(*(each.digest for each in found))
    return Listed(decision=decision, hits=hits, exempt=(), whole=False, digest=digest)
