"""Which language a text is in, for texts that the local model takes for another than English.

The script decides first: many languages have one of their own, and within Latin, Cyrillic, Arabic
and Devanagari only the languages written in it can be meant. `py3langid` chooses among those; its
data is unpacked at the first question that needs it (0.65 s, 76 MB), then a short text costs 30 us
and a kilobyte 150 us. What is short, mixed or doubtful is "und": no guess is worth a refusal.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

UNKNOWN: Final = "und"
READ: Final = 2_000  # characters: more say nothing new
SURE: Final = 0.5  # less is no answer
MAINLY: Final = 0.7  # the share of letters that must be in one script

_ADDRESS = re.compile(r"(?:https?://|www\.)\S+|[@#]\w+")

# The first code point of each script's block, in order; what no letter is in is "".
_BLOCKS: Final[tuple[tuple[int, str], ...]] = (
    *((0x0000, "Latin"), (0x0370, "Greek"), (0x0400, "Cyrillic"), (0x0530, "Armenian")),
    *((0x0590, "Hebrew"), (0x0600, "Arabic"), (0x0700, ""), (0x0750, "Arabic"), (0x0780, "")),
    *((0x08A0, "Arabic"), (0x0900, "Devanagari"), (0x0980, "Bengali"), (0x0A00, "Gurmukhi")),
    *((0x0A80, "Gujarati"), (0x0B00, "Oriya"), (0x0B80, "Tamil"), (0x0C00, "Telugu")),
    *((0x0C80, "Kannada"), (0x0D00, "Malayalam"), (0x0D80, "Sinhala"), (0x0E00, "Thai")),
    *((0x0E80, "Lao"), (0x0F00, "Tibetan"), (0x1000, "Burmese"), (0x10A0, "Georgian")),
    *((0x1100, "Hangul"), (0x1200, "Ethiopic"), (0x13A0, ""), (0x1780, "Khmer"), (0x1800, "")),
    *((0x1C80, "Cyrillic"), (0x1C90, "Georgian"), (0x1CC0, ""), (0x1E00, "Latin")),
    *((0x1F00, "Greek"), (0x2000, ""), (0x2C60, "Latin"), (0x2C80, ""), (0x2D00, "Georgian")),
    *((0x2D30, ""), (0x2DE0, "Cyrillic"), (0x2E00, ""), (0x3005, "Han"), (0x3040, "Kana")),
    *((0x3100, ""), (0x3130, "Hangul"), (0x3190, ""), (0x31F0, "Kana"), (0x3200, "")),
    *((0x3400, "Han"), (0xA000, ""), (0xA640, "Cyrillic"), (0xA6A0, ""), (0xA720, "Latin")),
    *((0xA800, ""), (0xAC00, "Hangul"), (0xD7B0, ""), (0xF900, "Han"), (0xFB00, "Latin")),
    *((0xFB13, "Armenian"), (0xFB1D, "Hebrew"), (0xFB50, "Arabic"), (0xFE00, "")),
    *((0xFE70, "Arabic"), (0xFF00, "Latin"), (0xFF65, "Kana"), (0xFFA0, "Hangul")),
    *((0xFFE0, ""), (0x20000, "Han"), (0x323B0, "")),
)
_STARTS: Final = tuple(start for start, _ in _BLOCKS)

_ONE_LANGUAGE: Final = {
    "Greek": "el", "Armenian": "hy", "Hebrew": "he", "Bengali": "bn", "Gurmukhi": "pa",
    "Gujarati": "gu", "Oriya": "or", "Tamil": "ta", "Telugu": "te", "Kannada": "kn",
    "Malayalam": "ml", "Sinhala": "si", "Thai": "th", "Lao": "lo", "Tibetan": "bo",
    "Burmese": "my", "Georgian": "ka", "Hangul": "ko", "Ethiopic": "am", "Khmer": "km",
}  # fmt: skip
_LANGUAGES: Final = {
    "Latin": frozenset(
        (
            *("af", "az", "ca", "cs", "cy", "da", "de", "en", "es", "et", "eu", "fi", "fr", "ga"),
            *("gl", "hr", "hu", "id", "is", "it", "lt", "lv", "ms", "mt", "nl", "no", "pl", "pt"),
            *("ro", "sk", "sl", "so", "sq", "sv", "sw", "tl", "tr", "uz", "vi"),
        )
    ),
    "Cyrillic": frozenset(("be", "bg", "kk", "ky", "mk", "mn", "ru", "sr", "tg", "uk")),
    "Arabic": frozenset(("ar", "fa", "ps", "ug", "ur")),
    "Devanagari": frozenset(("hi", "mr", "ne", "sa")),
}
_LEAST: Final = {"Latin": 12, "Cyrillic": 8, "Arabic": 8, "Devanagari": 6}  # letters


class Language(msgspec.Struct, frozen=True):
    """A language by its ISO 639-1 code, or "und", and how sure that is (0..1)."""

    code: str
    confidence: float


_NOBODY_KNOWS: Final = Language(UNKNOWN, 0.0)
_one_at_a_time = threading.Lock()  # two threads must not both unpack the data


def identify(text: str) -> str:
    """The code of a text's language, or "und". The first call may load data: ask in a thread."""
    return likeliest(text).code


def likeliest(text: str) -> Language:
    """The language of a text with how sure that is; one too unsure is "und"."""
    text = _ADDRESS.sub(" ", text[:READ])
    scripts = Counter(filter(None, map(_script, filter(str.isalpha, text))))
    letters = scripts.total()
    if not letters:
        return _NOBODY_KNOWS
    japanese = scripts["Kana"] + scripts["Han"]
    if scripts["Kana"] and japanese >= MAINLY * letters:
        return Language("ja", japanese / letters)
    script, count = scripts.most_common(1)[0]
    share = count / letters
    if share < MAINLY:
        return _NOBODY_KNOWS
    if script == "Han":
        return Language("zh", share) if count > 1 else _NOBODY_KNOWS
    if script in _ONE_LANGUAGE:
        return Language(_ONE_LANGUAGE[script], share)
    if script not in _LANGUAGES or letters < _LEAST[script]:
        return _NOBODY_KNOWS
    return _choose(text, _LANGUAGES[script])


def _choose(text: str, known: frozenset[str]) -> Language:
    """The likeliest of the languages that can be meant."""
    with _one_at_a_time:
        model = _model()
    meant = [(code, share) for code, share in model.rank(text) if code in known]
    total = sum(share for _, share in meant)
    code, share = meant[0]
    confidence = share / total if total else 0.0
    return Language(code, confidence) if confidence >= SURE else Language(UNKNOWN, confidence)


@cache
def _model() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _script(letter: str) -> str:
    return _BLOCKS[bisect_right(_STARTS, ord(letter)) - 1][1]
