from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigurationError, InvalidInput
from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.policy import (
    UNSEEN,
    Judge,
    Policy,
    Threshold,
    cautions,
    load_policy,
    read_policy,
)

probabilities = st.floats(0, 1)


def scores(**named: float) -> tuple[float | None, ...]:
    return tuple(named.get(category) for category in CATEGORIES)


def judge(**thresholds: Threshold) -> Judge:
    return Judge(Policy(thresholds=thresholds))


@pytest.mark.parametrize(
    ("score", "decision"),
    [(0.0, "approved"), (0.19, "approved"), (0.2, "review"), (0.79, "review"), (0.8, "rejected")],
)
def test_default_thresholds_leave_a_wide_band_to_people(score: float, decision: str):
    assert judge().rule(scores(hate=score)).decision == decision


def test_a_score_nobody_gave_decides_nothing():
    ruling = judge().rule(scores())

    assert (ruling.decision, ruling.risk, ruling.category) == ("approved", 0.0, None)


def test_profanity_alone_is_never_rejected():
    assert judge().rule(scores(profanity=1.0)).decision == "review"


def test_the_category_that_is_furthest_beyond_its_threshold_is_named():
    ruling = judge(hate=Threshold(review=0.1, reject=0.3)).rule(scores(hate=0.4, violence=0.7))

    assert ruling.category == "hate"
    assert ruling.decision == "rejected"


def test_a_category_without_thresholds_never_counts():
    nothing = Threshold(review=None, flag=None, reject=None)

    ruling = judge(violence=nothing).rule(scores(violence=1.0))

    assert ruling.decision == "approved"
    assert not any(ruling.flags)


def test_only_a_reject_threshold_skips_review():
    strict = judge(violence=Threshold(review=None, reject=0.6))

    assert strict.rule(scores(violence=0.59)).decision == "approved"
    assert strict.rule(scores(violence=0.6)).decision == "rejected"


def test_flags_are_openais_booleans():
    ruling = judge().rule(scores(hate=0.5, violence=0.49))

    assert dict(zip(CATEGORIES, ruling.flags, strict=True))["hate"]
    assert not dict(zip(CATEGORIES, ruling.flags, strict=True))["violence"]


def test_another_language_goes_to_people_and_never_passes_silently():
    assert judge().rule(scores(hate=0.0), foreign=True).decision == "review"
    assert judge().rule(scores(hate=0.9), foreign=True).decision == "rejected"


def test_a_policy_may_say_that_other_languages_pass():
    lenient = Judge(Policy(on_other_language="ignore"))

    assert lenient.rule(scores(hate=0.0), foreign=True).decision == "approved"


@pytest.mark.parametrize(
    ("action", "approved", "rejected"),
    [
        ("open", "approved", "rejected"),
        ("review", "review", "rejected"),
        ("closed", "rejected", "rejected"),
    ],
)
def test_a_failing_provider_has_the_consequence_that_the_policy_names(
    action: str, approved: str, rejected: str
):
    acting = Judge(Policy(on_provider_failure=action))

    assert acting.rule_failure(acting.rule(scores(hate=0.0))).decision == approved
    assert acting.rule_failure(acting.rule(scores(hate=0.9))).decision == rejected


def test_review_thresholds_above_the_reject_threshold_are_refused():
    with pytest.raises(ConfigurationError, match=r"hate is rejected from 0\.3 on"):
        judge(hate=Threshold(review=0.9, reject=0.3))


@given(probabilities, probabilities, probabilities, probabilities)
def test_risk_agrees_with_the_decision_and_never_falls_as_a_score_rises(
    low: float, high: float, review: float, reject: float
):
    review, reject = sorted((review, reject))
    judged = judge(hate=Threshold(review=review, reject=reject))
    low, high = sorted((low, high))

    lower, higher = judged.rule(scores(hate=low)), judged.rule(scores(hate=high))

    assert 0.0 <= lower.risk <= higher.risk <= 1.0
    assert (higher.decision == "rejected") == (higher.risk >= 0.8)
    assert (higher.decision == "approved") == (higher.risk < 0.2)


