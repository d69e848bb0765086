"""Looks for listed terms in a whole text, disguised or not, in well under 0.1 ms per kB.

    text ─ Alphabet.read ─ plain view ───────────► one automaton of all terms, whole words only
                         ├ leet or repeats seen ─► folded view, second automaton, each hit verified
                         ├ marks inside words ───► joined (`id-iot`) and masked (`id*ot`) look-ups
                         └ single letters ───────► spelled runs, looked up
    hits ─ what stands near them ─ findings in original offsets ─ highest score per category

What stands near a hit changes its score, never adds a category: a harmless phrase around it drops
it; a negation before a threat, reported speech, or talk of prevention lowers it to review. One
hard rule is about two things at once: an explicit term close to a word for a minor's age is
`sexual/minors`.

Pure and deterministic. It finds listed words and nothing else: what is said without them is for
models. It knows neither thresholds nor decisions; `certain` only says that a rule of severity 1.0
stood there unqualified.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec
from ahocorasick_rs import BytesAhoCorasick, Implementation

from penstock.providers.provider import Finding
from penstock.services.moderation import views
from penstock.services.moderation.lexicon import Lexicon, Term
from penstock.services.moderation.views import Alphabet, Reading, Span

ViewName = Literal["plain", "folded", "joined", "masked", "spelled"]

CERTAIN = 1.0
REVIEW = 0.4
"""What a strong finding is lowered to by what stands around it: people look at it."""
NEGATED = 0.1
"""What a threat or a call is worth that is advised against: nothing by itself."""

_VERSION = "1"  # part of the cache key, with `views.VERSION`: counts up when a rule here changes
_STRONG = 0.6  # terms below this are looked up in fewer disguises
_MINORS_SCORE = 0.95
_MINORS_RULE = "minors.near"
_MOST_FINDINGS = 500  # kept of one text, strongest first; scores count all of them
_NEGATION_REACH, _REPORT_REACH, _PROTECTIVE_REACH, _MINOR_REACH = 1, 90, 120, 60  # bytes
_NEGATABLE = ("harassment", "hate/threatening", "self-harm", "violence", "illicit")
_PROTECTABLE = ("sexual/minors", "self-harm", "illicit", "violence", "sexual")
_AGES = re.compile(
    rb" (?:(?:1[0-7]|[1-9]) ?(?:yo|y o|yr old|yrs old|year old|years old|years of age)"
    rb"|age[ds]? (?:1[0-7]|[1-9])|turn(?:ed|ing) (?:1[0-7]|[1-9])|under (?:1[0-8]|age)"
    rb"|(?:[1-9]|1[0-2])(?:st|nd|rd|th) grade(?:r|rs)?)(?= )"
)
_LONGEST_RUN = 24  # letters that are looked up as one word
_EDGES = b"-._*#%^&~?"
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


class _Entry(NamedTuple):
    term: Term
    words: bytes  # as in the plain view
    compact: bytes  # without spaces


class _Hit(NamedTuple):
    start: int  # in Reading.raw
    end: int
    entry: _Entry
    view: ViewName


class Prescreen:
    """Screens texts for the terms of one lexicon. Safe to share between threads."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.version = f"{lexicon.version}.{_VERSION}.{views.VERSION}"
        self._alphabet = Alphabet()
        entries = list(_entries(lexicon.terms, self._alphabet))
        self._entries = entries
        repeats = [bytes([letter]) * 3 for letter in b"abcdefghijklmnopqrstuvwxyz"]
        self._plain = _automaton([b" %b " % e.words for e in entries] + repeats)
        self._foldable = [entry for entry in entries if "s" not in entry.term.flags]
        self._folded = _automaton([b" %b " % views.fold(e.words) for e in self._foldable])
        self._whole: dict[bytes, list[_Entry]] = defaultdict(list)
        self._maskable: dict[tuple[int, int, int], list[_Entry]] = defaultdict(list)
        for entry in self._foldable:
            if not 3 <= len(entry.compact) <= _LONGEST_RUN:
                continue
            self._whole[views.fold(entry.compact)].append(entry)
            if entry.words == entry.compact and len(entry.compact) > 3:
                key = len(entry.compact), entry.compact[0], entry.compact[-1]
                self._maskable[key].append(entry)
        self._contexts = _Contexts(lexicon.contexts, self._alphabet)

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
        certain = any(score >= CERTAIN for score, _, _, _ in scored)
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

    def _hits(self, reading: Reading) -> list[_Hit]:
        hits: list[_Hit] = []
        entries, repeated = self._entries, False
        found = self._plain.find_matches_as_indexes(reading.plain, True)
        origin = reading.plain_origin.tolist() if found else []
        for index, start, end in found:
            if index >= len(entries):
                repeated = True
            else:
                hits.append(_Hit(origin[start + 1], origin[end - 2] + 1, entries[index], "plain"))
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

    def _folded_hits(self, reading: Reading) -> Iterator[_Hit]:
        view = reading.folded()
        for index, start, end in self._folded.find_matches_as_indexes(view.data, True):
            first, last = int(view.origin[start + 1]), int(view.origin[end - 1])
            entry = self._foldable[index]
            if views.undisguises(reading.signed[first:last], entry.compact):
                yield _Hit(first, last, entry, "folded")

    def _numbered_hits(self, reading: Reading) -> Iterator[_Hit]:
        for span in reading.numbered():
            for entry in self._whole.get(views.fold(span.letters), ()):
                if len(span.letters) > 3 and entry.words == span.letters:
                    yield _Hit(span.start, span.end, entry, "folded")

    def _token_hits(self, reading: Reading) -> Iterator[_Hit]:
        known: dict[bytes, list[tuple[_Entry, ViewName]]] = {}
        for span in reading.tokens():
            found = known.get(span.letters)
            if found is None:
                found = known[span.letters] = list(self._token(span.letters))
            for entry, view in found:
                yield _Hit(span.start, span.end, entry, view)

    def _token(self, token: bytes) -> Iterator[tuple[_Entry, ViewName]]:
        token = token.strip(_EDGES)
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
        soft = _SOFT_MARKS.isdisjoint(token) is False
        for entry in self._maskable.get((len(masked), masked[0], masked[-1]), ()):
            if soft and entry.term.severity < 0.9:
                continue
            if all(a in (b, 42) for a, b in zip(masked, entry.compact, strict=True)):
                yield entry, "masked"

    def _spelled_hits(self, reading: Reading) -> Iterator[_Hit]:
        known: dict[bytes, list[_Entry]] = {}
        for run in reading.spelled():
            for piece in _joined_pieces(run):
                found = known.get(piece.letters)
                if found is None:
                    found = known[piece.letters] = list(self._spelled(piece.letters))
                for entry in found:
                    yield _Hit(piece.start, piece.end, entry, "spelled")

    def _spelled(self, letters: bytes) -> Iterator[_Entry]:
        """Look up single letters that were joined, also without what may stand before a word."""
        rests = {letters: 3}
        for lead_in in _LEAD_INS:
            if letters.startswith(lead_in):
                rests[letters[len(lead_in) :]] = 4
        rests |= {letters[1:]: 5, letters[:-1]: 5} if len(letters) > 5 else {}
        for rest, shortest in rests.items():
            # Three single letters are initials or chords more often than a word.
            if len(rest) < shortest or _NOTES.issuperset(rest):
                continue
            for entry in self._whole.get(views.fold(rest), ()):
                if (len(rest) > 3 or entry.term.severity >= 0.9) and _same(rest, entry):
                    yield entry


