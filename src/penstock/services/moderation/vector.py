"""A judge over arrays: what `Judge.decide` decides, for thousands of recorded verdicts at once.

Scores are compared as they are recorded, in whole millionths, with the smallest number of
millionths that reaches a threshold; so a decision here is the judge's own, not nearly so. Tests
hold the two against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.policy import NEVER, REJECT_RISK, REVIEW_RISK, Judge, threshold_of

UNIT: Final = 1_000_000  # millionths
UNKNOWN: Final = -1
APPROVED, REVIEW, REJECTED = range(3)
UNLISTED, LIST_APPROVES, LIST_REVIEWS, LIST_REJECTS = range(4)
COMPLETE, FAILED, UNSEEN = range(3)  # what was missing: nothing, the provider, any look at it

CAUSES: Final = (*CATEGORIES, "language", "provider failure", "unseen", "list", "other")
"""What can lead to a decision: a category, or one of these (unseen: nobody has looked at it)."""
LANGUAGE, FAILURE, NOT_SEEN, LIST, OTHER = range(len(CATEGORIES), len(CAUSES))

Bytes = NDArray[np.int8]
Truths = NDArray[np.bool_]
Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Facts:
    """What was recorded of many verdicts, one entry each."""

    rowids: NDArray[np.int64]
    created_at: NDArray[np.int64]  # milliseconds since 1970, UTC
    decisions: Bytes
    is_foreign: Truths
    missing: Bytes
    listed: Bytes
    scores: NDArray[np.int32]  # a row each, in the order of CATEGORIES; millionths or UNKNOWN

    def __len__(self) -> int:
        return len(self.rowids)

    def where(self, mask: Truths) -> Facts:
        """Only those that the mask names."""
        return Facts(
            self.rowids[mask],
            self.created_at[mask],
            self.decisions[mask],
            self.is_foreign[mask],
            self.missing[mask],
            self.listed[mask],
            self.scores[mask],
        )


class VectorJudge:
    """Applies one policy to many verdicts."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        policy = judge.policy
        limits = [threshold_of(policy, category) for category in CATEGORIES]
        rejects = [NEVER if limit.reject is None else limit.reject for limit in limits]
        # What is rejected is beyond review, also where a policy names no review threshold.
        pairs = zip(limits, rejects, strict=True)
        reviews = [min(r, NEVER if limit.review is None else limit.review) for limit, r in pairs]
        self._review_from = _millionths(reviews)
        self._reject_from = _millionths(rejects)
        self._reviews, self._rejects = np.array(reviews), np.array(rejects)
        self._minds_language = policy.on_other_language == "review"
        self._on_failure = {"open": APPROVED, "review": REVIEW, "closed": REJECTED}[
            policy.on_provider_failure
        ]

    def decide(self, facts: Facts) -> Bytes:
        """APPROVED, REVIEW or REJECTED for each."""
        decisions = self._by_scores(facts)
        decisions = np.maximum(decisions, self._by_language(facts))
        decisions = np.maximum(decisions, self._by_failure(facts))
        return _by_lists(decisions, facts)

    def causes(self, facts: Facts) -> Bytes:
        """Index in CAUSES of what led to each decision."""
        decisions = self._by_scores(facts)
        risks = self.risks(facts)
        causes = np.where(risks.max(axis=1) > 0.0, risks.argmax(axis=1), OTHER)
        steps = (
            (self._by_language(facts), np.full(len(facts), LANGUAGE)),
            (self._by_failure(facts), np.where(facts.missing == UNSEEN, NOT_SEEN, FAILURE)),
        )
        for raised, cause in steps:
            causes = np.where(raised > decisions, cause, causes)
            decisions = np.maximum(decisions, raised)
        by_list = (facts.listed != UNLISTED) & ~(
            (facts.listed == LIST_REVIEWS) & (decisions == REJECTED)
        )
        return np.where(by_list, LIST, causes).astype(np.int8)

    def risks(self, facts: Facts) -> Reals:
        """Risk by verdict and category; 0 where nobody judged."""
        scores = facts.scores / UNIT
        rejects, reviews = self._rejects, self._reviews
        with np.errstate(all="ignore"):  # of what is not chosen below
            above = (scores - rejects) / np.where(rejects < 1.0, 1.0 - rejects, 1.0)
            above = np.where(rejects < 1.0, above, 1.0)
            between = (scores - reviews) / (rejects - reviews)
            below = np.where(reviews > 1.0, 0.0, REVIEW_RISK * scores / reviews)
        found = np.where(
            facts.scores >= self._reject_from,
            REJECT_RISK + (1.0 - REJECT_RISK) * above,
            np.where(
                facts.scores >= self._review_from,
                np.minimum(REVIEW_RISK + (REJECT_RISK - REVIEW_RISK) * between, _BELOW_REJECT),
                np.minimum(below, _BELOW_REVIEW),
            ),
        )
        return np.asarray(np.where(facts.scores < 0, 0.0, found), np.float64)

    def _by_scores(self, facts: Facts) -> Bytes:
        reviewed = (facts.scores >= self._review_from).any(axis=1)
        rejected = (facts.scores >= self._reject_from).any(axis=1)
        return np.where(rejected, REJECTED, np.where(reviewed, REVIEW, APPROVED)).astype(np.int8)

    def _by_language(self, facts: Facts) -> Bytes:
        return np.where(facts.is_foreign & self._minds_language, REVIEW, APPROVED).astype(np.int8)

    def _by_failure(self, facts: Facts) -> Bytes:
        least = np.where(facts.missing == FAILED, self._on_failure, APPROVED)
        return np.where(facts.missing == UNSEEN, REVIEW, least).astype(np.int8)


_BELOW_REVIEW: Final = np.nextafter(REVIEW_RISK, 0.0)
_BELOW_REJECT: Final = np.nextafter(REJECT_RISK, 0.0)


def _by_lists(decisions: Bytes, facts: Facts) -> Bytes:
    decisions = np.where(
        facts.listed == LIST_REVIEWS, np.maximum(decisions, REVIEW), decisions
    ).astype(np.int8)
    decisions[facts.listed == LIST_REJECTS] = REJECTED
    decisions[facts.listed == LIST_APPROVES] = APPROVED
    return decisions


def _millionths(thresholds: list[float]) -> NDArray[np.int32]:
    """The smallest score in millionths that reaches each threshold; one more than all if none."""
    return np.array([_reaching(threshold) for threshold in thresholds], np.int32)


def _reaching(threshold: float) -> int:
    if threshold > 1.0:
        return UNIT + 1
    at = max(ceil(threshold * UNIT), 0)
    while at > 0 and (at - 1) / UNIT >= threshold:
        at -= 1
    while at / UNIT < threshold:
        at += 1
    return at


def as_scores(millionths: Any) -> tuple[float | None, ...]:
    """Recorded scores as a judge takes them."""
    return tuple(None if at < 0 else at / UNIT for at in millionths)
