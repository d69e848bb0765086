"""The same in steps: nothing is lost or found twice where pieces meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from penstock.pii import INLINE, Match, find, steps
from penstock.pii.stepwise import PIECE

PROSE = "The committee met on Tuesday to discuss the budget, and everyone agreed. "
PIECES = [
    "write to john.doe@gmail.com, please",
    "𝓳𝓸𝓱𝓷@𝓰𝓶𝓪𝓲𝓵.𝓬𝓸𝓶",
    "it's john [at] gmail (dot) com ok",
    "call me at (212) 555-0134 now",
    "call me at eight",
    "five five five one two three four",
    "card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00",
    "from 203.0.113.9, my insta is foo_bar, t.me/foobar",
    "https://wa.me/12125550134",
    "i live at 350 Fifth Ave, New York, NY 10118",
    "jo\u200bhn@gm\u200bail.c\u2060om",
]


def in_steps(text: str, history: Sequence[str] = ()) -> list[Match]:
    return [match for found in steps(text, history=history) for match in found]


def placed() -> Iterator[str]:
    for piece in PIECES:
        for at in range(PIECE - 60, PIECE + 20, 6):
            yield (PROSE * 20)[:at] + " " + piece + " " + PROSE * 9


def test_what_stands_where_pieces_meet_is_found_once() -> None:
    for text in placed():
        assert in_steps(text) == find(text)


@pytest.mark.parametrize("text", ["", "a", "jack@example.com", PROSE * 40, "\u200b" * 3_000])
def test_short_empty_and_innocent_texts_give_the_same(text: str) -> None:
    assert in_steps(text) == find(text)


def test_no_number_of_matches_is_too_many() -> None:
    text = "mail jack@example.com or 212-555-0134. " * 300

    found = in_steps(text)

    assert len(found) == 600
    assert {text[match.start : match.end] for match in found} == {
        "jack@example.com",
        "212-555-0134",
    }


def test_invisible_characters_do_not_tear_apart_what_belongs_together() -> None:
    text = PROSE + "jo" + "\u200b" * 3_000 + "hn@gmail.com " + PROSE

    (found,) = in_steps(text)

    assert (found.start, found.end) == (text.index("jo\u200b"), text.index(".com") + 4)


@pytest.mark.parametrize(
    ("history", "text"),
    [
        (["call me", "212 555"], "0134"),
        (["my insta is"], "foo_bar"),
        (["john.doe"], "@gmail.com and " + PROSE * 30 + "jack@example.com"),
        (["212 555"], ""),
    ],
)
def test_what_began_in_earlier_messages_counts_too(history: list[str], text: str) -> None:
    assert in_steps(text, history) == find(text, history=history)


def test_a_caller_is_given_a_turn_at_least_once_a_piece() -> None:
    assert sum(1 for _ in steps(PROSE * 500)) >= len(PROSE) * 500 // INLINE
