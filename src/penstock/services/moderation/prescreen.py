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
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from penstock.providers.provider import Finding
from penstock.services.moderation import views
from penstock.services.moderation.contexts import (
    Contexts,
    Entry,
    Hit,
    Scored,
    ViewName,
    automaton,
    places_of,
)
from penstock.services.moderation.lexicon import Lexicon, Term
from penstock.services.moderation.views import Alphabet, Reading, Span

CERTAIN = 1.0
_VERSION = "1"  # part of the cache key, with `views.VERSION`: counts up when a rule here changes
_STRONG = 0.6  # terms below this are looked up in fewer disguises
_MOST_FINDINGS = 500  # kept of one text, strongest first; scores count all of them
_LONGEST_RUN = 24  # letters that are looked up as one word
_MOST_PIECES = 2000
_INSIDE_LENGTHS = range(5, 15)
_EDGES = b"-._*#%^&~?"
_NO_LETTERS = bytes(c for c in range(256) if not 97 <= c <= 122)
_SIGNS_AS_MASK = bytes.maketrans(b"-._#%^&~?@$!|+", b"**************")
_SOFT_MARKS = frozenset(b"-._~")  # everyday punctuation: a mask only in front of strong words
_NOTES = frozenset(b"abcdefg")
_LEAD_INS = (b"u", b"i", b"a", b"you", b"ur", b"youa", b"yourea", b"youarea", b"youarean")


class Screening(msgspec.Struct, frozen=True):
    """What the prescreen saw in one text."""

    findings: tuple[Finding, ...]  # by place; of nested ones in one category only the outer
    views: tuple[ViewName, ...]  # the view that showed each finding
    scores: dict[str, float]  # highest score of each category that was found
    certain: Literal["violation"] | None
    foreign_share: float  # share of letters outside the Latin script
    version: str


