"""Where things stand: several kinds, several messages, masks, bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.pii import KINDS, Match, find, mask
from penstock.pii.settle import MOST_MATCHES

MIXED = (
    "Hi! Mail john.doe@gmail.com or jane at hotmail dot com, call 212-555-0134 or "
    "+44 20 7946 0958, card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, "
    "IP 203.0.113.9, insta: foo_bar, t.me/foobar, home: 12 Main Street."
)


def test_every_kind_in_one_text_is_found_in_order() -> None:
    found = find(MIXED)

    assert [match.kind for match in found] == [
        *("email", "email", "phone", "phone", "card", "iban", "ip", "social", "social", "address")
    ]
    assert found == sorted(found, key=lambda match: match.start)


def test_all_matches_of_all_kinds_are_masked() -> None:
    masked = mask(MIXED, find(MIXED))

    assert len(masked) == len(MIXED)
    assert find(masked) == []
    for piece in ("john", "jane", "hotmail", "0134", "0958", "1111", "DE89", "203", "foo", "Main"):
        assert piece not in masked


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_kinds_that_are_asked_for_are_looked_for(kind) -> None:
    assert {match.kind for match in find(MIXED, kinds=[kind])} == {kind}


def test_no_kinds_find_nothing() -> None:
    assert find(MIXED, kinds=()) == []


def test_the_number_in_a_link_to_a_chat_is_a_number_too() -> None:
    found = find("https://wa.me/12125550134")

    assert [(match.kind, match.rule) for match in found] == [
        ("social", "pii.social.link"),
        ("phone", "pii.phone.link"),
    ]
    assert [match.kind for match in find("wa.me/12125550134", kinds=["phone"])] == ["phone"]


def test_a_card_is_no_phone_and_an_address_of_mail_no_handle() -> None:
    assert [m.kind for m in find("4000 0566 5566 5556 and jack@example.com")] == ["card", "email"]


def test_a_value_nearby_makes_the_phrase_superfluous() -> None:
    assert [match.rule for match in find("call me at 212-555-0134")] == ["pii.phone"]


def test_a_phrase_far_from_any_value_stands_alone() -> None:
    text = "call me at eight. " + "And so on and so forth. " * 10 + "jack@example.com"

    assert [match.rule for match in find(text)] == ["pii.phone.intent", "pii.email"]


def test_places_are_those_of_the_text_given_whatever_is_invisible_in_it() -> None:
    text = "\u200b😀é\u0301 \u200bjo\u200bhn@gmail.com\u200b!"

    (found,) = find(text)

    assert text[found.start : found.end] == "jo\u200bhn@gmail.com"


@pytest.mark.parametrize(
    ("history", "text", "kind", "end"),
    [
        (["call me", "212 555"], "0134", "phone", 4),
        (["212", "555"], "0134 ok?", "phone", 4),
        (["my number", "212", "then 555"], "0134", "phone", 4),
        (["five five five", "one two"], "three four", "phone", 10),
        (["2", "1", "2", "5", "5", "5", "0", "1", "3"], "4", "phone", 1),
        (["john.doe"], "@gmail.com", "email", 10),
        (["john.doe@"], "gmail.com", "email", 9),
        (["john at"], "gmail dot com", "email", 13),
        (["4111 1111", "1111"], "1111", "card", 4),
    ],
)
def test_what_began_in_earlier_messages_counts(history, text, kind, end) -> None:
    found = [match for match in find(text, history=history) if match.rule.endswith(".split")]

    assert [(match.kind, match.start, match.end) for match in found] == [(kind, 0, end)]


def test_what_was_announced_in_an_earlier_message_is_found() -> None:
    assert [match.rule for match in find("foo_bar", history=["my insta is"])] == [
        "pii.social.handle"
    ]


def test_what_ended_in_earlier_messages_is_not_found_again() -> None:
    assert find("thanks a lot", history=["call 212-555-0134", "or john@gmail.com"]) == []


@pytest.mark.parametrize(
    ("history", "text"),
    [
        (["I have 2 cats", "and 3 dogs"], "5 in all"),
        (["see you at 7"], "30 minutes later then"),
        (["room 101"], "2 pm?"),
        ([""], "0134"),
        ([], "0134"),
    ],
)
def test_ordinary_numbers_in_several_messages_are_no_number(history, text) -> None:
    assert find(text, history=history) == []


@pytest.mark.parametrize(
    ("spans", "masked"),
    [
        ([], "0123456789"),
        ([(1, 3)], "0**3456789"),
        ([(5, 7), (1, 3)], "0**34**789"),
        ([(1, 5), (3, 7)], "0******789"),
        ([(1, 9), (3, 4)], "0********9"),
        ([(1, 3), (3, 5)], "0****56789"),
        ([(-5, 2), (8, 99)], "**234567**"),
        ([(4, 4), (6, 5)], "0123456789"),
    ],
)
def test_spans_are_masked_in_any_order_and_overlap(spans, masked) -> None:
    assert mask("0123456789", spans) == masked


def test_a_mask_takes_matches_and_another_sign() -> None:
    assert mask("0123", [Match("phone", 1, 3, 1.0, "pii.phone")], "█") == "0██3"


@pytest.mark.parametrize("sign", ["", "**"])
def test_a_sign_is_one_character(sign: str) -> None:
    with pytest.raises(InvalidInput, match="one character"):
        mask("text", [(0, 1)], sign)


def test_the_strongest_of_too_many_are_kept() -> None:
    text = "see @someone now " * 400 + "jack@example.com"

    found = find(text)

    assert len(found) == MOST_MATCHES
    assert found[-1].rule == "pii.email"


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "1 ",
            "a@",
            "dot ",
            "1.",
            "(1",
            "five ",
            "4 ",
            "+1",
            "1.1.1.1 ",
            "insta ",
            " @ a",
            "[at]",
        ),
        *("my insta is a_b ", "12 a b ", "john at gmail dot com ", "str. 1 ", "o1 ", "@a@a", "::"),
        *(
            "dm me ",
            "4111111111111111 ",
            "discord dot gg slash ",
            "\u200b1",
            "de89 3704 ",
            "t.me/a ",
        ),
    ],
)
def test_hostile_texts_give_a_bounded_answer(piece: str) -> None:
    assert len(find(piece * (30_000 // len(piece)), history=[piece * 500] * 40)) <= MOST_MATCHES


PIECES = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.sampled_from(
            [
                *(
                    "john",
                    "@",
                    " at ",
                    "gmail",
                    ".",
                    " dot ",
                    "com",
                    "212",
                    "-",
                    " ",
                    "555",
                    "0134",
                ),
                *(
                    "+44",
                    "4111 1111 1111 1111",
                    "DE89",
                    "insta",
                    ": ",
                    "my ",
                    "is ",
                    "foo_bar",
                    "\n",
                ),
                *("12 ", "Main ", "Street", "five ", "one ", "oh ", "t.me/", "::", "\u200b", "😀"),
            ]
        ),
    ),
    max_size=24,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=PIECES, earlier=st.lists(PIECES, max_size=3))
def test_any_text_gives_places_inside_it_that_do_not_overlap(text, earlier) -> None:
    found = find(text, history=earlier)

    end = 0
    for match in found:
        assert 0 <= match.start < match.end <= len(text)
        assert 0 < match.score <= 1
        assert match.start >= end or match.rule == "pii.phone.link"
        end = match.end if match.rule != "pii.phone.link" else end
    assert found == find(text, history=earlier)
    assert len(mask(text, found)) == len(text)
