"""Wildcards and regular expressions, matched by RE2: in linear time, whatever the pattern.

Hundreds of patterns are one automaton (`re2.Set`), which says which of them match; only those are
run again for their places. An automaton that gets too large for its memory says nothing, which
looks like "no match": every set therefore holds a pattern that always matches, and where that one
is missing the patterns are run one by one.

Linear is in the length of the text times the instructions of the patterns. Patterns that were made
for it need 25 ns for each such pair, where ordinary ones need a thousandth of it: what one call may
cost is bounded beforehand (`MOST_WORK`), and what all cost is charged to the budget of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from penstock.words.budget import Budget, Overrun

if TYPE_CHECKING:
    from penstock.words.views import Alphabet

MOST_INSTRUCTIONS = 5_000  # of one compiled pattern
LEAST_LETTERS = 2  # of a wildcard; fewer would match nearly every word
_PATTERN_BYTES = 1 << 20  # memory of one compiled pattern
_SET_BYTES = 8 << 20
_SET_SIZE = 250  # patterns: compiled in 2 ms, and again when one of them goes
_FRESH = 32  # patterns that wait in the newest set
MOST_WORK = 100_000_000  # bytes of a text times instructions: 2.5 s at the very worst
_ALWAYS = "(?s:.)"
_STAR, _ONE = "\U00010600", "\U00010601"  # letters that nobody uses stand in for `*` and `?`
_ANY = rb"[^ \n]*"
_LETTER = rb"(?:[!-\x7f]|[\xc2-\xf4][\x80-\xbf]+)"
_EMPTY_PROBES = ("", "a", "a b", "1", ".", "\n")


class BadPattern(Exception):
    """A pattern that cannot be used; says where and why."""


def check_regex(pattern: str) -> None:
    """Refuse what RE2 refuses, what would need too much memory, what matches nothing at all."""
    compiled = compile_pattern(pattern)
    if compiled.programsize > MOST_INSTRUCTIONS:
        raise BadPattern(
            f"needs {compiled.programsize} instructions; at most {MOST_INSTRUCTIONS} are allowed: "
            "count less ({n,m}) or split it"
        )
    for probe in _EMPTY_PROBES:
        if any(found.start() == found.end() for found in compiled.finditer(probe)):
            raise BadPattern("matches the empty text, so it would match everywhere")


def check_wildcard(pattern: str, alphabet: Alphabet) -> None:
    """Refuse a wildcard that is none or would match nearly every word."""
    if "*" not in pattern and "?" not in pattern:
        raise BadPattern("has neither * nor ?; use kind phrase")
    if _STAR in pattern or _ONE in pattern:
        raise BadPattern("has a letter (U+10600, U+10601) that wildcards cannot hold")
    letters = alphabet.words(pattern.replace("*", "").replace("?", "")).replace(b" ", b"")
    if len(letters) < LEAST_LETTERS:  # in bytes: a Chinese character says as much as a syllable
        raise BadPattern(
            f"has fewer than {LEAST_LETTERS} letters or digits beside * and ?, "
            "so it would match nearly everything"
        )


def wildcard_words(pattern: str, alphabet: Alphabet) -> bytes:
    """A wildcard in the plain view, with `*` and `?` as bytes of their own again."""
    words = alphabet.words(pattern.replace("*", _STAR).replace("?", _ONE))
    return words.replace(_STAR.encode(), b"*").replace(_ONE.encode(), b"?")


def wildcard_regex(words: bytes) -> bytes:
    """What finds a wildcard in a plain view, with a space on either side."""
    parts = [_ANY if p == b"*" else _LETTER if p == b"?" else re.escape(p) for p in _pieces(words)]
    return b" %b " % b"".join(parts)


def _pieces(words: bytes) -> list[bytes]:
    return [piece for piece in re.split(rb"([*?])", words) if piece]


def _options(*, memory: int, latin: bool) -> Any:
    import re2

    options = re2.Options()
    options.max_mem = memory
    options.log_errors = False
    if latin:
        options.encoding = re2.Options.Encoding.LATIN1
    return options


def compile_pattern(pattern: str | bytes) -> Any:
    """One compiled pattern. Raises BadPattern."""
    import re2

    options = _options(memory=_PATTERN_BYTES, latin=isinstance(pattern, bytes))
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise BadPattern(_told(error, pattern)) from None


def _told(error: Exception, pattern: str | bytes) -> str:
    """RE2's words, with the place of what they quote."""
    said = error.args[0] if error.args else b""
    said = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    what, _, piece = said.partition(": ")
    at = pattern.find(piece) if isinstance(pattern, str) and piece else -1
    if at < 0:
        return f"cannot be used: {said}"
    return f"cannot be used: {what} at character {at + 1}: {piece}"


