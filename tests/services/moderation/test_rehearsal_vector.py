from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.policy import Decision, Judge, Policy, Threshold
from penstock.services.moderation.rehearsal import cause_of
from penstock.services.moderation.vector import (
    CAUSES,
    UNIT,
    UNKNOWN,
    Facts,
    VectorJudge,
    as_scores,
)

DECISIONS: tuple[Decision, ...] = ("approved", "review", "rejected")
MISSING = (None, "provider-timeout", "not-judged")
LISTED: tuple[Decision | None, ...] = (None, *DECISIONS)

# Few distinct numbers, so that scores lie exactly on thresholds, and some that are no millionths.
grid = st.sampled_from([0, 1, 199_999, 200_000, 200_001, 500_000, 799_999, 800_000, UNIT])
limits = st.one_of(
    st.none(),
    grid.map(lambda at: at / UNIT),
    st.floats(0, 1),
    grid.map(lambda at: float(np.nextafter(at / UNIT, 0.0))),
    grid.map(lambda at: min(float(np.nextafter(at / UNIT, 2.0)), 1.0)),
)


@st.composite
def thresholds(draw: st.DrawFn) -> Threshold:
    review, reject = draw(limits), draw(limits)
    if review is not None and reject is not None:
        review, reject = min(review, reject), max(review, reject)
    return Threshold(review=review, flag=draw(limits), reject=reject)


policies = st.builds(
    Policy,
    thresholds=st.dictionaries(st.sampled_from(CATEGORIES), thresholds(), max_size=6),
    on_provider_failure=st.sampled_from(["open", "closed", "review"]),
    on_other_language=st.sampled_from(["review", "ignore"]),
)
millionths = st.one_of(st.just(UNKNOWN), grid, st.integers(0, UNIT))
rows = st.tuples(
    st.lists(millionths, min_size=len(CATEGORIES), max_size=len(CATEGORIES)),
    st.booleans(),
    st.sampled_from(MISSING),
    st.sampled_from(LISTED),
)
Asked = tuple[list[int], bool, str | None, Decision | None]


def facts(asked: list[Asked]) -> Facts:
    return Facts(
        rowids=np.arange(len(asked)),
        created_at=np.zeros(len(asked), np.int64),
        decisions=np.zeros(len(asked), np.int8),
        is_foreign=np.array([each[1] for each in asked]),
        missing=np.array([MISSING.index(each[2]) for each in asked], np.int8),
        listed=np.array([LISTED.index(each[3]) for each in asked], np.int8),
        scores=np.array([each[0] for each in asked], np.int32).reshape(-1, len(CATEGORIES)),
    )


@settings(max_examples=80, deadline=None)
@given(policies, st.lists(rows, min_size=1, max_size=20))
def test_many_are_decided_exactly_as_one_by_one(policy: Policy, asked: list[Asked]) -> None:
    judge = Judge(policy)

    found = VectorJudge(judge).decide(facts(asked))

    assert [DECISIONS[at] for at in found] == [
        judge.decide(as_scores(scores), foreign=foreign, degraded=missing, listed=listed).decision
        for scores, foreign, missing, listed in asked
    ]


@settings(max_examples=50, deadline=None)
@given(policies, st.lists(rows, min_size=1, max_size=20))
def test_risks_are_those_of_the_judge_to_the_last_bit(policy: Policy, asked: list[Asked]) -> None:
    judge = Judge(policy)

    found = VectorJudge(judge).risks(facts(asked))

    rulings = [judge.rule(as_scores(scores)) for scores, *_ in asked]
    assert found.max(axis=1).tolist() == [ruling.risk for ruling in rulings]
    assert [
        CATEGORIES[at] if risk > 0 else None
        for at, risk in zip(found.argmax(axis=1), found.max(axis=1), strict=True)
    ] == [ruling.category for ruling in rulings]


@settings(max_examples=80, deadline=None)
@given(policies, st.lists(rows, min_size=1, max_size=20))
def test_the_cause_of_a_decision_is_the_one_that_its_reason_names(
    policy: Policy, asked: list[Asked]
) -> None:
    judge = Judge(policy)

    found = VectorJudge(judge).causes(facts(asked))

    for at, (scores, foreign, missing, listed) in zip(found, asked, strict=True):
        ruling = judge.decide(as_scores(scores), foreign=foreign, degraded=missing, listed=listed)
        if ruling.decision != "approved":
            assert CAUSES[at] == CAUSES[cause_of(ruling.reason, ruling.decision)], ruling


@pytest.mark.parametrize(
    ("named", "foreign", "missing", "listed", "cause"),
    [
        ({"hate": 900_000}, False, None, None, "hate"),
        ({"hate": 300_000, "violence": 700_000}, True, None, None, "violence"),
        ({"hate": 0}, True, None, None, "language"),
        ({"hate": 0}, False, "provider-timeout", None, "provider failure"),
        ({"hate": 0}, False, "not-judged", None, "unseen"),
        ({"hate": 0}, False, None, "rejected", "list"),
        ({"hate": 900_000}, False, None, "review", "hate"),
        ({"hate": 900_000}, False, None, "approved", "list"),
        ({}, False, None, None, "other"),
    ],
)
def test_what_led_to_a_decision_is_named(
    named: dict[str, int], foreign: bool, missing: str | None, listed: Decision, cause: str
) -> None:
    scores = [named.get(category, UNKNOWN) for category in CATEGORIES]

    found = VectorJudge(Judge(Policy())).causes(facts([(scores, foreign, missing, listed)]))

    assert CAUSES[found[0]] == cause
