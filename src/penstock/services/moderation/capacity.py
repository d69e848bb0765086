"""How many reviews a team can do a day, and the thresholds that leave it that many.

Risk puts every category on one scale, so one level of it can stand for all: what lies above goes to
people. The level is found from a histogram of recorded risks, turned back into each category's
review threshold, and tried in a dry run. What is rejected stays rejected, and a category that leads
to review only goes on leading to it at the highest score: capacity switches nothing off.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.errors import Conflict
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.policy import (
    NEVER,
    REJECT_RISK,
    REVIEW_RISK,
    Judge,
    Policy,
    Threshold,
    threshold_of,
)
from penstock.services.moderation.rehearsal import Outcome, Plan, Rehearsal
from penstock.services.moderation.rehearsal_store import Selection
from penstock.services.moderation.vector import (
    APPROVED,
    LIST_APPROVES,
    REVIEW,
    UNIT,
    UNKNOWN,
    Facts,
    VectorJudge,
)

BINS: Final = 80_000  # levels of risk below rejection
LEAST_RISK: Final = 0.02  # below, hardly anything is worth looking at
DAY: Final = 86_400_000  # milliseconds
LEAST_DAYS: Final = 1 / 24  # less has been recorded: it counts as an hour


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A policy that leaves people as many reviews as they can do."""

    policy: Policy
    risk: float  # what lies above went to review, on the present policy's scale
    days: float  # that were looked at
    before: float  # reviews a day
    after: float
    fixed: float  # reviews a day that no suggestion changes: languages, failures, lists, certainty
    plan: Plan
    outcome: Outcome  # of a dry run against the present policy
    notes: list[str]


async def suggest(
    rehearsal: Rehearsal, judge: Judge, *, reviews_per_day: float, selection: Selection
) -> Suggestion:
    """Thresholds under which recorded traffic would have given at most that many reviews a day.

    Raises Conflict where nothing was recorded.
    """
    selection = rehearsal.bounded(selection)
    seen = await _look(rehearsal, judge, selection)
    if seen.oldest is None or selection.until is None:
        raise Conflict("no verdict was recorded in that time; there is nothing to learn from")
    days = max((selection.until - seen.oldest) / DAY, LEAST_DAYS)
    risk = _level(seen.risks, reviews_per_day * days - seen.fixed)
    policy = with_level(judge.policy, risk)
    plan = Plan(Judge(policy), judge, selection)
    outcome = await rehearsal.run(plan)
    fixed, after = seen.fixed / days, outcome.count(after="review") / days
    notes = [*outcome.notes, *_consequences(judge.policy, policy)]
    if fixed > reviews_per_day:
        notes.append(
            f"{fixed:.1f} reviews a day come from other languages, failures, lists and the highest "
            "scores in categories that are never rejected, which no review threshold changes: more "
            "than the capacity"
        )
    if risk <= LEAST_RISK:
        notes.append("the capacity is larger than what is worth reviewing")
    if days < 1:
        notes.append(f"only {days * 24:.1f} hours were recorded; a day may be different")
    return Suggestion(
        policy=policy,
        risk=risk,
        days=days,
        before=outcome.count(before="review") / days,
        after=after,
        fixed=fixed,
        plan=plan,
        outcome=outcome,
        notes=notes,
    )


def with_level(policy: Policy, risk: float) -> Policy:
    """The policy with review beginning at a level of its risk; rejection stays where it is.

    What is never rejected is still reviewed at the highest score.
    """
    thresholds = {name: _moved(threshold_of(policy, name), risk) for name in CATEGORIES}
    return msgspec.structs.replace(policy, thresholds=thresholds)