def _entries(terms: Iterable[Term], alphabet: Alphabet) -> Iterator[_Entry]:
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
            yield _Entry(term, words, words.replace(b" ", b""))


def _automaton(patterns: list[bytes], *, quick: bool = False) -> BytesAhoCorasick:
    # A DFA halves the time of the first view (3 against 6 us per kB over 10,000 terms) and takes
    # four times the memory; the folded view is rarely needed.
    kind = Implementation.DFA if quick else Implementation.ContiguousNFA
    return BytesAhoCorasick(patterns or [b"\xff"], implementation=kind)


def _same(seen: bytes, entry: _Entry) -> bool:
    return seen == entry.compact or views.undisguises(seen, entry.compact, known=True)


def _joined_pieces(run: list[Span]) -> Iterator[Span]:
    """Up to four neighbouring pieces of a run as one, and the whole of a run of more."""
    for first in range(len(run)):
        letters = b""
        for last in range(first, min(first + 4, len(run))):
            letters += run[last].letters
            if len(letters) > _LONGEST_RUN:
                break
            if len(letters) > 2:
                yield Span(run[first].start, run[last].end, letters)
    if 4 < len(run) <= _LONGEST_RUN:
        yield Span(run[0].start, run[-1].end, b"".join(piece.letters for piece in run))


