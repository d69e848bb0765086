"""What an entry of a user list may be, and in which form it is kept.

    phrase     whole words, in any case; with symbols (`c++`, an emoji) exactly as written
    wildcard   whole words with `*` for any letters and `?` for one
    regex      RE2 syntax, over the text as it stands; `(?i)` ignores case
    sha256     exactly this content, by the digest of its UTF-8 bytes or of the image file
    pdq        images whose PDQ hash (64 hex digits) differs in at most 31 of 256 bits
    phash      images whose pHash (16 hex digits) differs in at most 10 of 64 bits

An entry is refused here or it can be matched: nothing that is kept fails later.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, get_args

import msgspec

from penstock.lists.patterns import (
    BadPattern,
    check_regex,
    check_wildcard,
)
from penstock.words.views import Alphabet

EntryKind = Literal["phrase", "wildcard", "regex", "sha256", "pdq", "phash"]

KINDS: tuple[EntryKind, ...] = get_args(EntryKind)
LONGEST_VALUE = 1000  # characters
LONGEST_NOTE = 200
MOST_WORDS = 100  # of one phrase; each CJK character is a word
SHORTEST_END = 2  # letters of a wildcard before or behind its signs, to be looked up by
DIGITS = {"sha256": 64, "pdq": 64, "phash": 16}  # of each kind of hash

_HEX = re.compile(r"[0-9a-fA-F]+")
_SYMBOLS = frozenset("#@*%")


class EntryRefused(Exception):
    """An entry that cannot be matched; says which part of it and why."""

    def __init__(self, field: Literal["kind", "value", "note"], detail: str) -> None:
        super().__init__(detail)
        self.field = field
        self.detail = detail


class NewEntry(msgspec.Struct, frozen=True, gc=False):
    """An entry that was checked, in the form in which it is kept."""

    kind: EntryKind
    value: str
    note: str = ""


class EntryRules:
    """Checks entries. Holds the alphabet that decides what a letter is."""

    def __init__(self) -> None:
        self._alphabet = Alphabet()

    def check(self, kind: str, value: str, note: str = "") -> NewEntry:
        """The entry as it is kept. Raises EntryRefused."""
        if kind not in KINDS:
            raise EntryRefused("kind", f"must be one of {', '.join(KINDS)}")
        if len(value) > LONGEST_VALUE:
            raise EntryRefused("value", f"is longer than {LONGEST_VALUE} characters")
        if not value or value.isspace():
            raise EntryRefused("value", "is empty")
        _check_storable("value", value if kind == "regex" else " ".join(value.split()))
        return NewEntry(_KNOWN[kind], self._checked(kind, value), check_note(note))

    def _checked(self, kind: str, value: str) -> str:
        match kind:
            case "phrase":
                return self._phrase(value)
            case "wildcard":
                return self._wildcard(value)
            case "regex":
                try:
                    check_regex(value)
                except BadPattern as error:
                    raise EntryRefused("value", str(error)) from None
                return value
        return _hash(kind, value)

    def _phrase(self, value: str) -> str:
        phrase = " ".join(unicodedata.normalize("NFC", value).split())
        words = self._alphabet.words(phrase)
        if words.count(b" ") >= MOST_WORDS:
            raise EntryRefused("value", f"has more than {MOST_WORDS} words; use sha256 for a text")
        if not words and not _findable(phrase):
            raise EntryRefused("value", "has no letter, digit or symbol that could be found")
        return phrase

    def _wildcard(self, value: str) -> str:
        pattern = " ".join(unicodedata.normalize("NFC", value).split())
        try:
            check_wildcard(pattern, self._alphabet)
        except BadPattern as error:
            raise EntryRefused("value", str(error)) from None
        return pattern


def is_searched(entry: NewEntry) -> bool:
    """Whether every text is searched for it, because no letters of it can be looked up."""
    match entry.kind:
        case "regex":
            return True
        case "wildcard":
            ends = re.split(r"[*?]", entry.value)
            return " " in entry.value or max(len(ends[0]), len(ends[-1])) < SHORTEST_END
    return False


def is_literal(phrase: str, alphabet: Alphabet) -> bool:
    """Whether a phrase is looked for as written: it has symbols that words do not show."""
    if phrase.replace(" ", "").isalnum() and phrase.isascii():
        return False
    return not alphabet.words(phrase) or any(
        each in _SYMBOLS or (unicodedata.category(each)[0] == "S" and not alphabet.words(each))
        for each in phrase
    )


def _findable(phrase: str) -> bool:
    """Whether a phrase without letters says something: a symbol, or a row of signs."""
    shown = literal(phrase)
    symbols = any(unicodedata.category(each)[0] == "S" or each in _SYMBOLS for each in shown)
    return symbols or len("".join(e for e in shown if unicodedata.category(e)[0] == "P")) > 2


def literal(phrase: str) -> str:
    """The form in which a phrase is looked for as written: small letters, no variation marks."""
    return lowered(phrase).replace("\ufe0f", "").replace("\ufe0e", "").strip()


def lowered(text: str) -> str:
    """Small letters, as many characters as before."""
    low = text.lower()
    if len(low) == len(text):
        return low
    return "".join(small if len(small := each.lower()) == 1 else each for each in text)


def check_note(note: str) -> str:
    """A note as it is kept. Raises EntryRefused."""
    note = " ".join(note.split())
    if len(note) > LONGEST_NOTE:
        raise EntryRefused("note", f"is longer than {LONGEST_NOTE} characters")
    _check_storable("note", note)
    return note


def _check_storable(field: Literal["value", "note"], text: str) -> None:
    if text.isprintable():
        return
    for at, each in enumerate(text, 1):
        if unicodedata.category(each) in ("Cc", "Cs"):
            raise EntryRefused(field, f"has U+{ord(each):04X} at character {at}, which no text has")


def _hash(kind: str, value: str) -> str:
    digest = value.strip()
    if len(digest) != DIGITS[kind] or not _HEX.fullmatch(digest):
        raise EntryRefused("value", f"must be {DIGITS[kind]} hex digits for {kind}")
    return digest.lower()


_KNOWN: dict[str, EntryKind] = {kind: kind for kind in KINDS}