def instructions(pattern: str | bytes) -> int:
    """How large a pattern is when it is compiled: what a byte of text costs at the worst."""
    return int(compile_pattern(pattern).programsize)


class Patterns:
    """Many patterns under ids; changes are quick, a search runs over all at once.

    `latin` patterns are bytes and run over bytes as they are; others are text, run over UTF-8.
    `weighed` ones are looked at before they are run: what would be too much is refused.
    """

    def __init__(self, *, latin: bool, weighed: bool = False) -> None:
        self._latin = latin
        self._weighed = weighed
        self._sizes: dict[int, int] = {}
        self._patterns: dict[int, str | bytes] = {}
        self._sets: list[_Set] = []  # the last is the newest and smallest

    def __len__(self) -> int:
        return len(self._patterns)

    def add(self, id: int, pattern: str | bytes) -> None:
        """Look for `pattern` from now on."""
        self._patterns[id] = pattern
        last = self._sets[-1] if self._sets else None
        if last is None or len(last.patterns) >= _FRESH:
            self._sets.append(_Set({id: pattern}, latin=self._latin))
        else:
            self._sets[-1] = _Set({**last.patterns, id: pattern}, latin=self._latin)
        self._pack()

    def remove(self, id: int) -> None:
        """Forget a pattern; unknown ids are passed over."""
        if self._patterns.pop(id, None) is None:
            return
        self._sizes.pop(id, None)
        for at, each in enumerate(self._sets):
            if id in each.patterns:
                left = {key: p for key, p in each.patterns.items() if key != id}
                self._sets[at : at + 1] = [_Set(left, latin=self._latin)] if left else []
                return

    @property
    def size(self) -> int:
        """Instructions of all patterns. Compiles what is new: not for the loop."""
        for id, pattern in list(self._patterns.items()):
            if id not in self._sizes:
                self._sizes[id] = instructions(pattern)
        return sum(list(self._sizes.values()))

    def find(self, data: bytes, budget: Budget) -> Iterator[tuple[int, Iterator[tuple[int, int]]]]:
        """Ids of the patterns that match, and start and end in `data` of their matches.

        Matches of one pattern may share their last byte with the next one's first where patterns
        are bytes: there it is the space between two words. Raises Overrun.
        """
        if self._weighed and len(data) * self.size > MOST_WORK:
            raise Overrun
        for each in list(self._sets):
            for id in each.matching(data, budget):
                yield id, each.places(id, data, budget, share=self._latin)

    def _pack(self) -> None:
        """Join small sets, so that there are few of them."""
        small = [each for each in self._sets if len(each.patterns) <= _FRESH]
        if len(small) < _SET_SIZE // _FRESH:
            return
        joined: dict[int, str | bytes] = {}
        for each in small:
            joined |= each.patterns
        large = [each for each in self._sets if len(each.patterns) > _FRESH]
        self._sets = [*large, _Set(joined, latin=self._latin)]


class _Set:
    """Some patterns as one automaton, built when it is first needed."""

    def __init__(self, patterns: Mapping[int, str | bytes], *, latin: bool) -> None:
        self.patterns = patterns
        self._latin = latin
        self._ids = list(patterns)
        self._automaton: Any = None
        self._alone: dict[int, Any] = {}  # compiled for their places
        self._built = False

    def matching(self, data: bytes, budget: Budget) -> list[int]:
        """Ids of the patterns that match somewhere."""
        if not data:
            return []
        if not self._built:
            self._automaton = self._build()
            self._built = True
        if self._automaton is not None:
            found = budget.charge(self._automaton.Match, data) or ()
            if len(self._ids) in found:
                return [self._ids[index] for index in found if index < len(self._ids)]
        return [id for id in self._ids if budget.charge(self._one(id).search, data) is not None]

    def places(
        self, id: int, data: bytes, budget: Budget, *, share: bool
    ) -> Iterator[tuple[int, int]]:
        """Where a pattern matches; what is empty is no place."""
        compiled, at = self._one(id), 0
        while (found := budget.charge(compiled.search, data, at)) is not None:
            start, end = found.span()
            if start < end:
                yield start, end
            at = max(end - share, start + 1)

    def _one(self, id: int) -> Any:
        compiled = self._alone.get(id)
        if compiled is None:
            compiled = self._alone[id] = compile_pattern(self.patterns[id])
        return compiled

    def _build(self) -> Any:
        import re2

        automaton = re2.Set.SearchSet(_options(memory=_SET_BYTES, latin=self._latin))
        try:
            for id in self._ids:
                automaton.Add(self.patterns[id])
            automaton.Add(_ALWAYS.encode() if self._latin else _ALWAYS)
            automaton.Compile()
        except re2.error:
            return None  # too large together: one by one
        return automaton
