"""A comment as it is read: HTML without its markup, cut into sentences, with the way back.

Offsets given out are Perspective's: UTF-16 code units of the comment as it was sent, the end
exclusive. Everything takes time linear in the text, whatever it holds.
"""

from __future__ import annotations

import html
import re
from array import array
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

MOST_PASSAGES: Final = 256  # of one comment; more are joined

_BLOCKS: Final = frozenset(
    (
        *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset"),
        *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header"),
        *("hr", "li", "main", "nav", "ol", "p", "pre", "section", "table", "td", "th", "tr", "ul"),
    )
)
_NAME = re.compile(r"/?([a-zA-Z][a-zA-Z0-9]*)")
_PLAIN = re.compile(r"[^<&]+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_END = re.compile(r"[.!?\u2026]+[\"'\u201d\u2019\u00bb)\]]*|[\u3002\uff01\uff1f]+|\n+")
_LAST_WORD = re.compile(r"[^\W\d_]{1,12}$")
_SHORT: Final = frozenset(("mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "no", "jr", "sr"))


class Passage(NamedTuple):
    """A part of a comment: what is read, and where it was sent."""

    text: str
    begin: int  # UTF-16 code units of the comment
    end: int


class Comment:
    """What there is to read in a comment, and its sentences."""

    def __init__(self, source: str, *, is_html: bool = False) -> None:
        self._source = source
        self._places: Sequence[int] | None = None
        self._ends: Sequence[int] | None = None
        if is_html and ("<" in source or "&" in source):
            self.text, self._places, self._ends = _visible(source)
        else:
            self.text = source

    @property
    def whole(self) -> Passage:
        """All of it as one passage."""
        return Passage(self.text, 0, len(self._source.encode("utf-16-le", "surrogatepass")) // 2)

    def sentences(self) -> list[Passage]:
        """Its sentences in order, without the space around them; at most MOST_PASSAGES."""
        found = list(_sentences(self.text))
        if len(found) > MOST_PASSAGES:
            size = -(-len(found) // MOST_PASSAGES)
            groups = (found[at : at + size] for at in range(0, len(found), size))
            found = [(group[0][0], group[-1][1]) for group in groups]
        units = _Units(self._source)
        return [
            Passage(self.text[start:end], units.at(self._begin(start)), units.at(self._end(end)))
            for start, end in found
        ]

    def _begin(self, at: int) -> int:
        return at if self._places is None else self._places[at]

    def _end(self, at: int) -> int:
        return at if self._ends is None else self._ends[at - 1]


class _Units:
    """Code points to UTF-16 code units, asked in ascending order."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._simple = not text or max(text) <= "\uffff"
        self._point = self._unit = 0

    def at(self, point: int) -> int:
        if self._simple:
            return point
        between = self._text[self._point : point]
        self._unit += len(between) + sum(1 for sign in between if sign > "\uffff")
        self._point = point
        return self._unit


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for sign in _END.finditer(text):
        if _is_end(text, start, sign):
            yield from _stripped(text, start, sign.end())
            start = sign.end()
    yield from _stripped(text, start, len(text))


def _is_end(text: str, start: int, sign: re.Match[str]) -> bool:
    if sign[0][0] in "\n\u3002\uff01\uff1f":
        return True
    if sign.end() < len(text) and not text[sign.end()].isspace():
        return False  # a decimal point, a file name, an address
    if sign[0] != ".":
        return True
    word = _LAST_WORD.search(text, max(start, sign.start() - 12), sign.start())
    return word is None or (len(word[0]) > 1 and word[0].lower() not in _SHORT)


def _stripped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    part = text[start:end]
    inner = part.strip()
    if inner:
        start += len(part) - len(part.lstrip())
        yield start, start + len(inner)


def _visible(source: str) -> tuple[str, array[int], array[int]]:
    """What a reader sees of HTML, and where each character of it begins and ends in the source."""
    shown: list[str] = []
    places, ends = array("I"), array("I")

    def show(signs: str, begin: int, end: int) -> None:
        shown.append(signs)
        places.extend([begin] * len(signs))
        ends.extend([end] * len(signs))

    at = 0
    while at < len(source):
        sign = source[at]
        plain = _PLAIN.match(source, at)
        if plain is not None:
            shown.append(plain[0])
            places.extend(range(at, plain.end()))
            ends.extend(range(at + 1, plain.end() + 1))
            at = plain.end()
        elif sign == "<" and (tag := _tag(source, at)):
            end, name = tag
            if name in _BLOCKS:
                show("\n", at, end)
            at = end
        elif sign == "&" and (entity := _ENTITY.match(source, at)):
            show(html.unescape(entity[0]), at, entity.end())
            at = entity.end()
        else:
            show(sign, at, at + 1)
            at += 1
    return "".join(shown), places, ends


def _tag(source: str, at: int) -> tuple[int, str] | None:
    """Where the markup that begins here ends, and the name of the tag; None if it is no markup."""
    if source.startswith("<!--", at):
        end = source.find("-->", at + 4)
        return (len(source) if end < 0 else end + 3), ""
    named = _NAME.match(source, at + 1)
    if named is None and not source.startswith(("<!", "<?"), at):
        return None
    # As a browser does, an opened tag hides the rest where nothing closes it.
    end = source.find(">", at)
    end = len(source) if end < 0 else end + 1
    name = named[1].lower() if named else ""
    if name in ("script", "style") and source[at + 1] != "/":
        return _closing(source, end, name), ""
    return end, name


def _closing(source: str, at: int, name: str) -> int:
    """Behind the closing tag of what no reader sees."""
    found = re.compile(rf"</{name}[^>]*>", re.IGNORECASE).search(source, at)
    return len(source) if found is None else found.end()
