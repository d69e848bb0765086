from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.services.moderation.excerpt import (
    FIST_LIMITS,
    FIST_PERCENTAGES,
    GAP,
    ExcerptRule,
    excerpt,
    windows,
)

FIST = ExcerptRule(max_words=10**6, percentages=FIST_PERCENTAGES, limits=FIST_LIMITS)


@pytest.mark.parametrize(
    ("words", "share"),
    [(1, 0.8), (499, 0.8), (500, 0.6), (999, 0.6), (1000, 0.4), (2999, 0.4), (3000, 0.2)],
)
def test_fists_shares_begin_at_its_limits(words: int, share: float):
    assert FIST.share(words) == share


def test_two_rules_have_two_keys():
    assert FIST.key != ExcerptRule().key
    assert FIST.key == ExcerptRule(10**6, FIST_PERCENTAGES, FIST_LIMITS).key


@given(st.lists(st.text(st.characters(categories=["L"]), min_size=1), min_size=1))
def test_windows_lose_no_word(words: list[str]):
    text = " ".join(words)

    joined = " ".join(windows(text)) if len(words) * 20 >= len(text) else "".join(windows(text))

    assert joined.split() == words


def test_a_text_without_spaces_is_cut_by_characters():
    assert all(len(part) <= 250 for part in windows("字" * 5000))


def test_the_excerpt_has_head_tail_and_the_riskiest_between_in_their_order():
    parts = [f"part{number}" for number in range(10)]
    risks = [0, 0, 0, 0.9, 0, 0, 0.8, 0, 0, 0]

    assert excerpt(parts, risks, 0.4) == GAP.join(["part0", "part3", "part6", "part9"])


def test_neighbours_are_not_torn_apart():
    assert excerpt(["a", "b", "c", "d"], [0, 1, 0, 0], 0.75) == f"a b{GAP}d"


def test_the_same_text_always_gives_the_same_excerpt():
    parts = windows(" ".join(str(number) for number in range(1000)))

    assert len({excerpt(parts, [0.5] * len(parts), 0.3) for _ in range(20)}) == 1


def test_something_is_always_sent():
    assert excerpt(["only"], [0.0], 0.01) == "only"
    assert excerpt(["a", "b", "c"], [0, 0, 0], 0.01) == "a"
