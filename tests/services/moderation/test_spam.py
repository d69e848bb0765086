from __future__ import annotations

import pytest

from penstock.pii import find
from penstock.services.moderation.spam import judge


def score(text: str) -> float:
    return max((finding.score for finding in judge(text, find(text))), default=0.0)


def rules(text: str) -> set[str]:
    return {finding.rule for finding in judge(text, find(text))}


SPAM = [
    "Earn $500 per day from home! No experience needed, DM me on Telegram: t.me/quickcash",
    "CONGRATULATIONS! You have been selected, claim your prize now: https://bit.ly/xyz",
    "Double your bitcoin in 24 hours, guaranteed profit, contact me on WhatsApp +1 415 555 2671",
    "Buy followers cheap >>> http://a.top http://b.top http://c.top http://d.top",
    "Check out my channel\n" * 12,
    "BUY NOW BEST PRICE FREE MONEY ACT NOW CLICK HERE!!!!!! http://cheap.win/x",
    "Passive income and financial freedom, join our crypto giveaway, connect your wallet",
    "spam " * 60,
]


@pytest.mark.parametrize("text", SPAM)
def test_advertisements_and_floods_are_likely_spam(text: str) -> None:
    assert score(text) >= 0.6 if "spam " not in text else score(text) >= 0.4


HAM = [
    "",
    "Have a look at https://docs.python.org/3/library/re.html, it explains groups.",
    "Two sources: https://en.wikipedia.org/wiki/Spam and https://example.org/paper.pdf",
    "My new mail is jack@example.com, call me at 212-555-0134 when you land.",
    "I won a prize at the fair, and my sister works from home on Fridays.",
    "WHAT A GAME!!! I can't believe they won",
    "Bitcoin fell again today.",
    "no no no no please stop",
    "hahahahahahahahahaha",
    "-" * 20,
    "The committee met on Tuesday to discuss the budget. " * 2,
    "def f(x):\n    return x\n\ndef g(x):\n    return x\n",
    "Add me on Discord if you want to play, I'm usually on at eight.",
]


@pytest.mark.parametrize("text", HAM)
def test_ordinary_messages_are_not(text: str) -> None:
    assert score(text) < 0.4


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("spam.links", "see http://a.example http://b.example http://c.example http://d.example"),
        ("spam.links", "see https://bit.ly/abc"),
        ("spam.phrases", "make money from home"),
        ("spam.elsewhere", "text me at +1 415 555 2671, or on telegram"),
        ("spam.contacts", "@ann_1 @bob_2 @cat_3 @dan_4 @eve_5"),
        ("spam.repeats", "Follow me please now\n" * 6),
        ("spam.flood", "a" * 80),
        ("spam.shouting", "BUY THIS THING RIGHT NOW BEFORE ITS GONE FOREVER $$$$"),
    ],
)
def test_a_sign_is_told_by_its_name_and_place(rule: str, text: str) -> None:
    findings = judge(text, find(text))

    assert rule in {finding.rule for finding in findings}
    for finding in findings:
        assert finding.category == "spam"
        assert finding.stage == "prescreen"
        assert 0 <= finding.start < finding.end <= len(text)


def test_more_signs_say_more() -> None:
    link = "see https://bit.ly/abc"
    prize = "claim your prize"

    assert score(f"{prize} {link}") > max(score(prize), score(link))


def test_the_first_finding_says_what_all_say_together() -> None:
    findings = judge(SPAM[0], find(SPAM[0]))

    assert findings[0].score == max(finding.score for finding in findings)
    assert len(findings) > 1


def test_the_same_phrase_again_is_no_further_sign() -> None:
    assert score("claim your prize") == score("claim your prize, claim your prize")


def test_places_stay_right_behind_capitals_that_grow_in_lower_case() -> None:
    text = "İİİİ claim your prize"

    (finding,) = judge(text, [])

    assert text[finding.start : finding.end] == "claim your prize"


@pytest.mark.parametrize(
    "piece", ["http://a ", "A", "AAA ", "! ", "$", "www.", "a.", "x y ", "$1 "]
)
def test_hostile_texts_are_judged_too(piece: str) -> None:
    assert 0 <= score(piece * (60_000 // len(piece))) <= 1


def test_half_a_surrogate_pair_is_judged_like_any_character() -> None:
    text = "\ud800 claim your prize"

    (finding,) = judge(text, [])

    assert text[finding.start : finding.end] == "claim your prize"


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("a" * 25, 0, 25),
        ("b" * 11 + "a" * 25, 11, 36),
        ("b" * 24 + "a" * 30 + "b", 24, 54),
        (("b" * 24 + " ") * 50 + "a" * 26, 1_250, 1_276),
    ],
)
def test_a_flood_is_told_from_its_first_character(text: str, start: int, end: int) -> None:
    floods = [found for found in judge(text, []) if found.rule == "spam.flood"]

    assert [(found.start, found.end) for found in floods] == [(start, end)]


@pytest.mark.parametrize("text", ["a" * 24, ("a" * 24 + " ") * 50, "-" * 80, " " * 80])
def test_shorter_rows_and_lines_are_no_flood(text: str) -> None:
    assert "spam.flood" not in rules(text)