def _consequences(before: Policy, after: Policy) -> list[str]:
    """What becomes of categories of which less, or nothing, would be left to people."""
    notes, unreviewed = [], []
    for name in CATEGORIES:
        old, new = threshold_of(before, name), threshold_of(after, name)
        if old.review == new.review or new.review is None:
            continue
        if new.reject is None and new.review >= 1.0:
            notes.append(
                f"{name} is never rejected, and only a score of 1 would still be reviewed: all "
                "below is approved unseen. Name a reject threshold for it, or let more be reviewed"
            )
        elif new.review == new.reject:
            unreviewed.append(name)
    if unreviewed:
        notes.append(
            f"nobody would look at {', '.join(unreviewed)} any more: what is below the reject "
            "threshold is approved"
        )
    return notes


@dataclass(slots=True)
class _Seen:
    risks: NDArray[np.int64]  # how many verdicts that thresholds can move lie at each level
    fixed: int = 0  # reviews that they cannot
    oldest: int | None = None


async def _look(rehearsal: Rehearsal, judge: Judge, selection: Selection) -> _Seen:
    seen = _Seen(np.zeros(BINS, np.int64))
    vector = VectorJudge(judge)
    async with rehearsal.gate:
        async for facts, _, _ in rehearsal.walk(selection):
            if len(facts):
                seen.oldest = int(facts.created_at.min())
                risks, fixed = await asyncio.to_thread(_sort, vector, facts)
                seen.risks += risks
                seen.fixed += fixed
    return seen


def _sort(vector: VectorJudge, facts: Facts) -> tuple[NDArray[np.int64], int]:
    """Levels of the verdicts that review thresholds decide about, and how many reviews they do not.

    What would be decided if nobody had given a score is decided whatever the thresholds are.
    """
    policy = vector.judge.policy
    unscored = Facts(
        facts.rowids,
        facts.created_at,
        facts.decisions,
        facts.is_foreign,
        facts.missing,
        facts.listed,
        np.full_like(facts.scores, UNKNOWN),
    )
    risks = vector.risks(facts)
    is_rejected = (risks >= REJECT_RISK).any(axis=1)
    is_kept = (facts.scores >= np.where(_only_reviewed(policy), UNIT, UNIT + 1)).any(axis=1)
    movable = (vector.decide(unscored) == APPROVED) & (facts.listed != LIST_APPROVES)
    movable &= ~is_rejected & ~is_kept
    reviewed = [threshold_of(policy, name).review is not None for name in CATEGORIES]
    levels = np.where(np.array(reviewed), risks, 0.0).max(axis=1)[movable]
    places = np.minimum((levels * (BINS / REJECT_RISK)).astype(np.int64), BINS - 1)
    fixed = int(((vector.decide(facts) == REVIEW) & ~movable).sum())
    return np.bincount(places, minlength=BINS).astype(np.int64), fixed


def _only_reviewed(policy: Policy) -> NDArray[np.bool_]:
    """Whether each category leads to review and to nothing else."""
    limits = [threshold_of(policy, name) for name in CATEGORIES]
    return np.array([each.reject is None and each.review is not None for each in limits])


def _level(risks: NDArray[np.int64], room: float) -> float:
    """The lowest level of risk with at most `room` verdicts on or above it."""
    above = np.cumsum(risks[::-1])[::-1]
    fitting: Any = np.flatnonzero(above <= room)
    at = int(fitting[0]) if len(fitting) else BINS
    return max(at * REJECT_RISK / BINS, LEAST_RISK)


def _moved(threshold: Threshold, risk: float) -> Threshold:
    """The threshold with review from a level of its risk on; one that never reviews stays so."""
    review, reject = threshold.review, threshold.reject
    if review is None:
        return threshold
    end = NEVER if reject is None else reject
    if risk < REVIEW_RISK:
        moved = review * risk / REVIEW_RISK
    else:
        share = min((risk - REVIEW_RISK) / (REJECT_RISK - REVIEW_RISK), 1.0)
        moved = review + (end - review) * share
    moved = ceil(moved * UNIT) / UNIT  # upwards: scores are whole millionths
    moved = min(moved, 1.0 if reject is None else reject)
    return msgspec.structs.replace(threshold, review=moved)
