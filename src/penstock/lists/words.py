"""Listed phrases and symbols: found by looking up the words of a text, however many are listed.

    plain view ── words in a row ─┐
    folded view ─ words in a row ─┼─► dictionaries ─► entries
    disguises ─── letters ────────┘
    raw text ──── symbols in a row ─► dictionary ──► entries

There is no automaton over all entries: one of 100,000 takes 300 ms to make, during which nothing
else runs in the process, and it would have to be made again for every change. A dictionary learns
an entry in 6 us and costs a text 20 us per kB. It holds bytes and numbers only, so that the garbage
collector has nothing to walk through.

A phrase that was removed stays in the look-ups of its disguises, which then lead to no entry. Of
phrases that look alike when their disguise is undone, a thousand are looked for in disguise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Generic, NamedTuple, TypeVar

from penstock.lists.entries import literal, lowered
from penstock.words import views
from penstock.words.budget import Budget
from penstock.words.contexts import Entry, automaton
from penstock.words.disguises import (
    INSIDE_LENGTHS,
    LONGEST_RUN,
    Disguises,
    spellings,
)
from penstock.words.lexicon import Term
from penstock.words.views import Alphabet, Reading

K = TypeVar("K", bound=Hashable)

MOST_SHOWN = 64  # places of patterns beside the first of each
PLACE_STEPS = 10  # what a place costs until it is a hit
_PROBE_STEPS = 2  # of one length at one place
_ALIKE_STEPS = 15  # of telling whether a phrase is what a disguise hides
_MOST_ALIKE = 1000  # phrases under one key
_FEW = 8  # spellings under one key that are a tuple, which the garbage collector passes by
_DISGUISED = Term("", "", 0.95, "")  # strong: looked for in every disguise
_STRICT = Term("", "", 0.5, "")
_NUMBER = re.compile(rb"[0-9]+$")
_VARIATIONS = "\ufe0e\ufe0f"


class Place(NamedTuple):
    """Where an entry was found."""

    id: int
    start: int
    end: int
    disguised: bool = False


class Sought:
    """Which places of patterns are wanted: of each the first that counts, and a few more in all.

    One decides; more are shown. Where entries exempt, `every` place is.
    """

    def __init__(self, counts: Callable[[int, int], bool], *, every: bool = False) -> None:
        self._counts = counts
        self._every = every
        self._more = MOST_SHOWN

    def of(self, places: Iterable[Place]) -> Iterator[Place]:
        """Those of one pattern."""
        found = False
        for place in places:
            if not self._every and not self._counts(place.start, place.end):
                continue
            self._more -= found
            found = True
            yield place
            if not self._every and self._more <= 0:
                return


class Ids(Generic[K]):
    """Ids of entries by what finds them; nearly always one."""

    def __init__(self) -> None:
        self._known: dict[K, int | tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, key: K, id: int) -> None:
        known = self.of(key)
        if id not in known:
            self._known[key] = (*known, id) if known else id

    def remove(self, key: K, id: int) -> None:
        left = tuple(each for each in self.of(key) if each != id)
        if not left:
            self._known.pop(key, None)
        else:
            self._known[key] = left if len(left) > 1 else left[0]

    def of(self, key: K) -> tuple[int, ...]:
        found = self._known.get(key)
        if found is None:
            return ()
        return (found,) if isinstance(found, int) else found


class Rows:
    """Finds sequences of words in a view, by their first word and how many they are."""

    def __init__(self) -> None:
        self._lengths: dict[bytes, tuple[int, ...]] = {}

    def add(self, words: bytes) -> None:
        first, count = words.partition(b" ")[0], words.count(b" ") + 1
        known = self._lengths.get(first, ())
        if count not in known:
            # The same few tuples for everyone: nearly all phrases are one word.
            self._lengths[first] = _ONE if count == 1 and not known else (*known, count)

    def find(self, data: bytes, budget: Budget) -> Iterator[tuple[bytes, int, int]]:
        """Rows of words in `data`, which has one space around each, that may be listed.

        Raises Overrun.
        """
        words = data.split()
        lengths = self._lengths
        if lengths.keys().isdisjoint(words):
            return
        starts = list(accumulate((len(word) + 1 for word in words), initial=1))
        for at, word in enumerate(words):
            counts = lengths.get(word)
            if counts is None:
                continue
            budget.spend(_PROBE_STEPS * len(counts))
            for count in counts:
                if at + count <= len(words):
                    start, end = starts[at], starts[at + count] - 1
                    yield (word if count == 1 else data[start:end]), start, end


_ONE = (1,)


class Spellings(Generic[K]):
    """Spellings of entries by a key; made into what `Disguises` looks up when it asks."""

    def __init__(self) -> None:
        self._known: dict[K, bytes | tuple[bytes, ...] | list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, key: K, words: bytes) -> None:
        known = self._known.get(key)
        if known is None:
            self._known[key] = words
        elif isinstance(known, list):
            if len(known) < _MOST_ALIKE and words not in known:
                known.append(words)
        elif words not in (known := (known,) if isinstance(known, bytes) else known):
            longer = (*known, words)
            self._known[key] = longer if len(longer) < _FEW else list(longer)

    def words(self, key: K) -> Sequence[bytes]:
        known = self._known.get(key)
        return () if known is None else (known,) if isinstance(known, bytes) else known

    def get(self, key: K, default: tuple[()], /) -> list[Entry]:
        return [Entry(_DISGUISED, words, words.replace(b" ", b"")) for words in self.words(key)]


class Phrases(Disguises):
    """Phrases of whole words, with and without their disguises."""

    def __init__(self, alphabet: Alphabet) -> None:
        self._alphabet = alphabet
        self._ids: Ids[bytes] = Ids()
        self._rows, self._folded_rows = Rows(), Rows()
        self._folded: Spellings[bytes] = Spellings()
        self._whole: Spellings[bytes] = Spellings()
        self._exact: Spellings[bytes] = Spellings()
        self._maskable: Spellings[tuple[int, int, int]] = Spellings()
        self._repeats = automaton([bytes([letter]) * 3 for letter in range(97, 123)])

    def add(self, id: int, phrase: str, *, disguises: bool) -> None:
        """Look for a phrase from now on."""
        compacts: set[bytes] = set()
        # What is written together comes first: it also stands for what is written apart.
        for words in sorted(self._forms(phrase, disguises=disguises), reverse=True):
            self._ids.add(words, id)
            self._rows.add(words)
            if disguises:
                self._add_disguises(words, compacts)

    def remove(self, id: int, phrase: str) -> None:
        """Forget an entry."""
        for words in self._forms(phrase, disguises=True):
            self._ids.remove(words, id)

    def find(self, reading: Reading, budget: Budget) -> Iterator[Place]:
        """Every place of every entry, in places of `Reading.raw`. Raises Overrun."""
        ids = self._ids
        origin = None
        for words, start, end in self._rows.find(reading.plain, budget):
            for id in ids.of(words):
                budget.spend(PLACE_STEPS)
                if origin is None:
                    origin = reading.plain_origin
                yield Place(id, int(origin[start]), int(origin[end - 1]) + 1)
        if not len(self._folded):
            return
        for words, start, end in self._disguised(reading, budget):
            if words[-1:].isdigit() and not _ends_alike(words, reading.lower[start:end]):
                continue
            for id in ids.of(words):
                budget.spend(PLACE_STEPS)
                yield Place(id, start, end, disguised=True)

    def _disguised(self, reading: Reading, budget: Budget) -> Iterator[tuple[bytes, int, int]]:
        repeated = self._repeats.find_matches_as_indexes(reading.plain)
        if repeated or "folded" in reading.signs:
            view = reading.folded()
            for folded, start, end in self._folded_rows.find(view.data, budget):
                first, last = int(view.origin[start]), int(view.origin[end])
                alike = self._folded.words(folded)
                budget.spend(_ALIKE_STEPS * len(alike))
                for words in alike:
                    if views.undisguises(reading.signed[first:last], words.replace(b" ", b"")):
                        yield words, first, last
        for hit in self._disguised_hits(reading, budget):
            yield hit.entry.words, hit.start, hit.end

    def _forms(self, phrase: str, *, disguises: bool) -> Iterator[bytes]:
        severity = (_DISGUISED if disguises else _STRICT).severity
        for entry in spellings([Term(phrase, "", severity, "")], self._alphabet):
            yield entry.words

    def _add_disguises(self, words: bytes, known: set[bytes]) -> None:
        folded = views.fold(words)
        self._folded.add(folded, words)
        self._folded_rows.add(folded)
        compact = words.replace(b" ", b"")
        if not 3 <= len(compact) <= LONGEST_RUN or compact in known:
            return
        known.add(compact)
        self._whole.add(folded if compact == words else views.fold(compact), words)
        if len(compact) in INSIDE_LENGTHS:
            self._exact.add(compact, words)
        if compact == words and len(compact) > 3:
            self._maskable.add((len(compact), compact[0], compact[-1]), words)


class Literals:
    """Phrases with symbols, found in any case but otherwise as they are written."""

    def __init__(self) -> None:
        self._ids: Ids[str] = Ids()
        self._lengths: dict[str, tuple[int, ...]] = {}  # by first character

    def add(self, id: int, phrase: str) -> None:
        """Look for a phrase from now on."""
        sign = literal(phrase)
        self._ids.add(sign, id)
        known = self._lengths.get(sign[0], ())
        if len(sign) not in known:
            self._lengths[sign[0]] = (*known, len(sign))

    def remove(self, id: int, phrase: str) -> None:
        """Forget an entry."""
        self._ids.remove(literal(phrase), id)

    def find(self, text: str, budget: Budget) -> Iterator[Place]:
        """Every place of every entry, in the text; a letter at an edge ends a word there.

        Raises Overrun.
        """
        if not self._lengths or self._lengths.keys().isdisjoint(low := lowered(text)):
            return
        places: list[int] | range = range(len(low))
        if "\ufe0f" in low or "\ufe0e" in low:  # say how an emoji is drawn, and are left out often
            places = [at for at, each in enumerate(low) if each not in _VARIATIONS]
            low = "".join(low[at] for at in places)
        for at, first in enumerate(low):
            lengths = self._lengths.get(first, ())
            if lengths:
                budget.spend(_PROBE_STEPS * len(lengths))
            for length in lengths:
                end = at + length
                ids = self._ids.of(low[at:end])
                if ids and end <= len(low) and _stands_alone(low, at, end):
                    for id in ids:
                        budget.spend(PLACE_STEPS)
                        yield Place(id, places[at], places[end - 1] + 1)


def _ends_alike(words: bytes, seen: bytes) -> bool:
    """Whether both end in the same number: `word1` is not what `word11` hides."""
    return [found[0] for found in _NUMBER.finditer(words)] == [
        found[0] for found in _NUMBER.finditer(seen)
    ]


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether no word goes on over the edges of a piece."""
    before = start > 0 and text[start].isalnum() and text[start - 1].isalnum()
    behind = end < len(text) and text[end - 1].isalnum() and text[end].isalnum()
    return not before and not behind