def test_the_version_changes_with_what_the_policy_says_and_with_nothing_else():
    same = Judge(Policy(thresholds={"hate": Threshold()}))

    assert same.version == judge().version
    assert judge(hate=Threshold(review=0.3)).version != judge().version


def test_a_policy_file_is_read(tmp_path: Path):
    path = tmp_path / "strict.toml"
    path.write_text('on_provider_failure = "closed"\n[thresholds."hate"]\nreview = 0.05\n')

    policy = load_policy(path)

    assert policy.id == "strict"
    assert policy.on_provider_failure == "closed"
    assert policy.thresholds["hate"].review == 0.05


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("thresholds = 3", "thresholds: Expected"),
        ("[thresholds.hate]\nreview = 2", r"thresholds\.hate\.review: "),
        ("[thresholds.hate]\nreviw = 0.1", r"thresholds\.hate: .*reviw"),
        ("colour = 'red'", "colour"),
        ("not toml", "policy"),
    ],
)
def test_a_policy_file_that_cannot_be_used_is_named_with_the_place(
    tmp_path: Path, content: str, told: str
):
    path = tmp_path / "bad.toml"
    path.write_text(content)

    with pytest.raises(ConfigurationError, match=told) as caught:
        load_policy(path)
    assert "bad.toml" in caught.value.detail


@pytest.mark.parametrize(
    ("category", "named", "limits"),
    [
        ("pii/phone", {"review": 0.5}, (0.5, None, None)),
        ("pii/phone", {"reject": 0.9}, (None, None, 0.9)),
        ("profanity", {"review": 0.95}, (0.95, 0.5, None)),
        ("profanity", {"reject": 0.95}, (0.9, 0.5, 0.95)),
        ("sexual/minors", {"flag": 0.4}, (0.1, 0.4, 0.5)),
        ("hate", {"review": 0.3}, (0.3, 0.5, 0.8)),
        ("hate", {"reject": "never"}, (0.2, 0.5, None)),
        ("spam", {}, (None, None, None)),
    ],
)
def test_what_a_document_does_not_name_keeps_the_default_of_its_category(
    tmp_path: Path, category: str, named: dict[str, object], limits: tuple[float | None, ...]
):
    path = tmp_path / "policy.toml"
    lines = [f"{action} = {json.dumps(value)}" for action, value in named.items()]
    path.write_text("\n".join([f'[thresholds."{category}"]', *lines]))

    from_file = load_policy(path).thresholds[category]
    from_outside = read_policy({"thresholds": {category: named}}).thresholds[category]

    assert from_file == from_outside
    assert (from_file.review, from_file.flag, from_file.reject) == limits


def test_a_phone_number_that_is_to_be_reviewed_is_not_rejected():
    reviewing = Judge(read_policy({"thresholds": {"pii/phone": {"review": 0.5}}}))

    ruling = reviewing.rule(scores(**{"pii/phone": 1.0}))

    assert (ruling.decision, any(ruling.flags)) == ("review", False)


def test_how_to_let_nothing_be_rejected_is_told():
    with pytest.raises(InvalidInput, match=r'sexual/minors is rejected from 0\.5 on.*"never"'):
        read_policy({"thresholds": {"sexual/minors": {"review": 0.6}}})


def test_what_nobody_looked_at_is_left_to_a_human_and_the_reason_says_so():
    open_ = Judge(Policy(on_provider_failure="open"))

    for code in UNSEEN:
        ruling = open_.decide(scores(), degraded=code)
        assert ruling.decision == "review"
        assert ruling.reason.startswith("nobody has looked at it; ")


def test_only_the_provider_as_reader_is_no_reader_without_one():
    alone = Policy(stages=("provider",))

    (caution,) = cautions(alone, asks_provider=False)

    assert "not-judged" in caution
    assert not cautions(alone, asks_provider=True)
    assert not cautions(Policy(), asks_provider=False)
    assert not cautions(Policy(stages=("prescreen",)), asks_provider=False)


def test_a_missing_policy_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"none\.toml cannot be read"):
        load_policy(tmp_path / "none.toml")


def test_a_policy_for_an_unknown_category_is_refused():
    with pytest.raises(ConfigurationError, match="no category is called 'hatred'"):
        judge(hatred=Threshold())
