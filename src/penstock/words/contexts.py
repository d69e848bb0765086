"""What stands near a hit changes what it is worth.

A harmless phrase around a hit drops it. A negation right before a threat or a call, reported
speech and talk of prevention lower it. An explicit term close to a word for a minor's age is a
finding of its own, `sexual/minors`: the one hard rule about two things at once.

Contexts are looked for in the plain view, once a text and only when something was found.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, SupportsInt

from ahocorasick_rs import BytesAhoCorasick, Implementation

from penstock.words.lexicon import Term
from penstock.words.views import Alphabet, Reading

ViewName = Literal["plain", "folded", "joined", "masked", "spelled"]

REVIEW = 0.4
"""What a strong finding is lowered to by what stands around it: people look at it."""
NEGATED = 0.1
"""What a threat or a call is worth that is advised against: nothing by itself."""
_MINORS_SCORE = 0.95
_MINORS_RULE = "minors.near"
_NEGATION_REACH, _REPORT_REACH, _PROTECTIVE_REACH, _MINOR_REACH = 1, 90, 120, 60  # bytes
_NEGATABLE = ("harassment", "hate/threatening", "self-harm", "violence", "illicit")
_PROTECTABLE = ("sexual/minors", "self-harm", "illicit", "violence", "sexual")
_AGES = re.compile(
    rb" (?:(?:1[0-7]|[1-9]) ?(?:yo|y o|yr old|yrs old|year old|years old|years of age)"
    rb"|age[ds]? (?:1[0-7]|[1-9])|turn(?:ed|ing) (?:1[0-7]|[1-9])|under (?:1[0-8]|age)"
    rb"|(?:[1-9]|1[0-2])(?:st|nd|rd|th) grade(?:r|rs)?)(?= )"
)


class Entry(NamedTuple):
    """A spelling of a term."""

    term: Term
    words: bytes  # as in the plain view
    compact: bytes  # without spaces


class Hit(NamedTuple):
    """A place where a term was found."""

    start: int  # in Reading.raw
    end: int
    entry: Entry
    view: ViewName


Scored = tuple[float, str, Hit, str]  # score, category, where, rule


class Contexts:
    """Judges hits by what stands near them."""

    def __init__(self, terms: Iterable[Term], alphabet: Alphabet) -> None:
        self._terms = [(term, alphabet.words(term.text)) for term in terms]
        self._automaton = automaton([b" %b " % words for _, words in self._terms])

    def judge(self, hits: list[Hit], reading: Reading) -> list[Scored]:
        """Give each hit its score, and the pairs that make `sexual/minors`."""
        near = self._find(reading, ages=any("x" in hit.entry.term.flags for hit in hits))
        if near is None:
            return [
                (hit.entry.term.severity, hit.entry.term.category, hit, hit.entry.term.rule)
                for hit in hits
            ]
        judged: list[Scored] = []
        for hit in hits:
            if near.allows(hit):
                continue
            term = hit.entry.term
            judged.append(
                (_lowered(term.severity, term.category, hit, near), term.category, hit, term.rule)
            )
            minor = near.closest("@minor", hit, _MINOR_REACH) if "x" in term.flags else None
            if minor:
                pair = hit._replace(start=min(hit.start, minor[0]), end=max(hit.end, minor[1]))
                score = _lowered(_MINORS_SCORE, "sexual/minors", pair, near)
                judged.append((score, "sexual/minors", pair, _MINORS_RULE))
        return judged

    def _find(self, reading: Reading, *, ages: bool) -> _Near | None:
        spans = [
            (self._terms[index][0].category, start, end)
            for index, start, end in self._automaton.find_matches_as_indexes(reading.plain, True)
        ]
        if ages:
            spans += [
                ("@minor", age.start(), age.end() + 1) for age in _AGES.finditer(reading.plain)
            ]
        if not spans:
            return None
        places: dict[str, list[tuple[int, int]]] = defaultdict(list)
        origin = places_of(reading, len(spans))
        for kind, start, end in spans:
            places[kind].append((int(origin[start + 1]), int(origin[end - 2]) + 1))
        for each in places.values():
            each.sort()
        return _Near(places)


class _Near:
    """Where contexts stand in one text, by kind, in order of place."""

    def __init__(self, places: dict[str, list[tuple[int, int]]]) -> None:
        self._places = places

    def allows(self, hit: Hit) -> bool:
        """Say whether a harmless phrase holds the hit, or its end and what follows."""
        return any(
            (start <= hit.start and hit.end <= end) or start < hit.end < end
            for start, end in self._around("@allow", hit)
        )

    def before(self, kind: str, hit: Hit, reach: int) -> bool:
        return any(e <= hit.start and hit.start - e <= reach for _, e in self._around(kind, hit))

    def closest(self, kind: str, hit: Hit, reach: int) -> tuple[int, int] | None:
        found = [p for p in self._around(kind, hit) if _gap(p, hit) <= reach]
        return min(found, key=lambda place: (_gap(place, hit), place), default=None)

    def _around(self, kind: str, hit: Hit) -> list[tuple[int, int]]:
        """The nearest few; more would make a text full of contexts slow and change little."""
        places = self._places.get(kind)
        if not places:
            return []
        index = bisect_left(places, (hit.start, 0))
        return places[max(0, index - 6) : index + 4]


def _gap(place: tuple[int, int], hit: Hit) -> int:
    return max(0, hit.start - place[1], place[0] - hit.end)


def _lowered(score: float, category: str, hit: Hit, near: _Near) -> float:
    if category.startswith(_NEGATABLE) and near.before("@negation", hit, _NEGATION_REACH):
        return min(score, NEGATED)
    if score <= REVIEW:
        return score
    if near.closest("@report", hit, _REPORT_REACH):
        return REVIEW
    if category.startswith(_PROTECTABLE) and near.closest("@protective", hit, _PROTECTIVE_REACH):
        return REVIEW
    return score


def places_of(reading: Reading, uses: int) -> Sequence[SupportsInt]:
    """The origins of the plain view in the form that is quicker for so many uses."""
    # A list is twice as fast to read, but takes 10 us per kB to make.
    origin = reading.plain_origin
    return origin.tolist() if uses > 50 else origin  # type: ignore[return-value]


def automaton(patterns: list[bytes]) -> BytesAhoCorasick:
    """Make the matcher of many patterns; it looks at every byte once."""
    # A DFA needs 3 us per kB over 10,000 terms instead of 6, but 29 MB instead of 10.
    kind = Implementation.ContiguousNFA
    return BytesAhoCorasick(patterns or [b"\xff"], implementation=kind)
