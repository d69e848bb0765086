"""How much lists may hold: each key a little, the installation much, neither at others' cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from penstock.errors import Conflict
from penstock.lists.entries import NewEntry, is_searched
from penstock.lists.managed import is_managed
from penstock.lists.patterns import instructions, wildcard_regex, wildcard_words
from penstock.lists.scopes import Scopes
from penstock.words.views import Alphabet


class Quota(NamedTuple):
    """What the lists for everyone, or for one key, may hold together."""

    lists: int
    entries: int
    patterns: int
    size: int | None = None  # instructions of all patterns


EVERYONES: Final = Quota(lists=1_000, entries=1_000_000, patterns=5_000)
KEYS: Final = Quota(lists=20, entries=50_000, patterns=200, size=10_000)
ALL_KEYS: Final = 1_000_000  # entries of the lists of all keys: what memory can hold


def quota_of(key_id: str | None) -> Quota:
    """What the lists of a key may hold; of None, those for everyone."""
    return EVERYONES if key_id is None else KEYS


def whose(key_id: str | None) -> str:
    """The lists that a quota is about, in words."""
    return "the lists for everyone" if key_id is None else f"the lists for the key {key_id}"


class Room:
    """Says whether entries can be added. Managed lists, which people's decisions fill, are free."""

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes

    def check(self, key_id: str | None, entries: Sequence[NewEntry]) -> None:
        """Refuse entries for which there is no room. Compiles patterns: not for the loop."""
        quota, told = quota_of(key_id), whose(key_id)
        held = self._scopes.held(key_id, _counts)
        if held + len(entries) > quota.entries:
            raise Conflict(
                f"{told} hold {held} entries; {len(entries)} more would be over the quota of "
                f"{quota.entries}: remove some"
                + ("" if key_id is None else ", or ask an admin for a list that is for everyone")
            )
        if key_id is not None:
            of_keys = self._scopes.held_by_keys(_counts)
            if of_keys + len(entries) > ALL_KEYS:
                raise Conflict(
                    f"the lists for all keys together hold {of_keys} entries of {ALL_KEYS}; "
                    "an admin has to remove some"
                )
        self._check_patterns(key_id, entries)

    def _check_patterns(self, key_id: str | None, entries: Sequence[NewEntry]) -> None:
        quota, told = quota_of(key_id), whose(key_id)
        if key_id is None:
            new = [entry for entry in entries if is_searched(entry)]
        else:
            new = [entry for entry in entries if entry.kind in ("regex", "wildcard")]
        held = self._scopes.patterns(key_id)
        if new and held + len(new) > quota.patterns:
            raise Conflict(
                f"{told} hold {held} patterns that every text is searched for; {len(new)} more "
                f"would be over the quota of {quota.patterns}: use phrases"
                + (", or wildcards that begin or end with two letters" if key_id is None else "")
            )
        if new and quota.size is not None:
            size = self._scopes.size(key_id)
            more = _size(new)
            if size + more > quota.size:
                raise Conflict(
                    f"the patterns of {told} have {size} instructions; {more} more would be over "
                    f"the quota of {quota.size}: count less ({{n,m}}), or use phrases"
                )


def _counts(list_id: str) -> bool:
    return not is_managed(list_id)


def _size(entries: Sequence[NewEntry]) -> int:
    alphabet = Alphabet()
    return sum(
        instructions(
            entry.value
            if entry.kind == "regex"
            else wildcard_regex(wildcard_words(entry.value, alphabet))
        )
        for entry in entries
    )
