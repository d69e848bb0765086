from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cache import escape
from penstock.cache.patterns import MAX_PATTERN, as_glob, check, matcher
from penstock.errors import InvalidInput

CASES = [
    ("conversation:*", "conversation:12", True),
    ("conversation:*", "conversations:12", False),
    ("user:?", "user:1", True),
    ("user:?", "user:12", False),
    ("user:[0-9]", "user:7", True),
    ("user:[!0-9]", "user:7", False),
    ("user:[^0-9]", "user:x", True),
    (r"a\*b", "a*b", True),
    (r"a\*b", "axb", False),
    (r"a\[b\]", "a[b]", True),
    ("a*", "a\nb", True),
    ("A*", "abc", False),
    ("", "", True),
    ("*", "", True),
    ("[ab", "[ab", True),
    (r"[\d]", "d", True),
    (r"[\d]", "7", False),
    ("[a-]", "-", True),
    ("a*ab", "aab", True),
    ("a*ab", "ab", False),
]

# What a piece of a pattern stands for: a set of characters, or any number of any.
ANY = None
PIECES = {
    "*": ANY,
    "?": set("abc*"),
    "[ab]": set("ab"),
    "[!a]": set("bc*"),
    "[b-c]": set("bc"),
    r"\*": set("*"),
    "a": set("a"),
    "b": set("b"),
}


@pytest.mark.parametrize(("pattern", "key", "expected"), CASES)
def test_a_pattern_matches_whole_keys(pattern, key, expected):
    assert bool(matcher(pattern)(key)) is expected


@pytest.mark.parametrize(("pattern", "key", "expected"), CASES)
def test_sqlite_reads_the_same_pattern_alike(pattern, key, expected):
    assert _glob(pattern, key) is expected


@given(st.text(st.sampled_from("*?[]\\ab-!^"), max_size=8), st.text(max_size=4))
def test_an_escaped_text_matches_itself_alone(text, other):
    pattern = escape(text)

    assert matcher(pattern)(text)
    assert _glob(pattern, text)
    assert bool(matcher(pattern)(text + other)) is (other == "")


@given(st.lists(st.sampled_from(list(PIECES)), max_size=7), st.text("abc*", max_size=8))
def test_a_pattern_means_what_its_pieces_mean(pieces, key):
    expected = _by_definition([PIECES[piece] for piece in pieces], key)

    assert bool(matcher("".join(pieces))(key)) is expected


@pytest.mark.parametrize("pattern", ["*?" * 20 + "Z", "*a" * 20 + "Z", "*[a-b]" * 20 + "*Z"])
def test_many_stars_are_not_tried_in_every_way(pattern):
    """Trying them all would take until after the end of the world."""
    assert not matcher(pattern)("a" * 1000)
    assert matcher(pattern)("a" * 1000 + "Z")


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("user:[z-a]", "the range z-a in the pattern runs backwards: write a-z"),
        ("*" * (MAX_PATTERN + 1), "at most 10000 characters"),
        ("\ud800*", "lone surrogate"),
    ],
)
def test_a_pattern_that_no_tier_can_read_is_refused_with_its_fault(pattern, fault):
    with pytest.raises(InvalidInput, match=fault):
        check(pattern)


def _by_definition(pieces: list[set[str] | None], key: str) -> bool:
    if not pieces:
        return not key
    first, *rest = pieces
    if first is ANY:
        return any(_by_definition(rest, key[at:]) for at in range(len(key) + 1))
    return key[:1] in first and _by_definition(rest, key[1:])


def _glob(pattern: str, key: str) -> bool:
    connection = sqlite3.connect(":memory:")
    (found,) = connection.execute("SELECT ? GLOB ?", (key, as_glob(pattern))).fetchone()
    connection.close()
    return bool(found)
