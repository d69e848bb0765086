"""Asks the detectors that the triggers allow, and settles what lies in one place."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from heapq import nlargest

from penstock.pii import cards, digits, emails, history, intents, machines, places, social
from penstock.pii.match import Kind, Match
from penstock.pii.phones import Phones
from penstock.pii.reading import Looks, Reading
from penstock.pii.triggers import Signals, Triggers

MOST_MATCHES = 256

_PLAIN = bytes(set(range(256)) - set(b"0123456789@"))
_INNER = "pii.phone.link"
_NONE = Signals([], [], [], [], [], [], [])
_RANK: dict[Kind, int] = {  # which kind wins where two are as sure and as long
    "phone": 0,
    "address": 1,
    "social": 2,
    "ip": 3,
    "card": 4,
    "iban": 5,
    "email": 6,
}


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
        split = history and [*self._split(text, history, kinds)]
        return settled([*found, *chain(*split)]) if split else found

    def steps(
        self, text: str, *, history: Sequence[str], kinds: Collection[Kind]
    ) -> Iterator[list[Match]]:
        """See `penstock.pii.steps`."""
        split: list[Match] = []
        for found in self._split(text, history, kinds):
            split += found
            yield []
        for found in steps.in_steps(text, self._looks, lambda cased: self._read(cased, kinds)):
            if split and found:
                # All of it stands at the beginning, in the first step with any.
                pass
            yield found

    def _split(
        self, text: str, earlier: Sequence[str], kinds: Collection[Kind]
    ) -> Iterator[list[Match]]:
        return history.find_split(text, earlier, lambda joined: self._look(joined, kinds))

    def _look(self, text: str, kinds: Collection[Kind]) -> list[Match]:
        reading = Reading(text, self._looks)
        found = self._read(reading.cased, kinds)
        if len(reading.cased) == len(text):
            return found
        return [
            match._replace(start=start, end=end)
            for match in found
            for start, end in (reading.original(match.start, match.end),)
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
        reading = _Read(cased, lower, data, kept)
        matches = list(self._matches(reading, signals, frozenset(kinds)))
        if signals.phrases:
            matches += _intents(signals, matches, kinds)
        return settled(matches)

    def _matches(
        self, reading: Reading, signals: Signals, data: bytes, kept: bytes, kinds: frozenset[Kind]
    ) -> Iterator[Match]:
        lower = reading.lower
        at = b"@" in kept
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
        if len(kept) == kept.count(b"@"):
            return
        yield from self._numbers(lower, data, kinds)
        if "address" in kinds:
            yield from places.find(lower, reading.cased)
            if signals.street:
                yield from places.find_named(lower, reading.cased, signals.street)

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


def _split(text: str, earlier: Sequence[str], look: history.Look) -> list[Match]:
    return list(history.find_split(text, earlier, look))


def _intents(signals: Signals, matches: list[Match], kinds: Collection[Kind]) -> Iterator[Match]:
    starts = sorted(match.start for match in matches)
    ends = sorted(match.end for match in matches)
    for kind, start, end in signals.phrases:
        # As many values end before the phrase as do not begin behind it: none is near.
        before = bisect_right(ends, start - intents.NEAR)
        near = bisect_left(starts, end + intents.NEAR) > before
        if kind in kinds and not near:
            yield Match(kind, start, end, intents.SCORE, f"pii.{kind}.intent")


def _settled(matches: Iterable[Match]) -> list[Match]:
    """One match where several overlap, the strongest of too many, by place.

    The number in a link to a chat is a telephone number too: what allows the one may not the other.
    """
    ordered = sorted(matches, key=lambda match: (match.start, -match.end, -match.score))
    kept: list[Match] = []
    inner = [match for match in ordered if match.rule == _INNER]
    for match in ordered:
        if match.rule == _INNER:
            continue
        while kept and match.start < kept[-1].end and _weighs(match) > _weighs(kept[-1]):
            kept.pop()
        if not kept or match.start >= kept[-1].end:
            kept.append(match)
    kept = sorted(kept + inner, key=_place) if inner else kept
    if len(kept) > MOST_MATCHES:
        kept = nlargest(MOST_MATCHES, kept, key=lambda match: (match.score, -match.start))
        kept.sort(key=_place)
    return kept


def _place(match: Match) -> tuple[int, int]:
    return match.start, match.end


def _weighs(match: Match) -> tuple[float, int, int]:
    return match.score, match.end - match.start, _RANK[match.kind]


@cache
def finder() -> Finder:
    """The one finder of this process: constants, compiled when they are first needed."""
    return Finder()
