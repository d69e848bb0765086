"""One text as a reader would read it: plain, and with its disguises undone.

Matching needs letters; people who hide a word change what stands for them. `Alphabet.read` gives
a `Reading` of a text with the views that undo such changes:

    plain     lower case, accents, invisible characters and look-alike letters undone,
              everything that is not a letter or digit one space
    folded    also leet (`1d10t`) and repeats (`idiooot`): digits and symbols as the letters that
              they look like, l as i, runs as one; ambiguous, so a hit must pass `undisguises`
    tokens    words with marks inside (`id-iot`, `id*ot`)
    marked    words with any other signs inside (`id=iot`, `id/iot`)
    spelled   runs of single letters (`i d i o t`, `i.d.i.o.t`)

Every view leads back to code-point offsets in the original text, which is never replaced. The
views are bytes: ASCII needs no Unicode work at all (measured: 8 us per kB against 24 us for
`str.translate`), and the map of offsets is only built once something was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from penstock.words.characters import MARK, Characters

_T = TypeVar("_T")

VERSION = "2"
"""Part of the cache key: counts up whenever a view reads some text differently."""


def _bytes_table(classes: Mapping[str, bytes | str], other: bytes) -> bytes:
    table = bytearray(other * 256)
    for target, members in classes.items():
        for member in members.encode() if isinstance(members, str) else members:
            table[member] = ord(target)
    return bytes(table)


_UPPER, _LOWER = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", b"abcdefghijklmnopqrstuvwxyz"
_OTHERS = bytes(range(0x80, 0x100))  # UTF-8 beyond ASCII: the alphabet lets only letters through
_WORD = _LOWER + b"0123456789" + _OTHERS
_CONTROL = b"\2"  # in ASCII that is no word; only then is it read character by character
_PLAIN = _bytes_table(
    {chr(c): bytes([c]) for c in _WORD}
    | {chr(c): bytes([c - 32]) + bytes([c]) for c in _LOWER}
    | {"\2": bytes(c for c in range(128) if not chr(c).isprintable() and c not in b"\t\r\n")},
    b" ",
)
_PLAIN_READ = _PLAIN.replace(_CONTROL, b" ")
_STANDS_FOR = {"o": "0", "i": "1!|l", "e": "3", "a": "4@", "s": "5$", "t": "7+", "b": "8", "g": "9"}
_FOLD = _bytes_table(
    {chr(c): bytes([c]) for c in _WORD if c not in b"01345789l"}
    | {chr(c): bytes([c, c - 32]) for c in _LOWER if c not in b"l"}
    | {
        letter: f"{letter}{letter.upper()}{signs}{signs.upper()}"
        for letter, signs in _STANDS_FOR.items()
    },
    b" ",
)
_LEET_BYTES = b"01345789@$!|+"
_LEET = frozenset(_LEET_BYTES)
_SIGNS = f'"(),/:;<=>[\\]`{{}}{MARK}'  # marks that are read in words cut by them only
_SHAPE = _bytes_table(
    {
        "a": _UPPER + _LOWER + _OTHERS,
        "0": "0123456789",
        "@": "@$",
        "!": "!|+",
        ".": ".?",
        "-": "-_*#%^&~",
        ",": _SIGNS,
    },
    b" ",
)
_BOTH = frozenset(("folded", "tokens"))
_SINGLES = _bytes_table({"a": _WORD}, b" ")
_ORDINARY = _UPPER + _LOWER + _OTHERS + b" \t\r\n,.;:'\"()/"
_NOT_READ = bytes(set(range(256)) - set(_WORD) - _LEET)
_WITHOUT_ENDINGS = bytes(32 if c in b"!|+" else c for c in range(256))
_ENDING_SIGNS = re.compile(rb"[!|+]+(?![a-z0-9@$])")
_REPEATED = re.compile(rb"(.)\1+", re.DOTALL)
_RUNS = re.compile(rb"(.)\1*", re.DOTALL)
_THREE_SINGLES = re.compile(rb" a a a ")
_TOKEN_LIMIT = 48  # bytes looked at on each side of a mark
_PARTS = _bytes_table({"a": _UPPER + _WORD, "-": "-._*#%^&~?@$!|+"}, b" ")
# A literal in front is looked for at the speed of memchr, so what stands before it comes second.
_BESIDE_DIGIT = re.compile(rb"0(?:(?<=a0)|(?=a))")
_BESIDE_SIGN = re.compile(rb"@(?:(?<=a@)|(?=a))")
_BESIDE_MARK = re.compile(rb"-(?:(?<=a-)|(?=a))")
_LEADING_SIGN = re.compile(rb"!(?=a)")
_INNER_SIGN = re.compile(rb"!(?=[a0@])")
_NUMBER_BEHIND = re.compile(rb"0(?<=a0)")
_INNER_DOT = re.compile(rb"\.(?<=[a!]\.)[a.]")
_INNER_SIGNS = re.compile(rb",(?=[.,-]{0,3}[a0@!])(?<=[a0@!.,-],)")
_MARKS = bytes(c for c in range(128) if not chr(c).isalnum() and c not in _LEET)
_MARKS_AT_END = _MARKS + b"!|+"
_INNER_MARK = re.compile(rb"-(?<=a-)[a-]")
_SPACED = bytes(32 if chr(c).isspace() else 97 if c in _WORD + _UPPER else 45 for c in range(256))
_LETTER = rb"[A-Za-z0-9@$\x80-\xff]"
_INNER_APOSTROPHE = re.compile(  # not that of a contraction: "who're" is no other word
    rb"'(?=%b)(?<=(?:'|%b)')(?!(?i:s|d|m|ll|re|ve|(?<=n')t)(?!%b))" % (_LETTER, _LETTER, _LETTER)
)
_EVERYDAY = re.compile(rb"he[^a-z0-9]+she")  # which together are another word
_KINDS = _bytes_table({"a": _LOWER + _OTHERS, "0": "0123456789"}, b" ")


class Span(NamedTuple):
    """A piece of `Reading.raw`, from `start` up to `end`."""

    start: int
    end: int
    letters: bytes


class View(NamedTuple):
    """A reading of the whole text; `origin[i]` is the place of byte i in `Reading.raw`."""

    data: bytes
    origin: NDArray[np.intp]


class Alphabet(Characters):
    """Reads texts; shared by all that have to agree on what a letter is."""

    def read(self, text: str) -> Reading:
        """Give the readings of `text`; any string will do, lone surrogates too."""
        return Reading(text, self)

    def words(self, text: str) -> bytes:
        """Give `text` in the plain view, without the spaces around it."""
        return self.read(text).plain.strip()


class _Once(Generic[_T]):
    """A property computed on first use; functools' takes a lock each time, 1 us in Python 3.11."""

    def __init__(self, compute: Callable[[Any], _T]) -> None:
        self._compute, self._name = compute, compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, instance: object, owner: type | None = None) -> _T:
        value = instance.__dict__[self._name] = self._compute(instance)
        return value


