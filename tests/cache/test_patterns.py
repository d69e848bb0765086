from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cache import escape
from penstock.cache.patterns import as_glob, matcher

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
]


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


def _glob(pattern: str, key: str) -> bool:
    connection = sqlite3.connect(":memory:")
    (found,) = connection.execute("SELECT ? GLOB ?", (key, as_glob(pattern))).fetchone()
    connection.close()
    return bool(found)
