from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.providers.provider import CATEGORIES
from penstock.services.moderation.attributes import (
    ATTRIBUTES,
    NEEDED,
    NOT_SERVED,
    attributes_of,
    by_category,
)

probabilities = st.floats(0.0, 1.0)
scores = st.dictionaries(st.sampled_from(CATEGORIES), probabilities)


@given(scores)
def test_every_attribute_is_a_probability(known: dict[str, float]) -> None:
    found = attributes_of(known)

    assert list(found) == list(ATTRIBUTES)
    assert all(0.0 <= value <= 1.0 for value in found.values())


@given(scores, st.sampled_from(CATEGORIES), probabilities)
def test_no_attribute_falls_when_a_category_rises(
    known: dict[str, float], category: str, score: float
) -> None:
    higher = {**known, category: max(score, known.get(category, 0.0))}

    before, after = attributes_of(known), attributes_of(higher)

    assert all(after[name] >= before[name] for name in ATTRIBUTES)


@given(scores)
def test_severe_toxicity_never_exceeds_toxicity(known: dict[str, float]) -> None:
    found = attributes_of(known)

    assert found["SEVERE_TOXICITY"] <= found["TOXICITY"]


@pytest.mark.parametrize(
    ("category", "attribute"),
    [
        ("harassment", "INSULT"),
        ("hate", "IDENTITY_ATTACK"),
        ("harassment/threatening", "THREAT"),
        ("profanity", "PROFANITY"),
        ("sexual", "SEXUALLY_EXPLICIT"),
    ],
)
def test_a_category_speaks_for_its_attribute(category: str, attribute: str) -> None:
    assert attributes_of({category: 0.7})[attribute] == 0.7


def test_coarse_words_alone_are_milder_than_an_insult() -> None:
    coarse, insulting = attributes_of({"profanity": 0.9}), attributes_of({"harassment": 0.9})

    assert coarse["TOXICITY"] < insulting["TOXICITY"]


def test_toxic_in_two_ways_is_severe() -> None:
    one = attributes_of({"harassment": 0.9})
    two = attributes_of({"harassment": 0.9, "profanity": 1.0})

    assert one["SEVERE_TOXICITY"] < 0.5 < two["SEVERE_TOXICITY"]


def test_what_nobody_judged_is_left_out() -> None:
    ordered = [None] * len(CATEGORIES)
    ordered[CATEGORIES.index("hate")] = 0.25  # type: ignore[call-overload]

    assert by_category(ordered) == {"hate": 0.25}


def test_the_names_are_told_apart() -> None:
    assert not NOT_SERVED & set(ATTRIBUTES)
    assert set(CATEGORIES) >= NEEDED
