"""One text in the plainest characters that still stand where they stood.

Every character becomes one: full-width, styled, circled and foreign digits are ASCII digits,
accents are dropped, look-alike letters, dots, dashes and at-signs are the ones they pass for.
Invisible characters are left out; only then places have to be led back.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_PASSES_FOR = {
    "a": "аɑα",
    "c": "сϲ",
    "e": "еєҽ",
    "h": "һ",
    "i": "іıɩ",
    "j": "јϳ",
    "k": "κ",
    "l": "ӏǀ",
    "m": "м",
    "n": "ո",
    "o": "оοօ",
    "p": "рρ",
    "s": "ѕ",
    "t": "т",
    "u": "υս",
    "v": "ν",
    "x": "хχ",
    "y": "уγ",
    "A": "АΑ",
    "B": "ВΒ",
    "C": "СϹ",
    "E": "ЕΕ",
    "H": "НΗ",
    "I": "ІΙӀ",
    "K": "КΚ",
    "M": "МΜ",
    "N": "Ν",
    "O": "ОΟ",
    "P": "РΡ",
    "S": "Ѕ",
    "T": "ТΤ",
    "X": "ХΧ",
    "Y": "УΥ",
    ".": "。·∙‧٫۔",
    "-": "−⁃",
    "/": "⁄∕",
    ":": "∶ː",
    "+": "➕",
    "@": "ⓐ",
    "'": "’‘",
}
_BLANKS = ("Zs", "Zl", "Zp")
_UNUSED = ("Cs", "Co", "Cn")
_MARKS = ("Mn", "Me", "Cf")
_UNCHANGED = frozenset(  # blocks of 256 in which nothing passes for anything else
    (*range(0x34, 0xA0), *range(0xAC, 0xD8), *range(0x200, 0x2F8), *range(0x300, 0x334))
)


class Looks(dict[int, str]):
    """What each character passes for: one character, or none; fills itself as they turn up.

    What would fill it is left out: ideographs, and what is no character at all. The rest of Unicode
    is some 45,000 characters.
    """

    def __init__(self) -> None:
        super().__init__((code, chr(code)) for code in range(0x80))
        for plain, others in _PASSES_FOR.items():
            self.update((ord(other), plain) for other in others)

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if code >> 8 in _UNCHANGED:
            return character
        if unicodedata.category(character) in _UNUSED:
            return " "
        self[code] = plain = _plain(character)
        return plain


class Reading:
    """A text to look through, in capitals and small letters as they are."""

    def __init__(self, text: str, looks: Looks) -> None:
        self.text = text
        self.cased = text if text.isascii() else text.translate(looks)
        self._looks = looks

    def origins(self) -> Sequence[int]:
        """Where every character of the reading stands in the text."""
        if len(self.cased) == len(self.text):
            return range(len(self.text))
        seen = self._looks
        return [at for at, each in enumerate(self.text) if seen[ord(each)]]


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category in _MARKS:
        return ""
    if category in _BLANKS:
        return " "
    if category == "Pd":
        return "-"
    if category == "Nd":
        return str(unicodedata.digit(character))
    bare = [
        each
        for each in unicodedata.normalize("NFKD", character)
        if unicodedata.category(each) not in _MARKS
    ]
    # Anything that would become longer keeps its own look: places must not move.
    return bare[0] if len(bare) == 1 else character
