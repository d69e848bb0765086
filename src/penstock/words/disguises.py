"""Finds terms whose words are disguised, by looking up what is left when the disguise is undone.

    word99 ─ numbered ─┐
    id-iot ─ joined ───┤
    id=iot ─ marked ───┤
    id*ot ── masked ───┼─► one look-up by letters each, then a check that it is really that term
    i d i o t ─ spelled┘

Nothing here goes through all terms, so their number does not matter. Who uses it fills the three
look-ups: `Prescreen` with a lexicon at once, the matcher of user lists with entries as they come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol, TypeVar

from penstock.words import views
from penstock.words.budget import UNLIMITED, Budget
from penstock.words.contexts import Entry, Hit, ViewName
from penstock.words.lexicon import Term
from penstock.words.views import Alphabet, Reading, Span

Key = TypeVar("Key", contravariant=True)
K = TypeVar("K")

STRONG = 0.6  # terms below this are looked up in fewer disguises
LONGEST_RUN = 24  # letters that are looked up as one word
INSIDE_LENGTHS = range(5, 15)  # letters of words that are found inside a run
_MOST_PIECES = 2000
_FEW = 8  # entries under a key: fewer cost no more than the text itself
_ENTRY_STEPS = 5
EDGES = b"-._*#%^&~?"
_LEET_SIGNS = b"@$!|+"  # letters, or marks like others
MARKS = EDGES + _LEET_SIGNS
_NO_LETTERS = bytes(c for c in range(256) if not 97 <= c <= 122)
_SIGNS_AS_MASK = bytes.maketrans(b"-._#%^&~?@$!|+", b"**************")
_SOFT_MARKS = frozenset(b"-._~")  # everyday punctuation: a mask only in front of strong words
_NOTES = frozenset(b"abcdefg")
_LEAD_INS = (b"u", b"i", b"a", b"you", b"ur", b"youa", b"yourea", b"youarea", b"youarean")


class Lookup(Protocol[Key]):
    """Spellings of terms by a key; a dictionary of lists is one."""

    def get(self, key: Key, default: tuple[()], /) -> Collection[Entry]:
        """Give what stands under `key`."""


class Disguises:
    """Finds what hides in marks, single letters and digits behind words."""

    _whole: Lookup[bytes]  # of 3 to 24 letters, by them folded
    _exact: Lookup[bytes]  # strong ones of 5 to 14 letters, by them
    _maskable: Lookup[tuple[int, int, int]]  # one word: by length, first and last byte

    def _disguised_hits(self, reading: Reading, budget: Budget = UNLIMITED) -> Iterator[Hit]:
        """What hides in a text. Raises Overrun."""
        signs = reading.signs
        if "folded" in signs:
            yield from self._numbered_hits(reading, budget)
        if "tokens" in signs:
            yield from self._token_hits(reading, budget)
        if "marked" in signs:
            yield from self._marked_hits(reading, budget)
        if "spelled" in signs:
            yield from self._spelled_hits(reading, budget)

    def _numbered_hits(self, reading: Reading, budget: Budget) -> Iterator[Hit]:
        for span in reading.numbered():
            for entry in _alike(self._whole, views.fold(span.letters), budget):
                if len(span.letters) > 3 and entry.words == span.letters:
                    yield Hit(span.start, span.end, entry, "folded")

    def _token_hits(self, reading: Reading, budget: Budget) -> Iterator[Hit]:
        known: dict[bytes, list[tuple[Entry, ViewName]]] = {}
        for span in reading.tokens():
            found = known.get(span.letters)
            if found is None:
                found = known[span.letters] = list(self._token(span.letters, budget))
            for entry, view in found:
                yield Hit(span.start, span.end, entry, view)

    def _marked_hits(self, reading: Reading, budget: Budget) -> Iterator[Hit]:
        for span in reading.marked():
            if len(span.letters.translate(None, _NO_LETTERS)) > 1:
                for entry in self._joined(span.letters, budget):
                    yield Hit(span.start, span.end, entry, "joined")

    def _joined(self, letters: bytes, budget: Budget) -> Iterator[Entry]:
        for entry in _alike(self._whole, views.fold(letters), budget):
            strong = entry.term.severity >= STRONG and len(entry.compact) > 3
            if strong and _same(letters, entry):
                yield entry

    def _token(self, token: bytes, budget: Budget) -> Iterator[tuple[Entry, ViewName]]:
        token = token.strip(EDGES)
        if len(token.translate(None, _NO_LETTERS)) < 2:
            return
        joined = token.translate(None, EDGES)
        if len(joined) < len(token):
            for entry in self._joined(joined, budget):
                yield entry, "joined"
        if len(letters := joined.translate(None, _LEET_SIGNS)) < len(joined):
            for entry in self._joined(letters, budget):
                yield entry, "joined"
        masked = token.translate(_SIGNS_AS_MASK)
        hidden = masked.count(b"*")
        if not 0 < hidden <= len(masked) - 2:
            return
        soft = not _SOFT_MARKS.isdisjoint(token)
        for entry in _alike(self._maskable, (len(masked), masked[0], masked[-1]), budget):
            if soft and entry.term.severity < 0.9:
                continue
            if _fits(masked, entry.compact):
                yield entry, "masked"

    def _spelled_hits(self, reading: Reading, budget: Budget) -> Iterator[Hit]:
        known: dict[bytes, list[Entry]] = {}
        for run in reading.spelled():
            for piece in joined_pieces(run):
                found = known.get(piece.letters)
                if found is None:
                    found = known[piece.letters] = list(self._spelled(piece.letters, budget))
                for entry in found:
                    yield Hit(piece.start, piece.end, entry, "spelled")
            for piece in run:
                yield from self._inside(piece)

    def _inside(self, piece: Span) -> Iterator[Hit]:
        """Find long words anywhere in a run: `y o u i d i o t`. Short ones are in too many."""
        count = len(piece.letters)
        gap = (piece.end - 1 - piece.start) // max(1, count - 1)
        shortest, longest = INSIDE_LENGTHS[0], INSIDE_LENGTHS[-1]
        for length in range(shortest, min(count, longest) + 1) if count > shortest else ():
            for first in range(count - length + 1):
                for entry in self._exact.get(piece.letters[first : first + length], ()):
                    start = piece.start + first * gap
                    yield Hit(start, start + (length - 1) * gap + 1, entry, "spelled")

    def _spelled(self, letters: bytes, budget: Budget) -> Iterator[Entry]:
        """Look up single letters that were joined, also without what may stand before a word."""
        rests = {letters: 3}
        for lead_in in _LEAD_INS if letters.startswith(_LEAD_INS) else ():
            if letters.startswith(lead_in):
                rests[letters[len(lead_in) :]] = 4
        for rest, shortest in rests.items():
            # Three single letters are initials or chords more often than a word.
            if len(rest) < shortest or _NOTES.issuperset(rest):
                continue
            for entry in _alike(self._whole, views.fold(rest), budget):
                if (len(rest) > 3 or entry.term.severity >= 0.9) and _same(rest, entry):
                    yield entry


def _alike(table: Lookup[K], key: K, budget: Budget) -> Collection[Entry]:
    """What stands under a key: in a list that was made for it, much."""
    found = table.get(key, ())
    if len(found) > _FEW:
        budget.spend(_ENTRY_STEPS * len(found))
    return found


def spellings(terms: Iterable[Term], alphabet: Alphabet) -> Iterator[Entry]:
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


def joined_pieces(run: list[Span]) -> Iterator[Span]:
    """Up to four neighbouring pieces of a run as one, and the whole of a run of more."""
    # A text of nothing but single letters would take seconds; real runs have a few words.
    most = 4 if len(run) <= _MOST_PIECES else 1
    for first in range(len(run)):
        letters = b""
        for last in range(first, min(first + most, len(run))):
            letters += run[last].letters
            if len(letters) > LONGEST_RUN:
                break
            if len(letters) > 2:
                yield Span(run[first].start, run[last].end, letters)
    if 4 < len(run) <= LONGEST_RUN:
        yield Span(run[0].start, run[-1].end, b"".join(piece.letters for piece in run))
