from __future__ import annotations

import doctest
import enum
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cache import CacheKeyBuilder, fingerprint, keys, plan
from penstock.codec import identical
from penstock.errors import UnencodableValue

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.frozensets(st.integers(), max_size=3)
    ),
    max_leaves=8,
)


class Size(enum.StrEnum):
    SMALL = "small"


class Options(msgspec.Struct):
    top: int


@dataclass
class Same:
    top: int


class Keyed:
    def __cache_key__(self) -> str:
        return "me"


KNOWN = "f95c6631c8ecadbb3608b11472c641c7"
DISTINCT = [
    1,
    1.0,
    True,
    "1",
    b"1",
    None,
    "",
    0,
    -1,
    1 << 64,
    str(1 << 64),
    "small",
    Size.SMALL,
    [1],
    (1,),
    {1},
    frozenset({1}),
    {"1": 1},
    {1: 1},
    [[1]],
    [1, 1],
    Options(1),
    Same(1),
    {"top": 1},
    date(2024, 1, 1),
    "2024-01-01",
    Decimal("1"),
    UUID(int=1),
    Path("1"),
    "\ud800",
    "\udc00",
    "привет",
    "пока",
    Keyed(),
    int,
]


def test_everything_that_differs_has_its_own_fingerprint():
    for a, b in combinations(DISTINCT, 2):
        assert fingerprint(a) != fingerprint(b), (a, b)


@given(values, values)
def test_equal_fingerprints_mean_identical_values(a, b):
    assert identical(a, b) or fingerprint(a) != fingerprint(b)


@given(st.text(min_size=1), st.data())
def test_any_one_changed_character_changes_the_fingerprint(text, data):
    """O-02: an insult between the samples got the clean text's verdict."""
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]

    assert fingerprint(text) != fingerprint(changed)


def test_parts_do_not_run_into_one_another():
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint(["a"], "b") != fingerprint(["a", "b"])


def test_the_order_of_a_dict_does_not_matter():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})


def test_a_fingerprint_has_128_bits():
    assert len(fingerprint("text")) == 32


def test_fingerprints_are_the_same_in_every_process():
    """Also a promise to files written by other versions: these digits must never change."""
    code = "from penstock.cache import fingerprint; print(fingerprint('text', 1, {'b', 'a'}))"
    printed = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]

    assert printed[0] == printed[1] == fingerprint("text", 1, {"a", "b"})
    assert fingerprint("text", 1, 1.5, None, b"x") == KNOWN


def test_what_has_no_stable_form_is_refused_with_advice():
    with pytest.raises(UnencodableValue, match="__cache_key__"):
        fingerprint(object())


def test_a_built_key_is_readable():
    key = CacheKeyBuilder("conversation", 12).field("page", 3).build()

    assert key == "conversation:12:page=3"


def test_built_parts_cannot_pass_for_one_another():
    assert str(CacheKeyBuilder("a", "b:c")) != str(CacheKeyBuilder("a", "b", "c"))
    assert str(CacheKeyBuilder("a", "b%3Ac")) != str(CacheKeyBuilder("a", "b:c"))


def test_a_builder_can_be_shared():
    base = CacheKeyBuilder("user")

    first, second = base.part(1), base.part(2)

    assert (str(first), str(second), str(base)) == ("user:1", "user:2", "user")


def test_a_digest_hides_what_it_stands_for():
    key = CacheKeyBuilder("answer").digest("secret question").build()

    assert "secret" not in key
    assert key == "answer:" + fingerprint("secret question")


def test_the_examples_in_the_docstrings_hold():
    assert [doctest.testmod(module).failed for module in (keys, plan)] == [0, 0]
