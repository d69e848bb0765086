"""What the linear models see of a text: normalised tokens and the hashes of their features.

Training and serving both read texts through this file, so a model never meets a feature that was
made differently. A feature is a 32-bit hash with the position of the token it belongs to; nothing
is remembered between texts.

    word        the token itself, and its fold class (`muslims` -> GROUP), when it has one
    characters  in-word n-grams of 2 to 5 characters, word boundaries included
    pairs       neighbouring tokens; and, with fold classes in place of words and at least one
                class among them: neighbours, tokens up to four apart, triples of neighbours

Folding lets what was learnt about one group, pronoun or negation hold for the others; the words
stay beside it. Everything is computed on whole arrays: at 1 kB a Python loop over the n-grams took
five times as long.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Hashes: TypeAlias = npt.NDArray[np.uint32]
Positions: TypeAlias = npt.NDArray[np.int64]
_Raw: TypeAlias = npt.NDArray[np.uint64]

SPEC = "words+chars2-5+pairs/1"  # changes whenever the same text would give other hashes
LONGEST_SKIP = 4
KINDS = ("word", "class", "chars", "bigram", "folded", "skip", "triple")

_URL = re.compile(r"(?:https?://|www\.)\S+")
_USER = re.compile(r"@\w+")
_NUMBER = re.compile(r"\b\d+(?:[.,:]\d+)*\b")
_REPEAT = re.compile(r"([^\W\d_])\1{2,}")
_TOKEN = re.compile(r"[^\W_]{1,40}(?:['*][^\W_]{1,18})?|[^\w\s]")
_ASCII_TOKEN = re.compile(r"[a-z0-9]{1,40}(?:['*][a-z0-9]{1,18})?|[!-/:-@\[-^`{-~]")
_LATIN_END = "\u024f"  # the end of Latin Extended-B; NFKC has undone full-width letters before

_U = np.uint64
_MASK = (1 << 64) - 1
_FIRST, _SECOND, _THIRD = _U(0xBF58476D1CE4E5B9), _U(0x94D049BB133111EB), _U(0xD6E8FEB86659FD93)
_MIX_A, _MIX_B = _U(0xFF51AFD7ED558CCD), _U(0xC4CEB9FE1A85EC53)
_POWERS = np.array([pow(0x9E3779B97F4A7C15, n + 1, 1 << 64) for n in range(64)], dtype=np.uint64)
_SALTS = {
    name: _U((0xA0761D6478BD642F * (n + 1)) & _MASK)
    for n, name in enumerate((*KINDS, "chars2", "chars3", "chars4", "chars5"))
}
_GRAM_SALTS = np.array([_SALTS[f"chars{size}"] for size in range(2, 6)], dtype=np.uint64)[:, None]
_GRAM_ROOM = np.arange(1, 5)[:, None]


def normalise(text: str) -> str:
    """Fold what carries no meaning here: case, forms, addresses, names, numbers, repeats."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    text = text.lower()
    if "://" in text or "www." in text:
        text = _URL.sub(" \u2192 ", text)
    if "@" in text:
        text = _USER.sub(" @ ", text)
    if any(map(text.__contains__, "0123456789")):
        text = _NUMBER.sub("0", text)
    codes = _codes(text)  # the pattern alone took 60 us per kilobyte to find nothing
    if ((codes[2:] == codes[1:-1]) & (codes[1:-1] == codes[:-2])).any():
        text = _REPEAT.sub(r"\1\1", text)
    return text


def tokens_of(text: str) -> list[str]:
    """Words (an inner apostrophe or asterisk included) and signs, normalised, in order."""
    text = normalise(text)
    return (_ASCII_TOKEN if text.isascii() else _TOKEN).findall(text)


@dataclass(frozen=True, slots=True)
class Section:
    """The features of one kind: unmixed hashes, and which token each belongs to."""

    kind: str
    raw: _Raw
    positions: Positions


