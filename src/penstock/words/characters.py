"""What each character reads as, by its looks: the table behind the plain view.

Accents, invisible characters and styles go by Unicode's own decomposition. Look-alikes of other
scripts are listed by hand, by shape and not by sound: Cyrillic `в` looks like b and sounds like v.
The marks of scripts whose vowels are marks stay, or different words would become equal.
"""

from __future__ import annotations

import re
import unicodedata

_LOOKALIKES = {
    "a": "аАαΑɑᴀⱥȺɐꓮᎪ",
    "b": "ЬьЪъвВΒβʙɓƀƃꓐᏴ",
    "c": "сСϲϹςᴄƈȼꓚᏟ¢",
    "d": "ԁԀᴅđĐðÐɖɗꓓᎠժ",
    "e": "еЕεΕєЄᴇɛəҽꓰᎬ℮",
    "f": "ƒꜰϝꓝғҒ",
    "g": "ɡɢԌԍɠᏀꓖց",
    "h": "һҺнНΗʜɦħĦꓧᎻհ",
    "i": "іІιΙıɪɩɨӀӏᎥꓲ",
    "j": "јЈϳͿᴊʝɉꓙᎫյ",
    "k": "кКκΚᴋƙқҚꓗᏦϰ",
    "l": "ʟłŁƚɫɭꓡᏞ",
    "m": "мМΜᴍɱꓟᎷ",
    "n": "пПηΝɴɲƞŋŊոиИꓠ",
    "o": "оОοΟσᴏøØɵөӨօՕꓳ",
    "p": "рРρΡᴘƥþÞҏꓑᏢ",
    "q": "ԛԚɋգ",
    "r": "гГʀɾɍяЯꓣᏒᴦ",
    "s": "ѕЅʂꜱꓢᏚՏ",
    "t": "тТτΤᴛŧŦƭʈꓔᎢ†",
    "u": "υцЦʋᴜμµսՍꓴ",
    "v": "νѵѴᴠꓦᏙ",
    "w": "ωшШщЩԝԜᴡɯꓪᎳ",
    "x": "хХχΧҳꓫ",
    "y": "уУγΥүҮʏɏƴчЧꓬᎩ",
    "z": "ΖζᴢƶȥʐꓜᏃ",
    "ae": "æÆ",
    "oe": "œŒ",
    "!": "¡ǃ",
    "*": "•·●∙⋅★☆✱✲⁎∗‧",
    " ": "™℠ᅟᅠㅤﾠ⠀",
}
_LETTER_BLOCKS = (0x1F130, 0x1F150, 0x1F170)  # squared, negative circled, negative squared: A-Z
_PARENTHESISED = 0x249C
_REGIONAL = 0x1F1E6

# Scripts written without spaces: each character is a word of its own, so that a term of several
# is found anywhere and a Latin word between them keeps its edges.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u2fdf\u3005-\u30ff\u3100-\u318f"
    "\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
# Marks that decorate a letter. Those of other scripts are vowels and tones: dropping them would
# make different words equal.
_DECORATION = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\U000e0100-\U000e01ef"
    "\u180b-\u180d\u17b4\u17b5]"
)
_TABLE_LIMIT = 20_000  # characters remembered; a text of every code point there is stays small
_KNOWN = {each: reading for reading, members in _LOOKALIKES.items() for each in members}


class Characters(dict[int, str]):
    """What each character reads as; fills itself as characters turn up."""

    def __missing__(self, code: int) -> str:
        reading = _read_character(chr(code))
        if len(self) < _TABLE_LIMIT:
            self[code] = reading
        return reading

    def __init__(self) -> None:
        super().__init__((code, chr(code)) for code in range(0x80))
        for reading, characters in _LOOKALIKES.items():
            self.update((ord(character), reading) for character in characters)
        for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
            self.update((block + index, letter) for block in _LETTER_BLOCKS)
            self[_PARENTHESISED + index] = letter
            self[_REGIONAL + index] = f" {letter} "


def _read_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf" or _DECORATION.match(character):
        return ""
    if category in ("Cs", "Co", "Cn", "Cc", "No", "Sk") or category[0] == "Z":
        return " "
    if category == "Pd":
        return "-"
    if _UNSPACED.match(character):
        return f" {character} "
    if category == "Nd":
        return str(unicodedata.digit(character))
    simple = unicodedata.normalize("NFKD", character)
    if simple == character:
        simple = character.casefold()
    if simple != character:
        return "".join(_KNOWN.get(each) or _read_character(each) for each in simple)
    return character if category[0] in "LM" else " "