class Prescreen:
    """Screens texts for the terms of one lexicon. Safe to share between threads."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.version = f"{lexicon.version}.{_VERSION}.{views.VERSION}"
        self._alphabet = Alphabet()
        entries = list(_entries(lexicon.terms, self._alphabet))
        self._entries = entries
        repeats = [bytes([letter]) * 3 for letter in b"abcdefghijklmnopqrstuvwxyz"]
        self._plain = automaton([b" %b " % e.words for e in entries] + repeats)
        self._foldable = [entry for entry in entries if "s" not in entry.term.flags]
        self._folded = automaton([b" %b " % views.fold(e.words) for e in self._foldable])
        self._whole: dict[bytes, list[Entry]] = defaultdict(list)
        self._exact: dict[bytes, list[Entry]] = defaultdict(list)
        self._maskable: dict[tuple[int, int, int], list[Entry]] = defaultdict(list)
        for entry in self._foldable:
            if not 3 <= len(entry.compact) <= _LONGEST_RUN:
                continue
            self._whole[views.fold(entry.compact)].append(entry)
            if len(entry.compact) in _INSIDE_LENGTHS and entry.term.severity >= _STRONG:
                self._exact[entry.compact].append(entry)
            if entry.words == entry.compact and len(entry.compact) > 3:
                key = len(entry.compact), entry.compact[0], entry.compact[-1]
                self._maskable[key].append(entry)
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
        if len(kept) > _MOST_FINDINGS:
            kept = sorted(scored, key=lambda each: (-each[0], each[2].start))[:_MOST_FINDINGS]
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
        signs = reading.signs
        if repeated or "folded" in signs:
            hits += self._folded_hits(reading)
        if "folded" in signs:
            hits += self._numbered_hits(reading)
        if "tokens" in signs:
            hits += self._token_hits(reading)
        if "spelled" in signs:
            hits += self._spelled_hits(reading)
        return hits

    def _folded_hits(self, reading: Reading) -> Iterator[Hit]:
        view = reading.folded()
        for index, start, end in self._folded.find_matches_as_indexes(view.data, True):
            first, last = int(view.origin[start + 1]), int(view.origin[end - 1])
            entry = self._foldable[index]
            if views.undisguises(reading.signed[first:last], entry.compact):
                yield Hit(first, last, entry, "folded")

    def _numbered_hits(self, reading: Reading) -> Iterator[Hit]:
        for span in reading.numbered():
            for entry in self._whole.get(views.fold(span.letters), ()):
                if len(span.letters) > 3 and entry.words == span.letters:
                    yield Hit(span.start, span.end, entry, "folded")

    def _token_hits(self, reading: Reading) -> Iterator[Hit]:
        known: dict[bytes, list[tuple[Entry, ViewName]]] = {}
        for span in reading.tokens():
            found = known.get(span.letters)
            if found is None:
                found = known[span.letters] = list(self._token(span.letters))
            for entry, view in found:
                yield Hit(span.start, span.end, entry, view)

    def _token(self, token: bytes) -> Iterator[tuple[Entry, ViewName]]:
        token = token.strip(_EDGES)
        if len(token.translate(None, _NO_LETTERS)) < 2:
            return
        joined = token.translate(None, _EDGES)
        if len(joined) < len(token):
            for entry in self._whole.get(views.fold(joined), ()):
                if (
                    entry.term.severity >= _STRONG
                    and len(entry.compact) > 3
                    and _same(joined, entry)
                ):
                    yield entry, "joined"
        masked = token.translate(_SIGNS_AS_MASK)
        hidden = masked.count(b"*")
        if not 0 < hidden <= len(masked) - 2:
            return
        soft = not _SOFT_MARKS.isdisjoint(token)
        for entry in self._maskable.get((len(masked), masked[0], masked[-1]), ()):
            if soft and entry.term.severity < 0.9:
                continue
            if _fits(masked, entry.compact):
                yield entry, "masked"

    def _spelled_hits(self, reading: Reading) -> Iterator[Hit]:
        known: dict[bytes, list[Entry]] = {}
        for run in reading.spelled():
            for piece in _joined_pieces(run):
                found = known.get(piece.letters)
                if found is None:
                    found = known[piece.letters] = list(self._spelled(piece.letters))
                for entry in found:
                    yield Hit(piece.start, piece.end, entry, "spelled")
            for piece in run:
                yield from self._inside(piece)

    def _inside(self, piece: Span) -> Iterator[Hit]:
        """Find long words anywhere in a run: `y o u i d i o t`. Short ones are in too many."""
        count = len(piece.letters)
        gap = (piece.end - 1 - piece.start) // max(1, count - 1)
        shortest, longest = _INSIDE_LENGTHS[0], _INSIDE_LENGTHS[-1]
        for length in range(shortest, min(count, longest) + 1) if count > shortest else ():
            for first in range(count - length + 1):
                for entry in self._exact.get(piece.letters[first : first + length], ()):
                    start = piece.start + first * gap
                    yield Hit(start, start + (length - 1) * gap + 1, entry, "spelled")

    def _spelled(self, letters: bytes) -> Iterator[Entry]:
        """Look up single letters that were joined, also without what may stand before a word."""
        rests = {letters: 3}
        for lead_in in _LEAD_INS if letters.startswith(_LEAD_INS) else ():
            if letters.startswith(lead_in):
                rests[letters[len(lead_in) :]] = 4
        for rest, shortest in rests.items():
            # Three single letters are initials or chords more often than a word.
            if len(rest) < shortest or _NOTES.issuperset(rest):
                continue
            for entry in self._whole.get(views.fold(rest), ()):
                if (len(rest) > 3 or entry.term.severity >= 0.9) and _same(rest, entry):
                    yield entry


def _entries(terms: Iterable[Term], alphabet: Alphabet) -> Iterator[Entry]:
    """Give each term in the spellings that the plain view may show it in."""
    for term in terms:
        spellings = {term.text}
        if "'" in term.text:
            spellings.add(term.text.replace("'", ""))
        if not term.text.isascii():
            spellings.add(term.text.upper())
        forms = {words for words in map(alphabet.words, spellings) if words}
        if term.severity >= 0.9:  # #writtentogether
            together = (w.replace(b" ", b"") for w in forms if 0 < w.count(b" ") < 3)
            forms |= {word for word in together if 8 <= len(word) <= 20}
        for words in sorted(forms):
            yield Entry(term, words, words.replace(b" ", b""))


def _fits(masked: bytes, term: bytes) -> bool:
    """Compare letter by letter; a star stands for any."""
    for shown, wanted in zip(masked, term, strict=True):  # a third of the time of all()
        if shown != wanted and shown != 42:
            return False
    return True


def _same(seen: bytes, entry: Entry) -> bool:
    return seen == entry.compact or views.undisguises(seen, entry.compact, known=True)


def _joined_pieces(run: list[Span]) -> Iterator[Span]:
    """Up to four neighbouring pieces of a run as one, and the whole of a run of more."""
    # A text of nothing but single letters would take seconds; real runs have a few words.
    most = 4 if len(run) <= _MOST_PIECES else 1
    for first in range(len(run)):
        letters = b""
        for last in range(first, min(first + most, len(run))):
            letters += run[last].letters
            if len(letters) > _LONGEST_RUN:
                break
            if len(letters) > 2:
                yield Span(run[first].start, run[last].end, letters)
    if 4 < len(run) <= _LONGEST_RUN:
        yield Span(run[0].start, run[-1].end, b"".join(piece.letters for piece in run))


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
