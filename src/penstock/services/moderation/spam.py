"""What makes a text look like spam, each sign by its name.

    spam.links      more than a couple of links, links that hide where they lead
    spam.repeats    lines, sentences or words said over and over
    spam.shouting   long capitals, rows of exclamation marks
    spam.phrases    money, prizes and jobs in the words of advertisements
    spam.elsewhere  asks to go on somewhere else and says where
    spam.flood      one character, or one without letters, for a long while
    spam.contacts   many numbers, addresses and names at once

Each sign has a weight by how strong it is; together they count as in `1 - (1-a)(1-b)...`, so that
one weak sign stays weak. Every finding carries the score of its own sign, the first one of a text
that of all together: the category's score is the highest. A message with one link is no spam.

Rules see form, not truth: a well-written fraud is left to models, an excited fan may be found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from math import prod
from typing import Any, NamedTuple

from penstock.pii import Match
from penstock.providers.provider import Finding

VERSION = "1"
"""Part of the cache key: counts up whenever a sign or its weight changes."""

_LEAST = 0.25  # what all signs together say at least, or nothing is said
_MOST_READ = 20_000  # characters in which repeats are counted
_LINK = re.compile(r"(?:https?://|\bwww\.)([^\s/<>\"')]{3,80})([^\s<>\"']{0,80})")
_SHORTENERS = frozenset(
    (
        *("bit.ly", "tinyurl.com", "goo.gl", "t.co", "is.gd", "cutt.ly", "rb.gy", "ow.ly"),
        *("shorturl.at", "adf.ly", "tiny.cc", "v.gd", "s.id", "t.ly", "rebrand.ly", "lnkd.in"),
    )
)
_RISKY_ENDS = (".xyz", ".top", ".click", ".loan", ".win", ".bid", ".icu", ".monster", ".zip")
_ENDS = str.maketrans("\n!?", "...")
_SHORTEST_PIECE = 8
_NO_CAPITALS = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
_MARK_SHAPE = bytes(33 if code in b"!?$" else 32 for code in range(256))
_LOUD = ("🤑", "💰", "🔥", "🚀", "💵")
_STEP = 12  # a flood of 25 holds one whole step
_CAPITALS = re.compile(r"(?:\b[A-Z]{3,}\b[\s!?.,]*){6,}")
_MARKS = re.compile(r"[!?$🤑💰🔥🚀💵]{4,}|(?:[!💰🤑🚀🔥💵]\s?){6,}")
_SAME = re.compile(r"([^\s\-=_*#~.+/\\|<>])\1{24,}")  # not what lines are drawn with
_ELSEWHERE = (
    *("contact me", "message me", "text me", "dm me", "write me", "write to me", "inbox me"),
    *("add me on", "join my", "join our", "join us", "click here", "click the link", "link below"),
    *("whatsapp me", "on whatsapp", "on telegram", "my telegram", "check my bio", "link in bio"),
    *("visit my", "visit our", "sign up here", "register here", "follow the link", "order here"),
)
_PHRASES: tuple[tuple[float, tuple[str, ...]], ...] = (
    (
        0.5,
        (
            *("double your bitcoin", "double your money", "guaranteed profit", "risk free profit"),
            *(
                "guaranteed returns",
                "claim your prize",
                "claim your reward",
                "you have been selected",
            ),
            *("you've been selected", "you are our lucky winner", "free gift card", "free iphone"),
            *("make money from home", "earn money from home", "earn from home", "be your own boss"),
            *(
                "financial freedom",
                "passive income",
                "no experience needed",
                "no experience required",
            ),
            *("daily payouts", "withdraw instantly", "recovery of lost funds", "recover your lost"),
            *("forex signals", "trading signals", "crypto giveaway", "airdrop is live", "send eth"),
            *(
                "connect your wallet",
                "seed phrase",
                "buy followers",
                "buy likes",
                "cheap followers",
            ),
            *(
                "lose weight fast",
                "miracle cure",
                "cheap viagra",
                "online casino bonus",
                "free spins",
            ),
            *("hot singles", "sugar daddy will pay", "weekly allowance from me", "loan approved"),
            *("instant loan", "no credit check", "million dollars inheritance", "next of kin"),
        ),
    ),
    (
        0.25,
        (
            *("work from home", "limited time offer", "act now", "limited spots", "hurry up"),
            *("100% free", "free money", "earn money", "extra income", "per day from home"),
            *(
                "$ per day",
                "$ a day",
                "a day from home",
                "bitcoin",
                "crypto investment",
                "giveaway",
            ),
            *(
                "congratulations you",
                "congratulations! you",
                "you won",
                "winner",
                "prize",
                "jackpot",
            ),
            *(
                "best price",
                "lowest price",
                "discount code",
                "promo code",
                "use my code",
                "use code",
            ),
            *("subscribe to my", "check out my channel", "sub4sub", "follow for follow", "f4f"),
            *("investment opportunity", "investment platform", "my broker", "account manager"),
            *("buy now", "order now", "call now", "click now", "100% guaranteed", "satisfaction"),
            *(
                "onlyfans",
                "casino",
                "betting tips",
                "dm for promo",
                "dm for details",
                "serious only",
            ),
        ),
    ),
)
_MONEY = re.compile(r"[$€£]\s?\d[\d,.]*\s?(?:k\b|/|per|a|every|daily|weekly)\s?(?:day|week|hour)?")


class Sign(NamedTuple):
    """One thing that speaks for spam, and where."""

    rule: str
    score: float
    start: int
    end: int


def judge(text: str, matches: Sequence[Match]) -> list[Finding]:
    """Give the signs of spam in `text`, the strongest first; `matches` are what `pii` found.

    The first carries what all say together. Nothing below a quarter is told.
    """
    signs = list(_signs(text, matches))
    if not signs:
        return []
    together = 1 - prod(1 - sign.score for sign in signs)
    if together < _LEAST:
        return []
    signs.sort(key=lambda sign: (-sign.score, sign.start))
    return [
        Finding(
            category="spam",
            score=round(together if place == 0 else sign.score, 4),
            start=sign.start,
            end=sign.end,
            rule=sign.rule,
            stage="prescreen",
        )
        for place, sign in enumerate(signs)
    ]


def _signs(text: str, matches: Sequence[Match]) -> Iterator[Sign]:
    if not text.isascii():  # half a surrogate pair is no character to the automaton
        text = text.encode("utf-8", "replace").decode()
    lower = text.lower()
    if len(lower) != len(text):  # a few capitals become two characters: places would move
        lower = "".join(each if len(each.lower()) != 1 else each.lower() for each in text)
    links = list(_LINK.finditer(lower)) if "://" in lower or "www." in lower else []
    said = _said(lower)
    yield from _linked(links)
    yield from _phrased(said, lower)
    yield from _elsewhere(said, links, matches)
    yield from _contacts(matches)
    yield from _repeated(lower)
    yield from _shouted(text)
    yield from _flooded(text)


def _linked(links: list[re.Match[str]]) -> Iterator[Sign]:
    if not links:
        return
    hosts = {link[1].removeprefix("www.") for link in links}
    score = {1: 0.0, 2: 0.1, 3: 0.3, 4: 0.4}.get(len(links), 0.6)
    if any(host in _SHORTENERS for host in hosts):
        score += 0.25
    if any(host.endswith(_RISKY_ENDS) for host in hosts):
        score += 0.2
    if len(links) >= 3 and len(hosts) == 1:
        score += 0.1
    if score:
        yield Sign("spam.links", min(score, 0.9), links[0].start(), links[-1].end())


def _phrased(said: list[tuple[float, int, int]], lower: str) -> Iterator[Sign]:
    spoken = [each for each in said if each[0] > 0]
    money = _MONEY.search(lower) if "$" in lower or "€" in lower or "£" in lower else None
    if money:
        spoken.append((0.25, *money.span()))
    if not spoken:
        return
    # The same words again are no further sign.
    weights = {lower[start:end]: weight for weight, start, end in spoken}
    score = 1 - prod(1 - weight for weight in weights.values())
    if score <= 0.25:
        score = 0.15  # one everyday word of advertisements
    start, end = min(each[1] for each in spoken), max(each[2] for each in spoken)
    yield Sign("spam.phrases", min(score, 0.95), start, end)


def _elsewhere(
    said: list[tuple[float, int, int]], links: list[re.Match[str]], matches: Sequence[Match]
) -> Iterator[Sign]:
    asked = [each for each in said if each[0] == 0]
    where = [link.span() for link in links]
    where += [
        (match.start, match.end)
        for match in matches
        if not match.is_intent and match.kind in ("social", "phone", "email") and match.score > 0.6
    ]
    if asked and where:
        start = min(asked[0][1], where[0][0])
        end = max(asked[0][2], where[0][1])
        yield Sign("spam.elsewhere", 0.35, start, end)


def _contacts(matches: Sequence[Match]) -> Iterator[Sign]:
    found = [
        match
        for match in matches
        if match.kind in ("social", "phone", "email") and not match.is_intent
    ]
    if len(found) >= 3:
        score = min(0.15 * (len(found) - 1), 0.7)
        yield Sign("spam.contacts", score, found[0].start, found[-1].end)


def _repeated(lower: str) -> Iterator[Sign]:
    read = lower[:_MOST_READ]
    if len(read) < 40:
        return
    pieces = Counter(read.translate(_ENDS).split("."))
    most, count = max(
        (
            (piece.strip(), count)
            for piece, count in pieces.items()
            if len(piece) > _SHORTEST_PIECE and any(map(str.isalpha, piece))
        ),
        key=lambda each: each[1] * len(each[0]),
        default=("", 0),
    )
    if most and count >= 3 and count * len(most) > 0.3 * len(read):
        start, end = read.find(most), read.rfind(most) + len(most)
        yield Sign("spam.repeats", min(0.2 + 0.1 * count, 0.7), start, end)
        return
    words = read.split()
    word, times = Counter(words).most_common(1)[0] if words else ("", 0)
    if times >= 8 and times * 2 > len(words) and word.isalpha():
        yield Sign("spam.repeats", 0.4, read.find(word), read.rfind(word) + len(word))


def _shouted(text: str) -> Iterator[Sign]:
    # Plain prose has few of either, and counting bytes costs a hundredth of looking.
    data = text.encode("utf-8", "replace")
    loud = len(data.translate(None, _NO_CAPITALS)) * 3 > len(data)
    capitals = _CAPITALS.search(text) if loud else None
    marked = b"!!!!" in data.translate(_MARK_SHAPE) or any(each in text for each in _LOUD)
    marks = _MARKS.search(text) if marked else None
    if capitals and (capitals.end() - capitals.start()) * 2 > len(text):
        yield Sign("spam.shouting", 0.3 if marks else 0.2, *capitals.span())
    elif marks:
        yield Sign("spam.shouting", 0.15, *marks.span())


def _flooded(text: str) -> Iterator[Sign]:
    for at in range(0, len(text) - _STEP, _STEP):
        same = text[at]
        if same != text[at + _STEP - 1] or text[at : at + _STEP] != same * _STEP:
            continue
        before = text[max(0, at - _STEP) : at]  # a flood that began further left was met there
        flood = _SAME.match(text, at - len(before) + len(before.rstrip(same)), at + 500)
        if flood:
            length = flood.end() - flood.start()
            yield Sign("spam.flood", 0.5 if length >= 60 else 0.25, *flood.span())
            return


def _said(lower: str) -> list[tuple[float, int, int]]:
    """Phrases with their weights and places; 0 for those that ask to go elsewhere."""
    automaton, weights = _phrases()
    return [
        (weights[index], start, end)
        for index, start, end in automaton.find_matches_as_indexes(lower)
        if not (start and lower[start - 1].isalnum()) and not lower[end : end + 1].isalnum()
    ]


@cache
def _phrases() -> tuple[Any, list[float]]:
    """One automaton of all phrases: a constant, made when it is first needed."""
    from ahocorasick_rs import AhoCorasick

    weighed = [(phrase, weight) for weight, phrases in _PHRASES for phrase in phrases]
    weighed += [(phrase, 0.0) for phrase in _ELSEWHERE]
    return AhoCorasick([phrase for phrase, _ in weighed]), [weight for _, weight in weighed]
