"""Finds the entries of some user lists in one text or image.

    text ─┬─ words, their disguises ── phrases, wildcards
          ├─ as it stands ──────────── symbols, regular expressions
          └─ SHA-256 ───────────────── exact content
    image ── SHA-256, PDQ, pHash ───── exact and near hashes

An `Index` learns and forgets entries one by one while it is in use, so that a new word costs
microseconds and nothing is ever compiled twice. It knows entries and where they are; which index is
asked for whom is `scopes`' matter, what a hit means `listed`'s.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from penstock.lists.entries import EntryKind, is_literal
from penstock.lists.patterns import Patterns, wildcard_words
from penstock.lists.wildcards import Wildcards
from penstock.lists.words import Ids, Literals, Phrases, Place, Sought
from penstock.words import views
from penstock.words.budget import Budget
from penstock.words.views import Alphabet, Reading

PDQ_DISTANCE = 31  # of 256 bits, as its authors recommend
PHASH_DISTANCE = 10  # of 64 bits
MOST_NEAR = 256  # images of the lists that are near one image

_FOREIGN = 0.5  # share of letters from which a text is in another script


class Row(msgspec.Struct, frozen=True, gc=False):
    """An entry as the index keeps it: many, and nothing for the garbage collector to walk."""

    list_id: str
    kind: EntryKind
    value: str
    disguises: bool


class Index:
    """Entries, ready to be found. Changes belong to one thread, searches may run in any.

    `exempts`: of allow lists, whose entries are found at every place and never in disguise.
    `bounded`: of one key, whose patterns may have been made to cost much.
    """

    def __init__(self, alphabet: Alphabet, *, exempts: bool = False, bounded: bool = False) -> None:
        self._alphabet = alphabet
        self._exempts = exempts
        self._rows: dict[int, Row] = {}
        self._phrases = Phrases(self._alphabet)
        self._literals = Literals()
        self._wildcards = Wildcards(bounded=bounded)
        self._regexes = Patterns(latin=False, weighed=bounded)
        self._digests: Ids[bytes] = Ids()
        self._near: dict[str, Any] = {}  # HashIndex by kind, once there is one
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def searched(self) -> int:
        """Patterns that every text is searched for; the others are looked up."""
        return len(self._regexes) + self._wildcards.searched

    @property
    def size(self) -> int:
        """Instructions of those patterns. Compiles what is new: not for the loop."""
        return self._regexes.size + self._wildcards.size

    def count(self, list_id: str) -> int:
        """How many entries of one list are known."""
        return self._counts[list_id]

    def held(self, counts: Callable[[str], bool]) -> int:
        """Entries of the lists that count."""
        return sum(count for list_id, count in list(self._counts.items()) if counts(list_id))

    def row(self, id: int) -> Row | None:
        """An entry, unless it is gone."""
        return self._rows.get(id)

    def add(self, id: int, row: Row) -> None:
        """Find an entry from now on; one that is known already is left as it is."""
        if id in self._rows:
            return
        self._rows[id] = row
        self._counts[row.list_id] += 1
        match row.kind:
            case "phrase" if is_literal(row.value, self._alphabet):
                self._literals.add(id, row.value)
            case "phrase":
                disguises = row.disguises and not self._exempts
                self._phrases.add(id, row.value, disguises=disguises)
            case "wildcard":
                self._wildcards.add(id, wildcard_words(row.value, self._alphabet))
            case "regex":
                self._regexes.add(id, row.value)
            case "sha256":
                self._digests.add(bytes.fromhex(row.value), id)
            case _:
                self._hashes(row.kind).add(str(id), bytes.fromhex(row.value))

    def remove(self, id: int) -> None:
        """Forget an entry; unknown ones are passed over."""
        row = self._rows.pop(id, None)
        if row is None:
            return
        self._counts[row.list_id] -= 1
        match row.kind:
            case "phrase" if is_literal(row.value, self._alphabet):
                self._literals.remove(id, row.value)
            case "phrase":
                self._phrases.remove(id, row.value)
            case "wildcard":
                self._wildcards.remove(id)
            case "regex":
                self._regexes.remove(id)
            case "sha256":
                self._digests.remove(bytes.fromhex(row.value), id)
            case _:
                pass  # a hash without an entry leads nowhere; removing it would copy all others

    def find(
        self,
        text: str,
        reading: Reading,
        budget: Budget,
        counts: Callable[[int, int], bool] | None = None,
    ) -> Iterator[Place]:
        """Places in the text's own offsets; an exact one holds all of it, and comes first.

        Of patterns those that `counts` says yes to, at least one of each that has any. Raises
        Overrun.
        """
        if len(self._digests) and not text.startswith("\0"):  # which stands for other content
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
            yield from (Place(id, 0, len(text)) for id in self._digests.of(digest))
        yield from self._literals.find(text, budget)
        counts = counts or _always
        foreign = views.foreign_share(text) > _FOREIGN
        # Where words are passed over that only look like the entry, the first place may be none.
        sought = Sought(
            lambda start, end: counts(*reading.original(start, end)),
            every=self._exempts or foreign,
        )
        for place in self._in_words(reading, budget, sought):
            found = _originally(place, reading)
            if not foreign or not self._is_foreign(found, text):
                yield found
        yield from self._in_text(text, reading, budget, Sought(counts, every=self._exempts))

    def find_digest(self, digest: bytes) -> tuple[int, ...]:
        """Entries of exactly this content."""
        return self._digests.of(digest)

    def find_near(self, kind: EntryKind, hashes: Sequence[bytes]) -> list[int]:
        """Entries whose image is near one of these hashes, the nearest first."""
        index = self._near.get(kind)
        if index is None or not hashes:
            return []
        distance = PDQ_DISTANCE if kind == "pdq" else PHASH_DISTANCE
        return [int(near.id) for near in index.nearest(hashes, distance=distance, most=MOST_NEAR)]

    def _in_words(self, reading: Reading, budget: Budget, sought: Sought) -> Iterator[Place]:
        yield from self._phrases.find(reading, budget)
        yield from self._wildcards.find(reading, budget, sought, disguises=not self._exempts)

    def _in_text(
        self, text: str, reading: Reading, budget: Budget, sought: Sought
    ) -> Iterator[Place]:
        """Places of regular expressions: in the text as it stands, and with look-alikes undone."""
        if not len(self._regexes):
            return
        data = text.encode("utf-8", "replace")
        offsets = _Offsets(text, data)
        for id, found in self._regexes.find(data, budget):
            yield from sought.of(Place(id, *offsets.of(start, end)) for start, end in found)
        if reading.raw == data or self._exempts:
            return
        for id, found in self._regexes.find(reading.raw, budget):
            places = (Place(id, start, end, disguised=True) for start, end in found)
            yield from sought.of(_originally(place, reading) for place in places)

    def _is_foreign(self, place: Place, text: str) -> bool:
        """Whether a word of another script only looks like the entry."""
        row = self._rows.get(place.id)
        if row is None or not row.value.isascii():
            return False
        letters = [each for each in text[place.start : place.end] if each.isalpha()]
        return all("\u0370" <= each <= "\u058f" for each in letters)

    def _hashes(self, kind: EntryKind) -> Any:
        index = self._near.get(kind)
        if index is None:
            from penstock.images import HashIndex

            index = self._near[kind] = HashIndex(256 if kind == "pdq" else 64)
        return index


class _Offsets:
    """Leads from UTF-8 back to characters; counts them when there is something to lead back."""

    def __init__(self, text: str, data: bytes) -> None:
        self._data = data
        self._equal = len(text) == len(data)
        self._at: Any = None

    def of(self, start: int, end: int) -> tuple[int, int]:
        """The characters of a piece; those that it cuts, as `any byte` of RE2 can, are in it."""
        if self._equal:
            return start, end
        if self._at is None:
            begins = (np.frombuffer(self._data, np.uint8) & 0xC0) != 0x80
            self._at = np.concatenate(([0], np.cumsum(begins)))
        return max(0, int(self._at[start + 1]) - 1), int(self._at[end])


def _always(start: int, end: int) -> bool:
    return True


def _originally(place: Place, reading: Reading) -> Place:
    start, end = reading.original(place.start, place.end)
    return place._replace(start=start, end=end)
