"""What an allow list may take out of the count: what is spelled as it is listed, and nothing more.

A reader of disguises sees `bаd` with a Cyrillic letter as `bad`. To block it that is right; to let
it pass it would be a gift: what is spelled evasively earns no exemption.
"""

from __future__ import annotations

import unicodedata
from typing import Final

MOST_AROUND: Final = 20  # characters beside an allowed piece that is still the whole text

_AROUND: Final = frozenset(" \t\r\n\u00a0\u202f\u3000.,;:!?…'\"“”‘’„‚«»‹›()[]-–—。、！？「」")
_BLANKS: Final = frozenset("\t\r\n")
_DRAWN: Final = "\ufe0e\ufe0f"  # say how an emoji is drawn


def is_whole(start: int, end: int, text: str) -> bool:
    """Whether a piece is all of a text but for blanks and a few everyday marks around it."""
    if len(text) - (end - start) > MOST_AROUND:
        return False
    return _AROUND.issuperset(text[:start]) and _AROUND.issuperset(text[end:])


def is_as_listed(piece: str, value: str) -> bool:
    """Whether a piece that reads like an entry also looks like it.

    Every letter must be of a script that the entry has; beside letters there may be blanks and
    punctuation, and what the entry has itself.
    """
    if piece.isascii() and piece.isprintable() and value.isascii():
        return True
    piece, value = unicodedata.normalize("NFC", piece), unicodedata.normalize("NFC", value)
    own = frozenset(value)
    scripts = frozenset(_script(each) for each in value if each.isalpha())
    before = ""
    for each in piece:
        if each not in own and not _is_ordinary(each, before, scripts):
            return False
        before = each
    return True


def _is_ordinary(character: str, before: str, scripts: frozenset[str]) -> bool:
    if character in _DRAWN:
        return before not in _DRAWN
    category = unicodedata.category(character)
    if category[0] == "L":
        return _script(character) in scripts
    if category[0] == "M":  # vowels and tones of scripts that have them
        return _script(character) in scripts
    return category in ("Nd", "Zs") or category[0] == "P" or character in _BLANKS


def _script(character: str) -> str:
    """The first word of a letter's name; of Latin only what has ASCII letters under its accents."""
    if character.isascii():
        return "LATIN"
    name = unicodedata.name(character, "").partition(" ")[0]
    if name != "LATIN":
        return name
    return name if unicodedata.normalize("NFD", character)[0].isascii() else character
