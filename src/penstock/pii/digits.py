"""Runs of digits: what phones, cards and addresses of machines are all made of.

A run is found once, by one pattern, and handed to whoever can make something of it. Runs are
written in digits, in words ("five five five"), or in digits with letters among them ("5o5").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from penstock.pii import words

FEWEST = 7  # digits that a phone number has at least; cards and accounts have more

_GROUP = re.compile(r"[0-9]+")
_BETWEEN = " \t.-/()_*|~•"
_WIDEST = 3  # characters between two groups of a run
_TOKEN = re.compile(rf"{'|'.join(words.ALL)}|\d")
_SPOKEN = re.compile(
    rf"(?<!\w)(?:{'|'.join(words.ALL)}|\d)(?:(?:[\s,.;:\-_/*+()]{{0,3}}|\s?and\s)"
    rf"(?:{'|'.join(words.ALL)}|\d))+(?!\w)"
)
_LEET = re.compile(r"(?<![\w.+-])\(?[\doilsbz](?:[ .\-/()_]{0,3}[\doilsbz]){6,23}(?![\w-])")
_LEET_SHAPE = bytes(
    48 if 48 <= code <= 57 else 111 if code in b"oilsbz" else 32 for code in range(256)
)
_LETTERED = re.compile(r"[oilsbz\d]+")
_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-/._](?:0?[1-9]|1[0-2])[-/._](?:0?[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])([-/._])(?:0?[1-9]|1[0-2])\1(?:(?:19|20)\d\d|\d\d)"
    r"|(?:0?[1-9]|1[0-2])([-/._])(?:0?[1-9]|[12]\d|3[01])\2(?:(?:19|20)\d\d|\d\d))(?!\d)"
)


class Group(NamedTuple):
    """Digits with nothing between them."""

    digits: str
    start: int
    end: int


class Run(NamedTuple):
    """Groups of digits that stand close together."""

    start: int
    end: int
    groups: list[Group]

    @property
    def digits(self) -> str:
        """All of them in a row."""
        return "".join(group.digits for group in self.groups)

    @property
    def lengths(self) -> tuple[int, ...]:
        """How long the groups are."""
        return tuple(len(group.digits) for group in self.groups)

    @property
    def is_spaced(self) -> bool:
        """Whether most groups are one digit, as in `5 5 5 - 1 2 3 4`."""
        lengths = self.lengths
        return len(lengths) >= FEWEST - 2 and lengths.count(1) * 3 >= len(lengths) * 2


class Spoken(NamedTuple):
    """Digits said in words."""

    start: int
    end: int
    digits: str
    ones: int  # words for a single digit, without those for ten and more


def groups_of(lower: str) -> list[Group]:
    """Every group of digits, whatever stands around it."""
    return [Group(found[0], *found.span()) for found in _GROUP.finditer(lower)]


def runs(lower: str, groups: list[Group]) -> Iterator[Run]:
    """Runs of at least seven digits, without the dates among them."""
    first, count = 0, len(groups)
    while first < count:
        last, total = first, len(groups[first].digits)
        while last + 1 < count and _are_close(lower, groups[last].end, groups[last + 1].start):
            last += 1
            total += len(groups[last].digits)
        if total >= FEWEST:
            yield from _without_dates(lower, groups[first : last + 1])
        first = last + 1


def _are_close(lower: str, end: int, start: int) -> bool:
    return start - end <= _WIDEST and not lower[end:start].strip(_BETWEEN)


def _without_dates(lower: str, groups: list[Group]) -> Iterator[Run]:
    piece: list[Group] = []
    dates = _DATE.finditer(lower, groups[0].start, groups[-1].end) if len(groups) > 2 else iter(())
    date = next(dates, None)
    for group in groups:
        while date and group.start >= date.end():
            date = next(dates, None)
        if date and group.end > date.start():
            yield from _run(piece)
            piece = []
        else:
            piece.append(group)
    yield from _run(piece)


def _run(groups: list[Group]) -> Iterator[Run]:
    if sum(len(group.digits) for group in groups) >= FEWEST:
        yield Run(groups[0].start, groups[-1].end, groups)


def spoken(lower: str, first: int, last: int) -> Iterator[Spoken]:
    """Numbers said in words, or in words and digits, of at least seven digits."""
    for found in _SPOKEN.finditer(lower, first, last):
        if found.end() - found.start() < 2 * FEWEST:
            continue
        tokens = _TOKEN.findall(found[0])
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
        groups: list[Group] = []
        letters = 0
        for piece in _LETTERED.finditer(lower, *found.span()):
            own = sum(map(str.isdigit, piece[0]))
            letters += len(piece[0]) - own
            if not own and piece[0].strip("o"):
                break
            groups.append(Group(piece[0].translate(words.LEET), *piece.span()))
        else:
            count = sum(len(group.digits) for group in groups)
            if letters and count >= FEWEST and letters * 2 <= count:
                yield Run(groups[0].start, groups[-1].end, groups)


def is_counting(digits: str) -> bool:
    """Whether digits are a series, a code of two signs or one sign: nobody's number."""
    if len(set(digits)) < 3:
        return True
    steps = {(int(b) - int(a)) % 10 for a, b in pairwise(digits)}
    if len(steps) == 1:
        return True
    series = "1234567891011121314151617181920"
    return digits in series or digits in series[::-1] or digits in "2468101214161820"


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
