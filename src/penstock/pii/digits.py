"""Runs of digits: what phones, cards and addresses of machines are all made of.

A run is found once, by one pattern, and handed to whoever can make something of it. Runs are
written in digits, in words ("five five five"), or in digits with letters among them ("5o5").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import gcd
from typing import NamedTuple

from penstock.pii import words

FEWEST = 7  # digits that a phone number has at least; cards and accounts have more

_GROUP = re.compile(r"([0-9]+)")
_BETWEEN = " \t.-/()_*|~•"  # up to three of these stand between two groups
_RUN = re.compile(rf"[0-9]++(?:[{re.escape(_BETWEEN)}]{{1,3}}+[0-9]++)*+")
_TOKEN = re.compile(rf"{'|'.join(words.ALL)}|\d")
_MOST_TOKENS = 40  # that a card of 19 digits is said in, all of them in tens
_SPOKEN = re.compile(
    rf"(?<!\w)(?:{'|'.join(words.ALL)}|\d)(?:(?:[\s,.;:\-_/*+()]{{0,3}}|\s?and\s)"
    rf"(?:{'|'.join(words.ALL)}|\d))+(?!\w)"
)
_LEET = re.compile(r"(?<![\w.+-])\(?[\doilsbz](?:[ .\-/()_]{0,3}[\doilsbz]){6,23}(?![\w-])")
_LEET_SHAPE = bytes(
    48 if 48 <= code <= 57 else 111 if code in b"oilsbz" else 32 for code in range(256)
)
_DIGIT = re.compile(r"\d")
_LETTERED = re.compile(r"([oilsbz\d]+)")
_NOTHING = frozenset[str]()
_DATED = re.compile(r"[-/._](?<=\d.)\d")  # a date has one, and most runs have none
_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-/._](?:0?[1-9]|1[0-2])[-/._](?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])([-/._])(?:0?[1-9]|1[0-2])\1(?:(?:19|20)\d\d|\d\d)"
    r"|(?:0?[1-9]|1[0-2])([-/._])(?:0?[1-9]|[12]\d|3[01])\2(?:(?:19|20)\d\d|\d\d))(?!\d)"
)

_CIRCLE = "0123456789" * 40
_SERIES = " ".join(
    (
        *(_CIRCLE[first::step][:40] for step in range(1, 10) for first in range(gcd(step, 10))),
        *("1234567891011121314151617181920", "0291817161514131211101987654321"),
        "2468101214161820",
    )
)
"""Every row of digits with equal steps, counted forth and back, and the counting numbers."""


class Run(NamedTuple):
    """Groups of digits that stand close together."""

    start: int
    end: int
    digits: str  # all of them in a row
    lengths: tuple[int, ...]  # of the groups
    between: frozenset[str]  # what stands between two groups

    @property
    def is_spaced(self) -> bool:
        """Whether most groups are one digit, as in `5 5 5 - 1 2 3 4`."""
        lengths = self.lengths
        return len(lengths) >= FEWEST - 2 and lengths.count(1) * 3 >= len(lengths) * 2

    def places(self, lower: str) -> list[tuple[int, int]]:
        """Where the groups stand, if they are written in digits."""
        return [group.span() for group in _GROUP.finditer(lower, self.start, self.end)]


class Spoken(NamedTuple):
    """Digits said in words."""

    start: int
    end: int
    digits: str
    ones: int  # words for a single digit, without those for ten and more


def runs(lower: str) -> Iterator[Run]:
    """Runs of at least seven digits, without the dates among them."""
    for found in _RUN.finditer(lower):
        start, end = found.span()
        if end - start < FEWEST:
            continue
        if _DATED.search(lower, start, end):
            for date in _DATE.finditer(lower, start, end):
                yield from _run(lower, start, date.start())
                start = date.end()
        yield from _run(lower, start, end)


def _run(lower: str, start: int, end: int) -> Iterator[Run]:
    if end - start < FEWEST:
        return
    shown = lower[start:end]
    if shown.isdigit():
        yield Run(start, end, shown, (end - start,), _NOTHING)
        return
    # Signs and groups take turns, and what stands outside the first and the last is neither.
    before, *pieces, after = _GROUP.split(shown)
    digits = "".join(pieces[::2])
    if len(digits) >= FEWEST:
        lengths = tuple(map(len, pieces[::2]))
        between = frozenset(pieces[1::2])
        yield Run(start + len(before), end - len(after), digits, lengths, between)


def spoken(lower: str, first: int, last: int) -> Iterator[Spoken]:
    """Numbers said in words, or in words and digits, of at least seven digits."""
    for found in _SPOKEN.finditer(lower, first, last):
        if found.end() - found.start() < 2 * FEWEST:
            continue
        tokens = _TOKEN.findall(found[0])
        if len(tokens) > _MOST_TOKENS:
            continue
        ones = sum(token in words.ONES for token in tokens)
        if ones < 3:
            continue
        digits = words.digits_of(tokens)
        if len(digits) >= FEWEST:
            yield Spoken(*found.span(), digits, ones)


def lettered(lower: str, data: bytes) -> Iterator[Run]:
    """Runs in which letters stand for digits: every group has a digit, or is `o` alone.

    `data` is `lower` in UTF-8.
    """
    shape = data.translate(_LEET_SHAPE)
    if b"0o" not in shape and b"o0" not in shape:
        return
    for found in _LEET.finditer(lower):
        before, *pieces, after = _LETTERED.split(found[0])
        written = "".join(pieces[::2])
        if written.isdigit():
            continue
        letters = len(written) - len(_DIGIT.findall(written))
        if len(written) < FEWEST or letters * 2 > len(written):
            continue
        if not any(group.isalpha() and group.strip("o") for group in pieces[::2]):
            lengths = tuple(map(len, pieces[::2]))
            start, end = found.start() + len(before), found.end() - len(after)
            yield Run(start, end, written.translate(words.LEET), lengths, frozenset(pieces[1::2]))


def is_counting(digits: str) -> bool:
    """Whether digits are a series, a code of two signs or one sign: nobody's number."""
    return digits in _SERIES or len(set(digits)) < 3


def stands_alone(lower: str, start: int, end: int) -> bool:
    """Whether what stands there is no part of an identifier, a path or a decimal."""
    before = lower[start - 2 : start] if start > 1 else " " + lower[:start]
    if before and _belongs(before[-1], before[:1]):
        return False
    after = lower[end : end + 2]
    if not after:
        return True
    if after[0] in "%°":
        return False
    return not _belongs(after[0], after[1:])


def _belongs(near: str, far: str) -> bool:
    if near.isalnum() or near in "_#$€£¥\\":
        return True
    return far.isdigit() if near in ".,:=" else near in "-/&~^" and far.isalnum()
