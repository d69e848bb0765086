"""One text in the plainest characters that still stand where they stood.

Every character becomes one: full-width, styled, circled and foreign digits are ASCII digits,
accents are dropped, look-alike letters, dots, dashes and at-signs are the ones they pass for.
Invisible characters are left out; only then places have to be led back.
"""

from __future__ import annotations

import unicodedata

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
_BLANKS = ("Zs", "Zl", "Zp", "Cs", "Co", "Cn")
_MARKS = ("Mn", "Me", "Cf")
_TABLE_LIMIT = 20_000  # characters remembered


class Looks(dict[int, str]):
    """What each character passes for: one character, or none; fills itself as they turn up."""

    def __init__(self) -> None:
        super().__init__((code, chr(code)) for code in range(0x80))
        for plain, others in _PASSES_FOR.items():
            self.update((ord(other), plain) for other in others)

    def __missing__(self, code: int) -> str:
        plain = _plain(chr(code))
        if len(self) < _TABLE_LIMIT:
            self[code] = plain
        return plain


class Reading:
    """A text to look through: `cased` and `lower` are as long as one another."""

    def __init__(self, text: str, looks: Looks) -> None:
        self.text = text
        self.cased = text if text.isascii() else text.translate(looks)
        self.lower = self.cased.lower()
        self._looks = looks
        self._origin: list[int] | None = None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Lead a piece of the reading back to the text."""
        if len(self.cased) == len(self.text):
            return start, end
        if self._origin is None:
            seen = self._looks
            self._origin = [at for at, each in enumerate(self.text) if seen[ord(each)]]
        return self._origin[start], self._origin[end - 1] + 1


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
