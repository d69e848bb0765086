"""Which entries are looked for in whose texts.

    for everyone ─┬─ exempting ─┐
                  └─ others     ├─ asked for every text
    of one key ───┬─ exempting ─┤
                  └─ others ────┴─ asked for the texts of this key alone

Each has an index of its own, so that what one owner lists costs others nothing and hides nothing
from them. Exempting entries are found first: what lies inside of them does not count, and of other
patterns one place that counts is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from penstock.lists.matcher import Index, Row
from penstock.words.views import Alphabet, Reading


class Scope(NamedTuple):
    """For whom entries are, and whether they exempt."""

    key_id: str | None
    exempts: bool


EVERYONES: Final = Scope(None, False)
_WORN = 10_000  # removed entries that are not worth a new index


class Scopes:
    """The indexes of all lists. Changes belong to one thread, searches may run in any."""

    def __init__(self) -> None:
        self._alphabet = Alphabet()
        self._indexes: dict[Scope, Index] = {}
        self._elsewhere: dict[int, Scope] = {}  # entries that are not `EVERYONES`
        self._removed = 0

    def __len__(self) -> int:
        return sum(map(len, self._indexes.values()))

    @property
    def worn(self) -> bool:
        """Whether so much was removed that new indexes would be smaller."""
        return self._removed > max(_WORN, len(self))

    def read(self, text: str) -> Reading:
        """The views of a text that all indexes look at."""
        return self._alphabet.read(text)

    def of(self, key: str | None) -> Iterator[tuple[Scope, Index]]:
        """The indexes that count for a key, those that exempt first."""
        if not self._indexes:
            return
        for exempts in (True, False):
            for key_id in (None,) if key is None else (None, key):
                scope = Scope(key_id, exempts)
                index = self._indexes.get(scope)
                if index is not None and len(index):
                    yield scope, index

    def has_patterns(self, key: str | None) -> bool:
        """Whether texts of a key are searched for patterns, which is no work for the loop."""
        return any(index.searched for _, index in self.of(key))

    def add(self, id: int, scope: Scope, row: Row) -> None:
        """Find an entry from now on; one that is known already is left as it is."""
        if scope != EVERYONES:
            self._elsewhere[id] = scope
        index = self._indexes.get(scope)
        if index is None:
            index = self._indexes[scope] = Index(
                self._alphabet, exempts=scope.exempts, bounded=scope.key_id is not None
            )
        index.add(id, row)

    def remove(self, id: int) -> None:
        """Forget an entry; unknown ones are passed over."""
        scope = self._elsewhere.pop(id, EVERYONES)
        index = self._indexes.get(scope)
        if index is None or index.row(id) is None:
            return
        index.remove(id)
        self._removed += 1
        if not len(index):
            del self._indexes[scope]

    def count(self, list_id: str, key_id: str | None) -> int:
        """How many entries of one list of a key are known."""
        return sum(index.count(list_id) for index in self._exactly(key_id))

    def held(self, key_id: str | None, counts: Callable[[str], bool]) -> int:
        """Entries for exactly this key (None: for everyone) in the lists that count."""
        return sum(index.held(counts) for index in self._exactly(key_id))

    def held_by_keys(self, counts: Callable[[str], bool]) -> int:
        """Entries in all lists that are for one key each."""
        return sum(
            index.held(counts)
            for scope, index in list(self._indexes.items())
            if scope.key_id is not None
        )

    def patterns(self, key_id: str | None) -> int:
        """Patterns of exactly this key that its texts are searched for."""
        return sum(index.searched for index in self._exactly(key_id))

    def size(self, key_id: str | None) -> int:
        """Instructions of those patterns. Compiles what is new: not for the loop."""
        return sum(index.size for index in self._exactly(key_id))

    def _exactly(self, key_id: str | None) -> list[Index]:
        scopes = (Scope(key_id, True), Scope(key_id, False))
        return [self._indexes[scope] for scope in scopes if scope in self._indexes]
