"""Looks for listed terms in a whole text, disguised or not.

    text ─ Alphabet.read ─ plain view ───────────► one automaton of all terms, whole words only
                         ├ leet or repeats seen ─► folded view, second automaton, each hit verified
                         ├ marks inside words ───► joined (`id-iot`) and masked (`id*ot`) look-ups
                         └ single letters ───────► spelled runs, looked up
    hits ─ what stands near them ─ findings in original offsets ─ highest score per category

What stands near a hit (`contexts`) may lower its score or make a pair with it.

Measured on 1 kB against 10,000 terms (benchmarks/prescreen.py): 17 us clean ASCII, 43 us with a
disguise, 94 us with every kind of it at once; 1 MB takes seconds only when it is made to.

Pure and deterministic. It finds listed words and nothing else: what is said without them is for
models. It knows neither thresholds nor decisions; `certain` only says that a rule of severity 1.0
stood there unqualified.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

import msgspec

from penstock.providers.provider import Finding
from penstock.words import views
from penstock.words.contexts import (
    Contexts,
    Entry,
    Hit,
    Scored,
    ViewName,
    automaton,
    places_of,
)
from penstock.words.disguises import (
    INSIDE_LENGTHS,
    LONGEST_RUN,
    STRONG,
    Disguises,
    spellings,
)
from penstock.words.lexicon import Lexicon
from penstock.words.views import Alphabet, Reading

CERTAIN = 1.0
_VERSION = "1"  # part of the cache key, with `views.VERSION`: counts up when a rule here changes
MOST_FINDINGS = 500  # kept of one text, strongest first; scores count all of them


class Screening(msgspec.Struct, frozen=True):
    """What the prescreen saw in one text."""

    findings: tuple[Finding, ...]  # by place; of nested ones in one category only the outer
    views: tuple[ViewName, ...]  # the view that showed each finding
    scores: dict[str, float]  # highest score of each category that was found
    certain: Literal["violation"] | None
    foreign_share: float  # share of letters outside the Latin script
    version: str


class Prescreen(Disguises):
    """Screens texts for the terms of one lexicon. Safe to share between threads."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.version = f"{lexicon.version}.{_VERSION}.{views.VERSION}"
        self._alphabet = Alphabet()
        entries = list(spellings(lexicon.terms, self._alphabet))
        self._entries = entries
        repeats = [bytes([letter]) * 3 for letter in b"abcdefghijklmnopqrstuvwxyz"]
        self._plain = automaton([b" %b " % e.words for e in entries] + repeats)
        self._foldable = [entry for entry in entries if "s" not in entry.term.flags]
        self._folded = automaton([b" %b " % views.fold(e.words) for e in self._foldable])
        whole: dict[bytes, list[Entry]] = defaultdict(list)
        exact: dict[bytes, list[Entry]] = defaultdict(list)
        maskable: dict[tuple[int, int, int], list[Entry]] = defaultdict(list)
        for entry in self._foldable:
            if not 3 <= len(entry.compact) <= LONGEST_RUN:
                continue
            whole[views.fold(entry.compact)].append(entry)
            if len(entry.compact) in INSIDE_LENGTHS and entry.term.severity >= STRONG:
                exact[entry.compact].append(entry)
            if entry.words == entry.compact and len(entry.compact) > 3:
                key = len(entry.compact), entry.compact[0], entry.compact[-1]
                maskable[key].append(entry)
        self._whole, self._exact, self._maskable = whole, exact, maskable
        self._contexts = Contexts(lexicon.contexts, self._alphabet)

    def screen(self, text: str) -> Screening:
        """Look through the whole text; any string will do, time grows with its length."""
        reading = self._alphabet.read(text)
        share = views.foreign_share(text)
        hits = self._hits(reading)
        if not hits:
            return Screening((), (), {}, None, share, self.version)
        if share > 0.5:
            hits = [hit for hit in hits if not _is_foreign_word(hit, reading)]
        scored = _outermost(self._contexts.judge(hits, reading))
        scores: dict[str, float] = {}
        for score, category, _, _ in scored:
            scores[category] = max(score, scores.get(category, 0.0))
        certain = max(scores.values(), default=0.0) >= CERTAIN
        kept = scored
        if len(kept) > MOST_FINDINGS:
            kept = sorted(scored, key=lambda each: (-each[0], each[2].start))[:MOST_FINDINGS]
        kept.sort(key=lambda each: (each[2].start, each[2].end, each[1]))
        return Screening(
            findings=tuple(_finding(each, reading) for each in kept),
            views=tuple(hit.view for _, _, hit, _ in kept),
            scores=scores,
            certain="violation" if certain else None,
            foreign_share=share,
            version=self.version,
        )

    def _hits(self, reading: Reading) -> list[Hit]:
        hits: list[Hit] = []
        entries, repeated = self._entries, False
        found = self._plain.find_matches_as_indexes(reading.plain, True)
        origin = places_of(reading, len(found)) if found else ()
        for index, start, end in found:
            if index >= len(entries):
                repeated = True
            else:
                first, last = int(origin[start + 1]), int(origin[end - 2])
                hits.append(Hit(first, last + 1, entries[index], "plain"))
        if repeated or "folded" in reading.signs:
            hits += self._folded_hits(reading)
        hits += self._disguised_hits(reading)
        return hits

    def _folded_hits(self, reading: Reading) -> Iterator[Hit]:
        view = reading.folded()
        for index, start, end in self._folded.find_matches_as_indexes(view.data, True):
            first, last = int(view.origin[start + 1]), int(view.origin[end - 1])
            entry = self._foldable[index]
            if views.undisguises(reading.signed[first:last], entry.compact):
                yield Hit(first, last, entry, "folded")


def _is_foreign_word(hit: Hit, reading: Reading) -> bool:
    """In a text of another script a word wholly in it is a word of that language."""
    start, end = reading.original(hit.start, hit.end)
    letters = [each for each in reading.text[start:end] if each.isalpha()]
    own = hit.entry.term.text.isascii()
    return own and all("\u0370" <= each <= "\u058f" for each in letters)


def _outermost(scored: list[Scored]) -> list[Scored]:
    """Without repeats of a place and without what lies inside a finding as strong."""
    scored.sort(key=lambda each: (each[1], each[2].start, -each[2].end, -each[0], each[3]))
    kept: list[Scored] = []
    for each in scored:
        if kept and kept[-1][1] == each[1]:
            outer = kept[-1]
            if each[2].end <= outer[2].end and each[0] <= outer[0]:
                continue
        kept.append(each)
    return kept


def _finding(scored: Scored, reading: Reading) -> Finding:
    score, category, hit, rule = scored
    start, end = reading.original(hit.start, hit.end)
    return Finding(category, score, start, end, rule, "prescreen")
