"""E-mail addresses: as they are, spelled (`john dot doe at gmail dot com`), spaced, bracketed.

The at-sign comes first: it is rare, and what stands around it is looked at in bounded pieces.
`at` and `dot` in words are ordinary English, so they need a mail provider's name, a cue in front
or a name that is no common word: "look at example dot com" shows a page, not a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.pii.listed import listed
from penstock.pii.match import Match

PROVIDERS = (
    *("gmail", "googlemail", "yahoo", "ymail", "hotmail", "outlook", "icloud", "protonmail"),
    *("proton", "aol", "gmx", "yandex", "fastmail", "zoho", "tutanota", "tuta", "rocketmail"),
    *("mailinator", "comcast", "hushmail", "rediffmail", "libero", "orange", "laposte", "seznam"),
)
_MOST_RIGHT, _MOST_LEFT = 120, 80
_TLDS = listed(
    """com net org edu gov mil int info biz name pro io co me ai app dev xyz online site club shop
    store tech live life world email cloud eu us uk ca au nz de fr it es nl be ch at se no dk fi
    pl pt ie cz sk hu ro bg gr tr ru ua by kz cn jp kr tw hk sg my th vn id ph in pk bd lk ae sa
    il eg za ng ke gh ma br ar mx cl pe ve uy ec bo py is lt lv ee si hr rs ba lu li mt cy tv cc
    fm ly gg to so sh mobi asia cat travel museum jobs tel berlin wien london"""
)
_WORDS = listed("in is it at me no to so be my us as am do go co no name live space")
_NO_DOMAIN = listed(
    """png jpg jpeg gif svg webp bmp ico css js mjs ts tsx jsx html htm json xml yaml yml txt md
    pdf exe dll so zip tar gz py rb rs go java kt php sql log csv toml lock local setter getter
    deleter route get post put delete call apply"""
) - {"so", "py", "rs", "go", "zip"}
_AFTER_AT = re.compile(r"@((?:[^\W_][\w-]{0,62}\.){1,6})([^\W\d_]{2,24}|xn--[\w-]{2,20})(?![\w@-])")
_SINGLES = re.compile(r"(?: [\w.\-])+(?= |$)")
_SINGLES_LEFT = re.compile(r"\S(?!\S)(?: \S(?!\S))*")  # read from the right
_OPEN, _CLOSE = r"[(\[{<*_~\-]\s?", r"\s?[)\]}>*_~\-]"
_BRACKET = re.compile(rf"{_OPEN}(?:at|@|arroba|a t){_CLOSE}")
_ATS: tuple[tuple[str, str], ...] = (
    ("@", "sign"),
    *((f" {word} ", "word") for word in ("at", "arroba", "att")),
    *(
        (f"{a}{word}{b}", "bracket")
        for a, b in ("()", "[]", "{}", "<>", "**", "__", "--", "~~")
        for word in ("at", " at ", "@", " @ ", "arroba")
    ),
    ("(a t)", "bracket"),
)
_DOT = (
    rf"(?:\s?{_OPEN}(?:dot|d0t|\.|punkt|punto){_CLOSE}\s?"
    r"|\s(?:dot|d0t|punkt|punto|\.)\s|\.)"
)
_LOOSE_DOT = rf"(?:{_DOT}|\s?[.,]\s?|\s?dot\s?|\spoint\s)"
_DOMAIN = re.compile(rf"([a-z0-9][a-z0-9-]{{0,40}}(?:{_DOT}[a-z0-9-]{{2,40}}){{1,4}})(?![\w-])")
_PROVIDER = "|".join(PROVIDERS)
_AT_PROVIDER = re.compile(
    rf"(?:{_PROVIDER})(?P<tld>{_LOOSE_DOT}(?:com|net|de|org|me|fr|it|ru|co{_LOOSE_DOT}?[a-z]{{2}}))?"
    r"(?![\w-])"
)
_DOTS = re.compile(_DOT)
_SPELLED_DOT = re.compile(r"dot|d0t|punkt|punto|[(\[{<*_~-]\s?\.|\s\.\s")
_LEFT_CHARACTERS = frozenset("._%+'-")
_GLUED = re.compile(rf"at(?:{_PROVIDER})(?:dot|\.)(?:com|net|de|org|co\.uk)(?!\w)")
_CUE = re.compile(r"\b(?:e-?mail|mail|mailto|write|contact|reach|correo|address is|inbox)\b")
_COMMON = listed(
    """look looking looked looks meet meeting met is are was were be been am us me him her them it
    they you we i check arrive arrives arrived available visit found find shop shopping work
    working works worked stay live living hosted host sold sell buy bought here there out up
    over back down start starts started ends now not and or more page site website store online
    read see seen saw pm today tonight tomorrow later again laugh laughing point aimed good bad
    great best mad angry everyone everything anyone someone all so just only also then that this
    these those one go going get got sign login log register registered registration order
    ordered book listed posted post published support help team news account accounts email mail
    contact reach write download downloads learn apply donate blog videos watch try details info
    information"""
)


def _backwards() -> str:
    """A name in front of an at-sign, read from its end: nothing further left is looked at."""

    def words(*spelled: str) -> str:
        return "|".join(word[::-1] for word in spelled)

    opens, closes = r"\s?[(\[{<*_~\-]", r"[)\]}>*_~\-]\s?"
    dots = words("dot", "d0t", "punkt", "punto") + r"|\."
    signs = words("underscore", "under score", "dash", "hyphen", "minus", "plus", "guion")
    join = (
        rf"(?:\s?{closes}(?:{dots}){opens}\s?|\s(?:{dots})\s|\.|\s(?:{signs})\s"
        rf"|\s?[)\]](?:{words('underscore', 'dash')}|_|-)[(\[]\s?)"
    )
    singles = r"[a-z0-9](?: [a-z0-9]){2,30}(?!\w)"
    return rf"(?:[\w+-]{{1,40}}+{join}){{0,5}}(?:{singles}|[\w.%+'-]{{1,64}})"


_NAME = re.compile(_backwards())


def find(lower: str) -> Iterator[Match]:
    """Addresses as programs read them."""
    for found in _AFTER_AT.finditer(lower):
        at = found.start()
        start = _left_of(lower, at)
        if start == at or not _is_address(lower, start, at, found):
            continue
        tld = found[2]
        certain = tld in _TLDS or len(tld) == 2 or tld.startswith("xn--") or not tld.isascii()
        yield Match("email", start, found.end(), 1.0 if certain else 0.8, "pii.email")


def _left_of(lower: str, at: int) -> int:
    start = at
    least = max(0, at - 64)
    while start > least and (lower[start - 1].isalnum() or lower[start - 1] in _LEFT_CHARACTERS):
        start -= 1
    while start < at and not lower[start].isalnum() and lower[start] != "_":
        start += 1
    return start


def _is_address(lower: str, start: int, at: int, found: re.Match[str]) -> bool:
    tld, after = found[2], lower[found.end() : found.end() + 1]
    if tld in _NO_DOMAIN or after == "(":
        return False
    if lower[start - 1 : start] == "@":  # @name@server: found as a handle
        return False
    if after == ":" and lower[start:at] in ("git", "hg", "svn"):
        return False
    token = lower[max(0, start - 60) : start]
    scheme = token.rfind("://")
    return scheme < 0 or " " in token[scheme:] or "/" in token[scheme + 3 :]


def find_spelled(lower: str, windows: list[tuple[int, int]]) -> Iterator[Match]:
    """Addresses in disguise; `windows` are the pieces worth a look."""
    for first, last in windows:
        bracketed = False
        for sign, kind in _ATS:
            if kind == "bracket" and not bracketed:
                bracketed = _BRACKET.search(lower, first, last) is not None
                if not bracketed:
                    break
            at = lower.find(sign, first, last)
            while at >= 0:
                found = _around(lower, at, at + len(sign), kind)
                if found:
                    yield found
                at = lower.find(sign, at + 1, last)


def find_glued(lower: str, places: list[int]) -> Iterator[Match]:
    """`johnatgmaildotcom`; `places` are where an `at` in front of a provider begins."""
    for at in places:
        found = _GLUED.match(lower, at)
        start = _left_of(lower, at) if found else at
        if found and at - start > 1:
            yield Match("email", start, found.end(), 0.8, "pii.email.spelled")


def find_spaced(lower: str) -> Iterator[Match]:
    """`j o h n @ g m a i l . c o m`."""
    at = lower.find(" @ ")
    while at >= 0:
        right = _SINGLES.match(lower, at + 2, at + _MOST_RIGHT)
        start = _left_singles(lower, at)
        if right and start < at:
            compact = (lower[start:at] + "@" + right[0]).replace(" ", "")
            found = _AFTER_AT.search(compact)
            if found and found[2] in _TLDS:
                yield Match("email", start, right.end(), 0.9, "pii.email.spelled")
        at = lower.find(" @ ", at + 1)


def _left_singles(lower: str, end: int) -> int:
    """Where single characters with spaces between begin that end at `end`."""
    found = _SINGLES_LEFT.match(lower[max(0, end - _MOST_LEFT) : end][::-1])
    return end - found.end() if found else end


def _around(lower: str, start: int, end: int, kind: str) -> Match | None:
    right = _domain(lower, end + lower[end : end + 1].isspace())
    if right is None:
        return None
    last, provider, spelled, whole = right
    name_end = start - (start > 0 and lower[start - 1].isspace())
    first = _local(lower, name_end)
    if first is None:
        return None
    if kind == "sign" and whole and not spelled and " " not in lower[first:last]:
        return None  # written plainly: found by `find`
    if not any(map(str.isalnum, lower[first:name_end])):
        return None
    local, before = lower[first:name_end], lower[max(0, first - 30) : first]
    score = _score(kind, local, provider=provider, spelled=spelled, whole=whole, before=before)
    return Match("email", first, last, score, "pii.email.spelled") if score else None


def _domain(lower: str, start: int) -> tuple[int, bool, bool, bool] | None:
    """End of the domain; whether it is a provider's, spelled, and complete."""
    limit = start + _MOST_RIGHT
    known = _AT_PROVIDER.match(lower, start, limit)
    if known and known["tld"]:
        return known.end(), True, known["tld"][0] != "." or " " in known["tld"], True
    found = _DOMAIN.match(lower, start, limit)
    if found:
        shown, cuts = found[0], [dot.span() for dot in _DOTS.finditer(found[0])]
        ends = [*(cut[0] for cut in cuts[1:]), len(shown)]
        for cut, end in zip(reversed(cuts), reversed(ends), strict=True):
            tld = shown[cut[1] : end]
            if tld in _WORDS and shown[cut[0] : cut[1]].strip() == "." != shown[cut[0] : cut[1]]:
                continue  # the end of a sentence
            if tld in _TLDS:
                spelled = _SPELLED_DOT.search(shown, 0, end) is not None
                return start + end, known is not None, spelled, True
    if known:
        return known.end(), True, False, False
    return None


def _local(lower: str, end: int) -> int | None:
    """Where the name in front of the at-sign starts."""
    least = max(0, end - _MOST_LEFT)
    found = _NAME.match(lower[least:end][::-1])
    return end - found.end() if found else None


def _score(
    kind: str, local: str, *, provider: bool, spelled: bool, whole: bool, before: str
) -> float:
    if kind == "bracket":
        return 0.9 if whole or provider else 0.0
    if kind == "sign":
        if not whole:
            return 0.8
        return 0.9 if spelled or provider or " " not in local else 0.7
    shaped = any(not each.isalpha() for each in local) and len(local) > 2
    common = local in _COMMON or len(local) < 2
    said = _CUE.search(before) is not None
    if not whole:
        return 0.7 if (said and not common) or (shaped and " " not in local) else 0.0
    if common:
        return 0.0
    if provider or (spelled and (said or shaped)):
        return 0.9
    if spelled:
        return 0.7
    return 0.7 if said and shaped else 0.0