def _is_foreign_word(hit: _Hit, reading: Reading) -> bool:
    """In a text of another script a word wholly in it is a word of that language."""
    start, end = reading.original(hit.start, hit.end)
    letters = [each for each in reading.text[start:end] if each.isalpha()]
    own = hit.entry.term.text.isascii()
    return own and all("\u0370" <= each <= "\u058f" for each in letters)


_Scored = tuple[float, str, _Hit, str]  # score, category, where, rule


class _Contexts:
    """Judges hits by what stands near them."""

    def __init__(self, terms: Iterable[Term], alphabet: Alphabet) -> None:
        self._terms = [(term, alphabet.words(term.text)) for term in terms]
        self._automaton = _automaton([b" %b " % words for _, words in self._terms])

    def judge(self, hits: list[_Hit], reading: Reading) -> list[_Scored]:
        """Give each hit its score, and the pairs that make `sexual/minors`."""
        near = self._find(reading)
        if near is None:
            return [
                (hit.entry.term.severity, hit.entry.term.category, hit, hit.entry.term.rule)
                for hit in hits
            ]
        judged: list[_Scored] = []
        for hit in hits:
            if near.covers("@allow", hit):
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

    def _find(self, reading: Reading) -> _Near | None:
        places: dict[str, list[tuple[int, int]]] = defaultdict(list)
        origin = reading.plain_origin.tolist()
        for index, start, end in self._automaton.find_matches_as_indexes(reading.plain, True):
            place = origin[start + 1], origin[end - 2] + 1
            places[self._terms[index][0].category].append(place)
        for age in _AGES.finditer(reading.plain):
            places["@minor"].append((origin[age.start() + 1], origin[age.end() - 1] + 1))
        for each in places.values():
            each.sort()
        return _Near(places) if places else None


class _Near:
    """Where contexts stand in one text, by kind, in order of place."""

    def __init__(self, places: dict[str, list[tuple[int, int]]]) -> None:
        self._places = places

    def covers(self, kind: str, hit: _Hit) -> bool:
        return any(s <= hit.start and hit.end <= e for s, e in self._around(kind, hit, 0, 100))

    def before(self, kind: str, hit: _Hit, reach: int) -> bool:
        return any(
            e <= hit.start and hit.start - e <= reach for _, e in self._around(kind, hit, reach)
        )

    def closest(self, kind: str, hit: _Hit, reach: int) -> tuple[int, int] | None:
        found = [p for p in self._around(kind, hit, reach) if _gap(p, hit) <= reach]
        return min(found, key=lambda place: (_gap(place, hit), place), default=None)

    def _around(
        self, kind: str, hit: _Hit, reach: int, longest: int = 100
    ) -> Iterator[tuple[int, int]]:
        places = self._places.get(kind, [])
        index = bisect_left(places, (hit.start - reach - longest, 0))
        while index < len(places) and places[index][0] <= hit.end + reach:
            yield places[index]
            index += 1


def _gap(place: tuple[int, int], hit: _Hit) -> int:
    return max(0, hit.start - place[1], place[0] - hit.end)


def _lowered(score: float, category: str, hit: _Hit, near: _Near) -> float:
    if category.startswith(_NEGATABLE) and near.before("@negation", hit, _NEGATION_REACH):
        return min(score, NEGATED)
    if score <= REVIEW:
        return score
    if near.closest("@report", hit, _REPORT_REACH):
        return REVIEW
    if category.startswith(_PROTECTABLE) and near.closest("@protective", hit, _PROTECTIVE_REACH):
        return REVIEW
    return score


def _outermost(scored: list[_Scored]) -> list[_Scored]:
    """Without repeats of a place and without what lies inside a finding as strong."""
    scored.sort(key=lambda each: (each[1], each[2].start, -each[2].end, -each[0], each[3]))
    kept: list[_Scored] = []
    for each in scored:
        if kept and kept[-1][1] == each[1]:
            outer = kept[-1]
            if each[2].end <= outer[2].end and each[0] <= outer[0]:
                continue
        kept.append(each)
    return kept


def _finding(scored: _Scored, reading: Reading) -> Finding:
    score, category, hit, rule = scored
    start, end = reading.original(hit.start, hit.end)
    return Finding(category, score, start, end, rule, "prescreen")