class FeatureReader:
    """Turns tokens into hashed features; `fold` maps words to the name of their class."""

    def __init__(self, fold: Mapping[str, str]) -> None:
        names = ["", "SCRIPT", *sorted(set(fold.values()))]
        self._classes = np.array([_word_hash(f"<{name}>") for name in names], dtype=np.uint64)
        self._fold = {word: names.index(name) for word, name in fold.items()}

    def read(self, tokens: Sequence[str]) -> tuple[Hashes, Positions]:
        """Hashes of all features of these tokens, and the token each belongs to; any order."""
        sections = self.sections(tokens)
        raw = np.concatenate([section.raw for section in sections])
        return mix(raw), np.concatenate([section.positions for section in sections])

    def sections(self, tokens: Sequence[str]) -> list[Section]:
        """The same, kind by kind and before mixing: training weighs the kinds differently."""
        if not tokens:
            return [Section("word", np.empty(0, np.uint64), np.empty(0, np.int64))]
        words, characters = _characters(tokens)
        index = np.arange(len(tokens))
        neighbours = _pair(words[:-1], words[1:]) + _SALTS["bigram"]
        sections = [
            characters,
            Section("word", words + _SALTS["word"], index),
            Section("bigram", neighbours, index[:-1]),
        ]
        classes = self._classes_of(tokens)
        if classes.any():
            folded = np.where(classes != 0, self._classes[classes], words)
            sections += _class_sections(folded, classes != 0)
        return sections

    def _classes_of(self, tokens: Sequence[str]) -> npt.NDArray[np.int64]:
        """Number of each token's class, 0 for none; words in another script are class 1."""
        fold = self._fold
        classes = np.array([fold.get(token, 0) for token in tokens], dtype=np.int64)
        if max(tokens) > _LATIN_END:
            for place, token in enumerate(tokens):
                if token > _LATIN_END and token.isalpha():
                    classes[place] = 1
        return classes


def mix(raw: _Raw) -> Hashes:
    """Spread raw hashes evenly over 32 bits (the finaliser of MurmurHash3)."""
    raw = raw * _MIX_A
    raw ^= raw >> _U(33)
    raw *= _MIX_B
    return (raw >> _U(32)).astype(np.uint32)


def _codes(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _characters(tokens: Sequence[str]) -> tuple[_Raw, Section]:
    """Hash of every token, and its character n-grams.

    The tokens lie in one array, each behind a space; a gram that reaches past the space behind its
    token is dropped.
    """
    codes = _codes(f" {' '.join(tokens)}     ").astype(np.uint64)
    spans = np.array(list(map(len, tokens))) + 1
    ends = spans.cumsum()
    owner = np.repeat(np.arange(len(tokens)), spans)
    count = len(owner)
    room = ends[owner] - np.arange(count)
    weighed = codes[:count] * _POWERS[spans[owner] - room]
    words: _Raw = np.add.reduceat(weighed, ends - spans)
    grams = np.empty((4, count), np.uint64)
    sums = codes[:count] * _POWERS[0]
    for step in range(1, 5):
        sums = np.add(sums, codes[step : count + step] * _POWERS[step], out=grams[step - 1])
    grams += _GRAM_SALTS
    fits = (room >= _GRAM_ROOM).ravel().nonzero()[0]
    return words, Section("chars", grams.ravel()[fits], owner[fits % count])


@lru_cache(maxsize=256)
def _skips(count: int) -> tuple[Positions, Positions, _Raw]:
    """All pairs of `count` tokens at most LONGEST_SKIP apart: first, second, salt of their kind."""
    places = [np.arange(max(count - apart, 0)) for apart in range(1, LONGEST_SKIP + 1)]
    salts = [_SALTS["folded"], *[_SALTS["skip"]] * (LONGEST_SKIP - 1)]
    return (
        np.concatenate(places),
        np.concatenate([place + apart for apart, place in enumerate(places, start=1)]),
        np.repeat(np.array(salts), [len(place) for place in places]),
    )


def _class_sections(folded: _Raw, is_class: npt.NDArray[np.bool_]) -> list[Section]:
    """Features in which at least one fold class takes part."""
    at = is_class.nonzero()[0]
    sections = [Section("class", folded[at] + _SALTS["class"], at)]
    first, second, salts = _skips(len(folded))
    with_class = is_class[first] | is_class[second]
    split = int(with_class[: len(folded) - 1].sum())
    first, second = first[with_class], second[with_class]
    pairs = _pair(folded[first], folded[second]) + salts[with_class]
    sections.append(Section("folded", pairs[:split], first[:split]))
    sections.append(Section("skip", pairs[split:], first[split:]))
    if len(folded) > 2:
        at = (is_class[:-2] | is_class[1:-1] | is_class[2:]).nonzero()[0]
        raw = _pair(folded[at], folded[at + 1]) + folded[at + 2] * _THIRD
        sections.append(Section("triple", raw + _SALTS["triple"], at))
    return sections


def _pair(first: _Raw, second: _Raw) -> _Raw:
    return first * _FIRST + second * _SECOND


def _word_hash(word: str) -> int:
    """The hash that `_characters` gives this token, in plain integers."""
    powers: list[int] = _POWERS.tolist()
    return sum(ord(sign) * powers[n] for n, sign in enumerate(f" {word}")) & _MASK
