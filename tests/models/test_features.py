from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.models.features import KINDS, FeatureReader, normalise, tokens_of

FOLD = {"cats": "GROUP", "dogs": "GROUP", "not": "NOT"}


def count(tokens: Sequence[str], kind: str) -> int:
    return sum(len(s.raw) for s in FeatureReader(FOLD).sections(tokens) if s.kind == kind)


def hashes(tokens: Sequence[str], *kinds: str) -> set[int]:
    sections = FeatureReader(FOLD).sections(tokens)
    return {int(h) for s in sections if s.kind in kinds for h in s.raw}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, WORLD!", ["hello", ",", "world", "!"]),
        ("don\u2019t", ["don't"]),
        ("see https://a.example/b?c=1 now", ["see", "\u2192", "now"]),
        ("@Somebody_1 hi", ["@", "hi"]),
        ("on 24.12. at 18:30", ["on", "0", ".", "at", "0"]),
        ("yeeees waaay", ["yees", "waay"]),
        ("\uff28\uff49 \U0001d5d0", ["hi", "w"]),
        ("sh*t j3w", ["sh*t", "j3w"]),
        ("", []),
    ],
)
def test_texts_become_folded_tokens(text: str, expected: list[str]) -> None:
    assert tokens_of(text) == expected


def test_three_equal_letters_are_found_beside_other_repeats() -> None:
    assert normalise("Wait... whaaaat?") == "wait... whaat?"


def test_every_in_word_gram_of_two_to_five_signs_is_read_once() -> None:
    grams = {
        word[n : n + size]
        for word in (" cats ", " not ")
        for size in range(2, 6)
        for n in range(len(word) - size + 1)
    }

    assert count(["cats", "not"], "chars") == sum(
        len(f" {word} ") - size + 1 for word in ("cats", "not") for size in range(2, 6)
        if len(f" {word} ") >= size
    )  # fmt: skip
    assert len(hashes(["cats", "not"], "chars")) == len(grams)


def test_grams_of_a_word_do_not_depend_on_its_neighbours() -> None:
    alone = hashes(["cats"], "chars", "word") | hashes(["bark"], "chars", "word")

    assert hashes(["cats", "bark"], "chars", "word") == alone


def test_words_of_one_class_share_their_folded_features_alone() -> None:
    first, second = ["cats", "are", "kind"], ["dogs", "are", "kind"]

    assert hashes(first, "class", "folded", "skip", "triple") == hashes(
        second, "class", "folded", "skip", "triple"
    )
    assert hashes(first, "word") != hashes(second, "word")


def test_the_order_of_a_pair_matters() -> None:
    assert hashes(["not", "kind"], "bigram").isdisjoint(hashes(["kind", "not"], "bigram"))


def test_pairs_reach_four_tokens_and_need_a_class() -> None:
    assert count(["cats", "a", "b", "c", "d", "e"], "skip") == 3
    assert count(["x", "a", "b", "c", "d", "e"], "skip") == 0


def test_words_in_another_script_share_a_class() -> None:
    assert hashes(["привет"], "class") == hashes(["γεια"], "class") != set()


def test_every_feature_belongs_to_one_of_the_tokens() -> None:
    tokens = tokens_of("cats do not bark at the moon, dogs do")

    found, positions = FeatureReader(FOLD).read(tokens)

    assert len(found) == len(positions)
    assert set(positions.tolist()) == set(range(len(tokens)))


def test_hashes_are_the_same_on_every_machine() -> None:
    found, _ = FeatureReader(FOLD).read(["cats", "not"])

    assert int(np.bitwise_xor.reduce(found)) == EXPECTED


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12), max_size=12))
def test_any_text_can_be_read(words: list[str]) -> None:
    tokens = tokens_of(" ".join(words))

    sections = FeatureReader(FOLD).sections(tokens)

    assert {section.kind for section in sections} <= set(KINDS)
    assert all(len(section.raw) == len(section.positions) for section in sections)


EXPECTED = 150184912
