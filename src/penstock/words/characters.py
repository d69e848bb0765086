"""What each character reads as, by its looks: the table behind the plain view.

Accents, invisible characters and styles go by Unicode's own decomposition. Look-alikes of other
scripts are listed by hand, by shape and not by sound: Cyrillic `в` looks like b and sounds like v.
The marks of scripts whose vowels are marks stay, or different words would become equal.

What shows nothing is dropped: formatting and control characters, and what only stretches a word.
Punctuation, symbols and blanks that are no spaces become `MARK` (or the ASCII mark they look like):
it ends a word, and a word that it was put into is still read as one where disguises are undone.
"""

from __future__ import annotations

import re
import unicodedata

MARK = "\x01"
"""What stands for a sign of no other meaning: no text has it, as control characters are dropped."""

_LOOKALIKES = {
    "a": "аАαΑɑᴀⱥȺɐꓮᎪᗩᗅⲁ",
    "b": "ЬьЪъвВΒβʙɓƀƃꓐᏴᏏᗷⲃᛒ",
    "c": "сСϲϹςᴄƈȼꓚᏟ¢ᑕⲥ",
    "d": "ԁԀᴅđĐðÐɖɗꓓᎠժᏧᗪ",
    "e": "еЕεΕєЄᴇɛəҽꓰᎬ℮ᗴᕮⲉ",
    "f": "ƒꜰϝꓝғҒᖴ",
    "g": "ɡɢԌԍɠᏀꓖցᏳᎶᘜ",
    "h": "һҺнНΗʜɦħĦꓧᎻհᏂᕼⲏ",
    "i": "іІιΙıɪɩɨӀӏᎥꓲᏆⲓᛁ",
    "j": "јЈϳͿᴊʝɉꓙᎫյᒍᒎȷ",
    "k": "кКκΚᴋƙқҚꓗᏦϰᛕⲕ",
    "l": "ʟłŁƚɫɭꓡᏞᒪլԼ",
    "m": "мМΜᴍɱꓟᎷᗰⲙᛖ",
    "n": "пПηΝɴɲƞŋŊոиИꓠᏁᑎⲛ",
    "o": "оОοΟσᴏøØɵөӨօՕꓳᎾⲟ",
    "p": "рРρΡᴘƥþÞҏꓑᏢᑭⲣ",
    "q": "ԛԚɋգᑫ",
    "r": "гГʀɾɍяЯꓣᏒᴦᎡᎱᖇᚱⲅ",
    "s": "ѕЅʂꜱꓢᏚՏᏕᔕƨ",
    "t": "тТτΤᴛŧŦƭʈꓔᎢ†ⲧ",
    "u": "υцЦʋᴜμµսՍꓴᏌᑌ",
    "v": "νѵѴᴠꓦᏙᐯ",
    "w": "ωшШщЩԝԜᴡɯꓪᎳᏔᗯ",
    "x": "хХχΧҳꓫ᙭ⲭᚷ",
    "y": "уУγΥүҮʏɏƴчЧꓬᎩᎽᖻⲩ",
    "z": "ΖζᴢƶȥʐꓜᏃⲍ",
    "ae": "æÆ",
    "oe": "œŒ",
    "!": "¡ǃ",
    "*": "•·●∙⋅★☆✱✲⁎∗‧",
    "|": "ǀ",
    "'": "’‘‛′´ʹʻʼʽʾʿˈˊˋʹ",
}
_STRETCHES = "\u0640\u07fa"  # kashida: letters that make a word longer and nothing else
# Blanks that count as letters or symbols, and signs that count as letters or are made of some.
_BLANKS = "\u115f\u1160\u3164\uffa0\u2800"
_SIGNS = "™℠\u02ba\u02c0\u02c1\u02c6\u02c7\u02c9\u02cc\u02cd\u02ce\u02cf\u02d0\u02d1\u02ec\u02ee"
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
    "\u180b-\u180d\u180f\u17b4\u17b5\U0001d165-\U0001d1ad]"
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
        super().__init__((code, _read_character(chr(code))) for code in range(0x80))
        for reading, characters in _LOOKALIKES.items():
            self.update((ord(character), reading) for character in characters)
        for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
            self.update((block + index, letter) for block in _LETTER_BLOCKS)
            self[_PARENTHESISED + index] = letter
            self[_REGIONAL + index] = f" {letter} "


def _read_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cc" and character not in "\t\n\r":
        return MARK if character.isspace() else ""
    if character.isascii():
        return character
    if category == "Cf" or character in _STRETCHES or _DECORATION.match(character):
        return ""
    if category == "Zs":
        return " "
    if category in _MARKS or character in _BLANKS or character in _SIGNS:
        return MARK
    if category == "Pd":
        return "-"
    if category[0] not in "PS" and _UNSPACED.match(character):
        return f" {character} "
    if category == "Nd":
        return str(unicodedata.digit(character))
    simple = unicodedata.normalize("NFKD", character)
    if simple == character:
        simple = character.casefold()
    if simple != character:
        read = "".join(_KNOWN.get(each) or _read_character(each) for each in simple)
        return read if read.strip() else MARK
    return character if category[0] in "LM" else MARK


_MARKS = frozenset(("Cs", "Co", "Cn", "No", "Sk", "Zl", "Zp"))