class Reading:
    """The readings of one text. Cheap to make; what a text does not need is not computed."""

    def __init__(self, text: str, alphabet: Alphabet) -> None:
        self.text = text
        self._alphabet = alphabet
        self._as_it_is = text.isascii()
        words = _CONTROL
        if self._as_it_is:
            self.raw = text.encode()
            words = self.raw.translate(_PLAIN)
        if _CONTROL in words:
            self._as_it_is = False
            self.raw = text.translate(alphabet).encode()
            words = self.raw.translate(_PLAIN_READ)
        words = self._wide = b" " + words + b" "
        while b"  " in words:
            words = words.replace(b"  ", b" ")
        self.plain = words

    @_Once
    def signs(self) -> frozenset[str]:
        """Which views are worth a look: "folded", "tokens", "marked", "spelled"."""
        found: set[str] = set()
        shape = self._shape
        # What there is at all is known from the few characters that plain prose does not have.
        kinds = self.raw.translate(None, _ORDINARY).translate(_SHAPE)
        if b"0" in kinds and _BESIDE_DIGIT.search(shape):
            found.add("folded")
        if b"@" in kinds and _BESIDE_SIGN.search(shape):
            found |= _BOTH
        if b"-" in kinds and _BESIDE_MARK.search(shape):
            found.add("tokens")
        if b"!" in kinds and _LEADING_SIGN.search(shape):
            found |= _BOTH
        if "tokens" not in found and _INNER_DOT.search(shape):
            found.add("tokens")
        if self._first_sign or self._first_apostrophe:
            found.add("marked")
        if self._first_run:
            found.add("spelled")
        return frozenset(found)

    @_Once
    def lower(self) -> bytes:
        """The raw bytes in lower case: as long as `raw`, with every mark still there."""
        return self.raw.lower()

    @_Once
    def signed(self) -> bytes:
        """`lower` with the signs that end a word, as in `no!`, as spaces."""
        shape = self._shape
        if b"!" not in shape:
            return self.lower
        if _INNER_SIGN.search(shape):
            return _ENDING_SIGNS.sub(lambda found: b" " * len(found[0]), self.lower)
        return self.lower.translate(_WITHOUT_ENDINGS)

    @_Once
    def _shape(self) -> bytes:
        return self.raw.translate(_SHAPE)

    @_Once
    def _singles(self) -> bytes:
        return self.plain.translate(_SINGLES)

    @_Once
    def _first_run(self) -> re.Match[bytes] | None:
        return _THREE_SINGLES.search(self._singles)

    @_Once
    def _first_sign(self) -> re.Match[bytes] | None:
        return _INNER_SIGNS.search(self._shape)

    @_Once
    def _first_apostrophe(self) -> re.Match[bytes] | None:
        return _INNER_APOSTROPHE.search(self.raw) if b"'" in self.raw else None

    @_Once
    def plain_origin(self) -> NDArray[np.intp]:
        """The place in `raw` of every byte of `plain`."""
        padded = np.frombuffer(b" " + self._wide, np.uint8) != 32
        padded[0] = True
        places: NDArray[np.intp] = (padded[1:] | padded[:-1]).nonzero()[0]
        places -= 1
        return places

    def folded(self) -> View:
        """Leet and repeats undone, l read as i."""
        padded = np.frombuffer(b"\0 " + self.signed.translate(_FOLD) + b" ", np.uint8)
        places = (padded[1:] != padded[:-1]).nonzero()[0]
        data = padded[1:][places].tobytes()
        places -= 1
        return View(data, places)

    def tokens(self) -> Iterator[Span]:
        """Words with marks inside, as they stand; long ones are cut around their first mark."""
        parts, done = self.raw.translate(_PARTS), 0
        while found := _INNER_MARK.search(parts, done + 1):
            mark = found.start() - 1
            start = max(done, parts.rfind(b" ", max(0, mark - _TOKEN_LIMIT), mark) + 1)
            start = max(start, mark - _TOKEN_LIMIT)
            end = parts.find(b" ", mark, mark + _TOKEN_LIMIT)
            done = end if end >= 0 else min(len(parts), mark + _TOKEN_LIMIT)
            yield Span(start, done, self.lower[start:done])

    def marked(self) -> Iterator[Span]:
        """Words that any signs stand in, put together again; what marks alone do is in `tokens`."""
        parts = self.raw.translate(_SPACED)
        for found in (self._first_sign, self._first_apostrophe):
            while found:
                sign = found.start()
                start = parts.rfind(b" ", max(0, sign - _TOKEN_LIMIT), sign) + 1
                start = max(start, sign - _TOKEN_LIMIT)
                end = parts.find(b" ", sign, sign + _TOKEN_LIMIT)
                done = end if end >= 0 else min(len(parts), sign + _TOKEN_LIMIT)
                word = self.lower[start:done].rstrip(_MARKS_AT_END)
                last = start + len(word)
                word = word.lstrip(_MARKS)
                if not _EVERYDAY.fullmatch(word):
                    yield Span(last - len(word), last, word.translate(None, _MARKS))
                found = found.re.search(found.string, done)

    def numbered(self) -> Iterator[Span]:
        """Words of letters with digits behind them (`word99`), without the digits."""
        kinds = self.plain.translate(_KINDS)
        end = 0
        while found := _NUMBER_BEHIND.search(kinds, end + 1):
            last = found.start() - 1
            end = kinds.find(b" ", last)
            start = kinds.rfind(b" ", max(0, last - _TOKEN_LIMIT), last) + 1
            if start and not kinds[last + 1 : end].strip(b"0") and b"0" not in kinds[start:last]:
                place = int(self.plain_origin[start])
                yield Span(place, place + last + 1 - start, self.plain[start : last + 1])

    def spelled(self) -> Iterator[list[Span]]:
        """Runs of three and more single letters, each run as its pieces between wider gaps."""
        singles, found = self._singles, self._first_run
        while found:
            start, end = found.start(), found.end() - 1
            while singles[end + 1 : end + 3] == b"a ":
                end += 2
            places = self.plain_origin[start + 1 : end : 2].tolist()
            yield _pieces(places, self.plain[start + 1 : end : 2])
            found = _THREE_SINGLES.search(singles, end)

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Lead a piece of `raw` back to offsets in the text, with the marks on its last letter."""
        if self._sources is None:
            return start, end
        first, last = int(self._sources[start]), int(self._sources[end - 1]) + 1
        while last < len(self.text) and not self._alphabet[ord(self.text[last])]:
            last += 1
        return first, last

    @_Once
    def _sources(self) -> NDArray[np.intp] | None:
        if self._as_it_is:
            return None
        sizes = {each: len(self._alphabet[ord(each)].encode()) for each in set(self.text)}
        lengths = np.fromiter(map(sizes.__getitem__, self.text), np.intp, len(self.text))
        return np.repeat(np.arange(len(self.text)), lengths)


def _pieces(places: list[int], letters: bytes) -> list[Span]:
    """Cut a run of single letters where the gap is wider than the narrowest."""
    gaps = [after - before for before, after in pairwise(places)]
    narrow = min(gaps)
    if narrow == max(gaps):
        return [Span(places[0], places[-1] + 1, letters)]
    cuts = [0, *(index for index, gap in enumerate(gaps, 1) if gap > narrow), len(places)]
    return [Span(places[a], places[b - 1] + 1, letters[a:b]) for a, b in pairwise(cuts)]


def fold(words: bytes) -> bytes:
    """Fold words of the plain view as `Reading.folded` does: the form in which both meet."""
    folded = words.translate(_FOLD)
    # Most words repeat nothing, and a search is quicker than `sub`.
    return _REPEATED.sub(rb"\1", folded) if _REPEATED.search(folded) else folded


def undisguises(seen: bytes, term: bytes, *, known: bool = False) -> bool:
    """Say whether `seen` is `term` in disguise, given that both fold to the same.

    `term` is without spaces. `known` says that something was undone before.

    Folding confuses i with l and one letter with two, so it is checked here what really stood
    there: letters must be the term's own, no run shorter than the term's, and something undone:
    signs inside a word with enough letters, or a letter at least three times.
    """
    seen = seen.translate(None, _NOT_READ)
    letters = len(seen.translate(None, _LEET_BYTES))
    signs = len(seen) - letters
    mixed = bool(signs) and letters >= 2 and letters * (2 if len(seen) <= 4 else 3) >= len(seen)
    if signs and not mixed:
        return False
    disguised = known or mixed
    if disguised and len(seen) == len(term):
        for shown, wanted in zip(seen, term, strict=True):
            if shown != wanted and shown not in _LEET:
                break
        else:
            return True
    return _runs_agree(seen, term, disguised=disguised)


def _runs_agree(seen: bytes, term: bytes, *, disguised: bool) -> bool:
    runs = zip(
        _RUNS.finditer(seen.translate(_FOLD)), _RUNS.finditer(term.translate(_FOLD)), strict=False
    )
    for shown_run, wanted_run in runs:
        shown = seen[shown_run.start() : shown_run.end()]
        wanted = term[wanted_run.start() : wanted_run.end()]
        if len(shown) < len(wanted):
            return False
        if shown.translate(None, wanted + _LEET_BYTES):
            return False
        disguised = disguised or len(shown) >= max(3, len(wanted) + 1)
    return disguised


def foreign_share(text: str) -> float:
    """Share of letters outside the Latin script, 0..1; 0 at once for ASCII.

    Counted on the lead bytes of UTF-8, by which scripts can be told apart at a hundredth of the
    cost of asking for each character: Latin up to U+024F, then Greek, Cyrillic, Hebrew, Arabic,
    Indic, CJK, Hangul. Symbols, emoji and styled Latin letters (E2, EF, F0) count as neither.
    """
    if text.isascii():
        return 0.0
    data = text.encode("utf-8", "replace")
    foreign = len(data.translate(None, _NOT_FOREIGN))
    latin = len(data.translate(None, _NOT_LATIN))
    extended = sum(map(data.count, _LATIN_EXTENDED)) if b"\xe1" in data else 0
    return (foreign - extended) / (foreign + latin) if foreign > extended else 0.0


_FOREIGN = bytes([*range(0xCD, 0xE2), *range(0xE3, 0xEE)])
_LATIN = _UPPER + _LOWER + bytes(range(0xC3, 0xCA))
_LATIN_EXTENDED = [bytes([0xE1, second]) for second in (*range(0xB4, 0xB7), *range(0xB8, 0xBC))]
_NOT_FOREIGN = bytes(set(range(256)) - set(_FOREIGN))
_NOT_LATIN = bytes(set(range(256)) - set(_LATIN))
