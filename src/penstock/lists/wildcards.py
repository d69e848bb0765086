"""Listed wildcards: `bad*`, `*ware`, `f?ul`, `kill * now`, over the words of a text.

A wildcard that is one word with two known letters at its beginning or end is looked up by them,
and only then tried; all others share one automaton, and so do all of a key's own, which are few.
In lists with disguises single words are also tried with their disguise undone: leet, repeats, marks
and spaces between letters.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from penstock.lists.patterns import Patterns, compile_pattern, wildcard_regex
from penstock.lists.words import PLACE_STEPS, Place, Sought
from penstock.words.budget import Budget
from penstock.words.disguises import LONGEST_RUN, MARKS, joined_pieces
from penstock.words.views import Reading

_KNOWN_LETTERS = 2  # bytes at an end by which a wildcard is looked up
_MOST_UNDER_ONE = 64  # wildcards under the same letters; more go to the automaton
_MOST_COMPILED = 4096
_TRIAL_STEPS = 10  # of one wildcard on one word
_MOST_CANDIDATES = 2000  # words with a disguise that are looked at in one text
_DISGUISED = re.compile(rb"[a-z0-9\x80-\xff@$!|+]{3,48}")
_LETTERS = re.compile(rb"[^0-9@$!|+]")
_SIGNS = b"01!|345@$7+89"
_LEET_I = bytes.maketrans(_SIGNS, b"oiiieasasttbg")
_LEET_L = bytes.maketrans(_SIGNS, b"ollleasasttbg")
_RUN = re.compile(rb"(.)\1\1+", re.DOTALL)


class _Word(NamedTuple):
    """A word and its place in `Reading.raw`."""

    letters: bytes
    start: int
    end: int


class Wildcards:
    """Wildcards under ids, in the form that `wildcard_words` gives.

    Those of strangers are `bounded`: one automaton whose work is weighed before it runs.
    """

    def __init__(self, *, bounded: bool = False) -> None:
        self._bounded = bounded
        self._words: dict[int, bytes] = {}
        self._beginnings: dict[bytes, list[int]] = {}
        self._endings: dict[bytes, list[int]] = {}
        self._lengths: tuple[int, ...] = ()  # of beginnings and endings
        self._others = Patterns(latin=True, weighed=bounded)
        self._compiled: dict[int, Any] = {}

    @property
    def searched(self) -> int:
        """How many cannot be looked up."""
        return len(self._others)

    @property
    def size(self) -> int:
        """Instructions of those. Compiles what is new: not for the loop."""
        return self._others.size

    def add(self, id: int, words: bytes) -> None:
        """Look for a wildcard from now on."""
        self._words[id] = words
        bucket = self._bucket(words)
        if bucket is None:
            self._others.add(id, wildcard_regex(words))
        elif id not in bucket:
            bucket.append(id)

    def remove(self, id: int) -> None:
        """Forget a wildcard; unknown ids are passed over."""
        words = self._words.pop(id, None)
        if words is None:
            return
        self._compiled.pop(id, None)
        self._others.remove(id)
        for table, key in ((self._beginnings, _head(words)), (self._endings, _tail(words))):
            if id in (bucket := table.get(key, [])):
                bucket.remove(id)

    def find(
        self, reading: Reading, budget: Budget, sought: Sought, *, disguises: bool
    ) -> Iterator[Place]:
        """The places of every wildcard, in places of `Reading.raw`. Raises Overrun."""
        if not self._words:
            return
        plain = reading.plain
        if known := self._lookup(plain.split(), budget):
            for word in _words(reading):
                for id in known.get(word.letters, ()):
                    budget.spend(PLACE_STEPS)
                    yield Place(id, word.start, word.end)
        for id, found in self._others.find(plain, budget):
            origin = reading.plain_origin
            yield from sought.of(
                Place(id, int(origin[start + 1]), int(origin[end - 2]) + 1) for start, end in found
            )
        if disguises:
            yield from self._disguised(reading, budget, sought)

    def _disguised(self, reading: Reading, budget: Budget, sought: Sought) -> Iterator[Place]:
        words = list(_undisguised(reading))
        if not words:
            return
        known = self._lookup((word.letters for word in words), budget)
        for word in words:
            for id in known.get(word.letters, ()):
                budget.spend(PLACE_STEPS)
                yield Place(id, word.start, word.end, disguised=True)
        # One line each, which no wildcard goes across.
        data = b"".join(b" %b \n" % word.letters for word in words)
        starts = list(accumulate((len(word.letters) + 3 for word in words), initial=0))
        for id, found in self._others.find(data, budget):
            hits = (words[bisect_right(starts, start) - 1] for start, _ in found)
            yield from sought.of(Place(id, word.start, word.end, disguised=True) for word in hits)

    def _bucket(self, words: bytes) -> list[int] | None:
        if b" " in words or self._bounded:
            return None
        for table, key in ((self._beginnings, _head(words)), (self._endings, _tail(words))):
            if len(key) >= _KNOWN_LETTERS and len(table.get(key, ())) < _MOST_UNDER_ONE:
                if len(key) not in self._lengths:
                    self._lengths = tuple(sorted((*self._lengths, len(key))))
                return table.setdefault(key, [])
        return None

    def _lookup(self, words: Iterable[bytes], budget: Budget) -> dict[bytes, list[int]]:
        """Ids of the wildcards that each of these words is one of; words without any are absent."""
        if not self._lengths:
            return {}
        distinct, likely = set(words), defaultdict[bytes, set[int]](set)
        budget.spend(len(distinct) * len(self._lengths))
        for length in self._lengths:
            # Looked up as sets first: hardly any word begins or ends like a wildcard.
            if not self._beginnings.keys().isdisjoint({word[:length] for word in distinct}):
                for word in distinct:
                    likely[word].update(self._beginnings.get(word[:length], ()))
            if not self._endings.keys().isdisjoint({word[-length:] for word in distinct}):
                for word in distinct:
                    likely[word].update(self._endings.get(word[-length:], ()))
        budget.spend(_TRIAL_STEPS * sum(map(len, likely.values())))
        found = {
            word: [id for id in sorted(ids) if self._is_one(id, word)]
            for word, ids in likely.items()
            if ids
        }
        return {word: ids for word, ids in found.items() if ids}

    def _is_one(self, id: int, word: bytes) -> bool:
        pattern = self._compiled.get(id)
        if pattern is None:
            words = self._words.get(id)
            if words is None:
                return False
            if len(self._compiled) >= _MOST_COMPILED:
                self._compiled.clear()
            pattern = self._compiled[id] = compile_pattern(wildcard_regex(words))
        return pattern.search(b" %b " % word) is not None


def _head(words: bytes) -> bytes:
    return re.split(rb"[*?]", words, maxsplit=1)[0]


def _tail(words: bytes) -> bytes:
    return re.split(rb"[*?]", words)[-1]


def _words(reading: Reading) -> Iterator[_Word]:
    origin, start = reading.plain_origin, 1
    for word in reading.plain.split():
        end = start + len(word)
        yield _Word(word, int(origin[start]), int(origin[end - 1]) + 1)
        start = end + 1


def _undisguised(reading: Reading) -> Iterator[_Word]:
    """What disguised words of a text may be; a word may be several."""
    for count, word in enumerate(_candidates(reading)):
        if count == _MOST_CANDIDATES:
            return
        yield word


def _candidates(reading: Reading) -> Iterator[_Word]:
    signs = reading.signs
    if "folded" in signs or _RUN.search(reading.plain):
        for found in _DISGUISED.finditer(reading.signed):
            word = found[0]
            if len(word) == len(word.translate(None, _SIGNS)) and not _RUN.search(word):
                continue
            for letters in _readings(word):
                yield _Word(letters, found.start(), found.end())
    if "folded" in signs:
        for span in reading.numbered():
            yield _Word(span.letters, span.start, span.end)
    if "tokens" in signs:
        for span in reading.tokens():
            joined = span.letters.translate(None, MARKS)
            if 2 < len(joined) < len(span.letters) and joined.isalnum():
                yield _Word(joined, span.start, span.end)
    if "marked" in signs:
        for span in reading.marked():
            if len(span.letters) > 2:
                yield _Word(span.letters, span.start, span.end)
    if "spelled" in signs:
        for run in reading.spelled():
            for piece in joined_pieces(run):
                if len(piece.letters) <= LONGEST_RUN:
                    yield _Word(piece.letters, piece.start, piece.end)


def _readings(word: bytes) -> set[bytes]:
    """A word with signs read as letters and long runs made short; empty when it has neither."""
    letters = len(_LETTERS.findall(word))
    if letters < 2 or letters * (2 if len(word) <= 4 else 3) < len(word):
        return set()
    leet = {word.translate(_LEET_I), word.translate(_LEET_L)}
    shorter = {_RUN.sub(again, each) for each in leet for again in (rb"\1", rb"\1\1")}
    return {each for each in leet | shorter if each != word and len(each) > 2}
