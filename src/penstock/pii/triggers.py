"""One pass over a text for every word that makes a detector worth its time."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ahocorasick_rs import AhoCorasick

from penstock.pii import words
from penstock.pii.emails import PROVIDERS
from penstock.pii.intents import PHRASES
from penstock.pii.match import Kind
from penstock.pii.networks import PROFILES, SUBDOMAINS, TRIGGERS
from penstock.pii.pieces import around

_DOTS = (
    *("dot", "d0t", "punkt", "punto", "point", "[.]", "(.)", "{.}", " . "),
    *(
        "[at]",
        "(at)",
        "{at}",
        "<at>",
        "*at*",
        "-at-",
        "_at_",
        "(a t)",
        "[@]",
        "(@)",
        "{@}",
        "arroba",
    ),
)
_INVITES = ("discord gg", "discordgg", "d1scord gg", "disc0rd gg")
_BEFORE_NAMES = (
    *("calle ", "avenida ", "avda", "plaza ", "paseo ", "viale ", "piazza ", "corso ", "rua "),
    *("praca ", "via "),
)
_STREETS = (
    *("strasse ", "straße ", "str. ", "gasse ", "allee ", "weg ", "platz ", "damm ", "ufer "),
    *("straat ", "laan ", "gracht ", "kade ", "plein "),
    *("o box", "o. box", "o.box", "obox", "postbox", "post box", "postfach", "apartado"),
    *("apartado de correos", "boite postale"),
    *_BEFORE_NAMES,
)
_ROMANCE = frozenset(_BEFORE_NAMES)
_NUMBERED = re.compile(r"\s?#?\d")
_NUMBER_STARTS = frozenset(word[:2] for word in words.ALL if len(word) > 1)
_LEAST_NUMBERS = 3
_APART = 24  # characters between two number words of one number, at most


class Signals(NamedTuple):
    """Where what was seen, in code points."""

    mail: list[tuple[int, int]]  # windows around words that spelled addresses are made of
    net: list[tuple[int, int]]  # windows around names of networks
    street: list[tuple[int, int]]  # where words for streets and post boxes stand
    hosts: list[tuple[str, int]]  # hosts of profiles, and where they end
    phrases: list[tuple[Kind, int, int]]
    glued: list[int]  # where `atgmail` and the like begin
    spoken: list[tuple[int, int]]  # pieces with several words for numbers


class Triggers:
    """The automaton."""

    def __init__(self) -> None:
        meanings: dict[str, list[tuple[str, Any]]] = {}
        for group, members in (
            ("mail", (*_DOTS, *_INVITES, *PROVIDERS)),
            ("net", TRIGGERS),
            ("street", _STREETS),
            ("host", (*PROFILES, *SUBDOMAINS)),
            ("glued", [f"at{provider}" for provider in PROVIDERS]),
            ("number", [word for word in words.ALL if len(word) > 2]),
        ):
            for member in members:
                meanings.setdefault(member, []).append((group, member))
        for kind, phrases in PHRASES.items():
            for phrase in phrases:
                meanings.setdefault(phrase, []).append(("phrase", kind))
        self._meanings = list(meanings.values())
        self._automaton = AhoCorasick(list(meanings))

    def look(self, lower: str) -> Signals | None:
        """What is there, or None: the usual answer."""
        found = self._automaton.find_matches_as_indexes(lower, overlapping=True)
        if not found:
            return None
        places: dict[str, list[tuple[int, int]]] = {"mail": [], "net": [], "street": []}
        places["number"] = []
        hosts: list[tuple[str, int]] = []
        phrases: list[tuple[Kind, int, int]] = []
        glued: list[int] = []
        for index, start, end in found:
            for group, member in self._meanings[index]:
                if group == "number":
                    if _is_said(lower, start, end, places["number"]):
                        places["number"].append((start, end))
                elif group == "street":
                    if _NUMBERED.match(lower, end) or member in _ROMANCE:
                        places["street"].append((start, end))
                elif group == "host":
                    hosts.append((member, end))
                elif group == "glued":
                    glued.append(start)
                elif group == "phrase":
                    if _stands_free(lower, start, end):
                        phrases.append((member, start, end))
                else:
                    places[group].append((start, end))
        length = len(lower)
        mail = around(places["mail"], before=90, after=90, length=length)
        net = around(places["net"], before=50, after=70, length=length)
        spoken = _crowded(places["number"], length)
        return Signals(mail, net, places["street"], hosts, phrases, glued, spoken)


def _is_said(lower: str, start: int, end: int, before: list[tuple[int, int]]) -> bool:
    """Whether a number word is one, and not the end of `phone`."""
    if lower[end : end + 1].isalpha() and lower[end : end + 2] not in _NUMBER_STARTS:
        return False
    return not (start and lower[start - 1].isalpha()) or (bool(before) and before[-1][1] >= start)


def _crowded(places: list[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Pieces in which at least three number words stand close together."""
    pieces: list[tuple[int, int]] = []
    first = 0
    for at, place in enumerate(places):
        if at and place[0] - places[at - 1][1] > _APART:
            first = at
        if at - first == _LEAST_NUMBERS - 1:
            pieces.append((places[first][0], place[1]))
        elif at - first >= _LEAST_NUMBERS:
            pieces[-1] = pieces[-1][0], place[1]
    return [(max(0, start - _APART), min(length, end + _APART)) for start, end in pieces]


def _stands_free(lower: str, start: int, end: int) -> bool:
    return not (lower[start - 1 : start].isalnum() if start else False) and not (
        lower[end : end + 1].isalnum()
    )
