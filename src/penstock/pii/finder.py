"""Asks the detectors that the triggers allow, and settles what lies in one place."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

from penstock.pii import cards, digits, emails, intents, machines, places, social
from penstock.pii.history import find_split
from penstock.pii.match import Kind, Match
from penstock.pii.phones import Phones
from penstock.pii.reading import Looks, Reading
from penstock.pii.settle import settled
from penstock.pii.stepwise import in_steps
from penstock.pii.triggers import Signals, Triggers

_PLAIN = bytes(set(range(256)) - set(b"0123456789@"))
_NONE = Signals([], [], [], [], [], [], [])


class _Read(NamedTuple):
    """One reading in the forms that detectors want it in."""

    cased: str
    lower: str
    data: bytes  # `lower` in UTF-8
    kept: bytes  # digits and at-signs of it


class Finder:
    """The detectors, made once. Safe to share between threads."""

    def __init__(self) -> None:
        self._looks = Looks()
        self._triggers = Triggers()
        self._phones = Phones()

    def warm(self) -> None:
        """See `penstock.pii.warm`."""
        self._phones.plans.read_all()

    def find(self, text: str, *, history: Sequence[str], kinds: Collection[Kind]) -> list[Match]:
        """See `penstock.pii.find`."""
        found = self._look(text, kinds)
        if not history:
            return found
        return settled([*found, *chain.from_iterable(self._split(text, history, kinds))])

    def steps(
        self, text: str, *, history: Sequence[str], kinds: Collection[Kind]
    ) -> Iterator[list[Match]]:
        """See `penstock.pii.steps`."""
        split: list[Match] = []
        for found in self._split(text, history, kinds):
            split += found
            yield []
        yield from in_steps(text, self._looks, lambda each: self._read(each, kinds), before=split)

    def _split(
        self, text: str, earlier: Sequence[str], kinds: Collection[Kind]
    ) -> Iterator[list[Match]]:
        return find_split(text, earlier, lambda joined: self._look(joined, kinds))

    def _look(self, text: str, kinds: Collection[Kind]) -> list[Match]:
        reading = Reading(text, self._looks)
        found = self._read(reading.cased, kinds)
        if len(reading.cased) == len(text):
            return found
        places = reading.origins() if found else ()
        return [
            match._replace(start=places[match.start], end=places[match.end - 1] + 1)
            for match in found
        ]

    def _read(self, cased: str, kinds: Collection[Kind]) -> list[Match]:
        """What stands in a reading, by its own places."""
        lower = cased.lower()
        # In plain prose nothing is left: one translation tells, at memory speed.
        data = lower.encode("utf-8", "replace")
        kept = data.translate(None, _PLAIN)
        signals = self._triggers.look(lower) or _NONE
        if not kept and signals is _NONE:
            return []
        read = _Read(cased, lower, data, kept)
        matches = list(self._matches(read, signals, frozenset(kinds)))
        if signals.phrases:
            matches += _intents(signals, matches, kinds)
        return settled(matches)

    def _matches(self, read: _Read, signals: Signals, kinds: frozenset[Kind]) -> Iterator[Match]:
        lower = read.lower
        at = b"@" in read.kept
        if "email" in kinds:
            if at:
                yield from emails.find(lower)
                yield from emails.find_spaced(lower)
            if signals.mail:
                yield from emails.find_spelled(lower, signals.mail)
            if signals.glued:
                yield from emails.find_glued(lower, signals.glued)
        if signals.hosts:
            links = social.find_links(lower, signals.hosts)
            yield from (match for match in links if match.kind in kinds)
        if "social" in kinds:
            yield from self._social(lower, signals, at=at)
        if signals.spoken:
            yield from self._spoken(lower, signals, kinds)
        if len(read.kept) == read.kept.count(b"@"):
            return
        yield from self._numbers(lower, read.data, kinds)
        if "address" in kinds:
            yield from places.find(lower, read.cased)
            if signals.street:
                yield from places.find_named(lower, read.cased, signals.street)

    def _social(self, lower: str, signals: Signals, *, at: bool) -> Iterator[Match]:
        if signals.net:
            yield from social.find_named(lower, signals.net)
        if signals.mail:
            yield from social.find_spelled_links(lower, signals.mail)
        if at:
            yield from social.find_mentions(lower)

    def _spoken(self, lower: str, signals: Signals, kinds: frozenset[Kind]) -> Iterator[Match]:
        said = [each for piece in signals.spoken for each in digits.spoken(lower, *piece)]
        if said and "phone" in kinds:
            yield from self._phones.find_spelled(lower, said)
        if said and "card" in kinds:
            yield from cards.find_spelled(said)

    def _numbers(self, lower: str, data: bytes, kinds: frozenset[Kind]) -> Iterator[Match]:
        if "ip" in kinds:
            yield from machines.find(lower)
        if "iban" in kinds:
            yield from cards.find_accounts(lower)
        if "phone" in kinds:
            yield from self._phones.find_lettered(lower, data)
        runs = list(digits.runs(lower))
        if runs and "card" in kinds:
            yield from cards.find(lower, runs)
        if runs and "phone" in kinds:
            yield from self._phones.find(lower, runs)


def _intents(signals: Signals, matches: list[Match], kinds: Collection[Kind]) -> Iterator[Match]:
    starts = sorted(match.start for match in matches)
    ends = sorted(match.end for match in matches)
    for kind, start, end in signals.phrases:
        # As many values end before the phrase as do not begin behind it: none is near.
        before = bisect_right(ends, start - intents.NEAR)
        near = bisect_left(starts, end + intents.NEAR) > before
        if kind in kinds and not near:
            yield Match(kind, start, end, intents.SCORE, f"pii.{kind}.intent")


@cache
def finder() -> Finder:
    """The one finder of this process: constants, compiled when they are first needed."""
    return Finder()
