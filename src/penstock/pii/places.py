"""Postal addresses, as they are written in the United States, Britain and Europe.

Conservative: "5 minutes down the street" and "third place" are in every other text. A number and
a word for a street are an address when names stand between them, when a postal code or a flat
follows, or when someone says that they live there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.pii.listed import listed
from penstock.pii.match import Match
from penstock.pii.pieces import Nearby, around

_SURE = "street|avenue|boulevard|road|blvd|rd|ave|parkway|pkwy|lane|crescent|mews|terrace"
_LIKELY = (
    "st|ln|dr|drive|court|ct|circle|cir|way|place|pl|square|sq|close|gardens|grove|row|trail|"
    "highway|hwy|alley|walk|hill|quay|wharf|plaza"
)
_STATES = (
    "al|ak|az|ar|ca|co|ct|de|fl|ga|hi|id|il|in|ia|ks|ky|la|me|md|ma|mi|mn|ms|mo|mt|ne|nv|nh|nj|nm|"
    "ny|nc|nd|oh|ok|or|pa|ri|sc|sd|tn|tx|ut|vt|va|wa|wv|wi|wy|dc"
)
_FLAT = r"(?:,?\s(?:apt|apartment|unit|suite|ste|flat|floor|fl|#)\.?\s?#?\w{1,5})"
_CITY = (
    rf"(?:,?\s[a-z][a-z.'-]+(?:\s[a-z][a-z.'-]+){{0,2}},?\s(?:(?:{_STATES})\s\d{{5}}(?:-\d{{4}})?"
    r"|[a-z]{1,2}\d[a-z\d]?\s?\d[a-z]{2}))"
)
_NUMBERED = re.compile(
    r"[1-9]\d{0,4}[a-d]?,?\s(?P<names>(?:[nsew]{1,2}\.?\s)?[\w'.-]+(?:\s[\w'.-]+){0,3}?)"
    rf"\s(?:(?P<sure>{_SURE})|(?P<likely>{_LIKELY}))(?!\w)\.?(?:\s(?:[nsew]{{1,2}}|north|south|east|west)\b)?"
    rf"(?P<flat>{_FLAT}?)(?P<city>{_CITY}?)"
)
_FRENCH = re.compile(
    r"\d{1,4}(?:\s?(?:bis|ter|quater))?,?\s(?P<way>rue|allee|chemin|impasse|quai|"
    r"avenue|boulevard|bd|place|route|cours)\s(?P<of>(?:de\s(?:la\s|l')?|du\s|des\s|d'|la\s|le\s|les\s)?)"
    r"[\w'-]{2,}(?:\s[\w'-]+){0,3}?(?:,?\s\d{5}\s[a-z-]+|(?=[,.;\n]|$|\s))"
)
_GERMAN = re.compile(
    r"(?<!\w)(?P<name>(?:[\w-]+\s)?[\w-]*(?P<way>stra(?:ss|ß)e|str\.|gasse|allee|weg|platz|damm|ufer|"
    r"straat|laan|gracht|kade|plein))\s\d{1,4}\s?[a-h]?(?!\w)(?P<code>,?\s(?:[a-z]-)?\d{4,5}\s?[a-z-]+)?"
)
_ROMANCE = re.compile(
    r"(?<!\w)(?:calle|avenida|avda?\.?|plaza|paseo|viale|piazza|corso|rua|praca|via)\s"
    r"(?P<names>(?:(?:de|del|la|las|los|el|di|della|dos|da|do)\s){0,2}[\w'.]{2,}(?:\s[\w'.]{2,}){0,3}?)"
    r",?\s(?:n[.ºo°]{0,2}\s?)?\d{1,4}(?!\w)"
)
_BOX = re.compile(
    r"(?<!\w)(?:p\.?\s?o\.?\s?box|post ?box|postfach|apartado(?: de correos)?|boite postale)"
    r"\s#?\d[\d ]{0,8}"
)
_POSTCODE = re.compile(r"[A-Z](?<![\w-].)[A-Z]?\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}(?![\w-])")
_HOUSE = re.compile(
    r"[0-9](?<![\w.,$€£#:/-].)[0-9]{0,4}+"
    r"(?=[a-d]?,?\s(?:[a-z]|\d{1,4}(?:st|nd|rd|th))|\s?(?:bis|ter|quater)\b)"
)
_FRENCH_WAYS = "rue|allee|chemin|impasse|quai|bd|avenue|boulevard|place|route|cours"
_STREETS = frozenset(f"{_SURE}|{_LIKELY}|{_FRENCH_WAYS}".split("|"))
_WORDS = re.compile(r"[a-z]+")
_NEAR = 64  # characters behind a house number within which its street ends
_ONLY_FRENCH = frozenset(("rue", "allee", "chemin", "impasse", "quai", "bd"))
_HOME = re.compile(
    r"\b(?:live[sd]?|living|reside[sd]?|stay(?:ing)?|moved|located|address|addr|house|home|ship|deliver|"
    r"send it|come|mail it|visit me|wohne|wohnt|vivo|habite|abito)\b[^.!?\n]{0,20}$"
)
_NOT_NAMES = listed(
    """if else not has had have do does did get got of the a an on in to from with at by for and or
    minutes minute min mins hours hour cars car people men women kids guys days day weeks blocks
    block miles mile km meters feet ft years year times time ways things different other more
    most less is are was were down up across along off per every each this that these those my
    your his her our their way one two three streets percent million billion pm am seconds steps
    lanes lane way dollars bucks points seats tables lost found dead big small busy empty open
    closed long short new old bad good great hard easy way-out wins losses win first second
    third last next best best-of houses shops stores cameras cops police protesters cyclists
    runs run shots laps lap players teams team gold silver bronze versions"""
)


def find(lower: str, cased: str) -> Iterator[Match]:
    """Addresses that begin with a number, and British post codes."""
    houses = [house.span() for house in _HOUSE.finditer(lower)]
    near = around(houses, before=0, after=_NEAR, length=len(lower))
    ways = Nearby(_WORDS, lower, near, only=_STREETS)
    done = 0
    for start, end in houses:
        # A word for a street close by tells at a tenth of the patterns' cost.
        if start < done or not ways.is_within(end, end + _NEAR):
            continue
        found = _NUMBERED.match(lower, start)
        score = _numbered_score(found, lower, cased) if found else 0.0
        if found is None or not score:
            found = _FRENCH.match(lower, start)
            score = 0.9 if found and (found["of"] or found["way"] in _ONLY_FRENCH) else 0.0
        if found and score:
            yield Match("address", *_trimmed(found), score, "pii.address")
            done = found.end()
    for code in _POSTCODE.finditer(cased):
        yield Match("address", *code.span(), 0.7, "pii.address")


def find_named(lower: str, cased: str, streets: list[tuple[int, int]]) -> Iterator[Match]:
    """Post boxes, and addresses in which the number follows the street.

    `streets` are the places of words for a street or a post box.
    """
    done = 0
    for place, end in streets:
        if place < done:
            continue
        if lower[end - 1] == " " and lower[end : end + 1].isdigit():
            found = _GERMAN.match(lower, _two_words_back(lower, place))
            score = _german_score(found, cased) if found else 0.0
            if found and score and found.end("name") <= end:
                done = found.end()
                yield Match("address", _word(found, cased), done, score, "pii.address")
                continue
        found = _ROMANCE.match(lower, place)
        if found:
            first = found.start("names")
            named = cased[first].isupper() and not cased[first : first + 2].isupper()
            sure = not found[0].startswith(("via", "plaza"))  # both are English words too
            if (named or (sure and " " in found["names"])) and (sure or cased[place].isupper()):
                done = found.end()
                yield Match("address", place, done, 0.8 if sure else 0.6, "pii.address")
            continue
        found = _BOX.search(lower, max(0, place - 3), min(len(lower), end + 30))
        if found:
            done = found.end()
            yield Match("address", *_trimmed(found), 1.0, "pii.address")


def _two_words_back(lower: str, place: int) -> int:
    """Where the word around `place` begins, or the one before it."""
    start, least = place, max(0, place - 40)
    for _ in range(2):
        while start > least and (lower[start - 1].isalnum() or lower[start - 1] == "-"):
            start -= 1
        if start < 2 or lower[start - 1] != " " or not lower[start - 2].isalpha():
            return start
        before, start = start, start - 1
    return before


def _numbered_score(found: re.Match[str], lower: str, cased: str) -> float:
    names = found["names"].split()
    if any(name in _NOT_NAMES for name in names) or not any(map(str.isalnum, names[0])):
        return 0.0
    if found["flat"] or found["city"]:
        return 1.0
    start, end = found.span("names")
    titled = all(word[:1].isupper() or word[:1].isdigit() for word in cased[start:end].split())
    titled = (
        titled and cased[found.start("sure") if found["sure"] else found.start("likely")].isupper()
    )
    said = _HOME.search(lower, max(0, found.start() - 40), found.start()) is not None
    if titled:
        return 1.0 if said or found["sure"] else 0.8
    if said:
        return 0.9
    return 0.6 if found["sure"] and len(names) <= 2 and names[0].isalpha() else 0.0


def _german_score(found: re.Match[str], cased: str) -> float:
    word = found["name"].split()[-1]
    stem = len(word) - len(found["way"])
    first = cased[_word(found, cased)]
    if found["code"]:
        return 1.0 if stem > 1 or " " in found["name"] else 0.0
    if not first.isupper():
        return (
            0.6 if stem > 2 and found["way"] in ("strasse", "straße", "straat", "gracht") else 0.0
        )
    if found["way"] in ("weg", "platz", "damm", "ufer", "allee", "plein", "kade", "laan"):
        return 0.7 if stem > 2 else 0.0
    return 0.9 if stem > 1 or " " in found["name"] else 0.0


def _word(found: re.Match[str], cased: str) -> int:
    """Where the street's name starts: the word before counts where it is capitalised too."""
    start = found.start()
    cut = found["name"].find(" ")
    if cut < 0 or (cased[start].isupper() and cased[start + cut + 1].isupper()):
        return start
    return start + cut + 1


def _trimmed(found: re.Match[str]) -> tuple[int, int]:
    shown = found[0].rstrip(" ,\n")
    return found.start(), found.start() + len(shown)
