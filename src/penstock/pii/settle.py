"""What counts where several rules found something in one place."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest

from penstock.pii.match import Kind, Match

MOST_MATCHES = 256
INNER = "pii.phone.link"  # stands inside another match

_RANK: dict[Kind, int] = {  # which kind wins where two are as sure and as long
    "phone": 0,
    "address": 1,
    "social": 2,
    "ip": 3,
    "card": 4,
    "iban": 5,
    "email": 6,
}


def settled(matches: Iterable[Match]) -> list[Match]:
    """One match where several overlap, the strongest of too many, by place.

    The number in a link to a chat is a telephone number too: what allows the one may not the other.
    """
    ordered = sorted(matches, key=lambda match: (match.start, -match.end, -match.score))
    kept: list[Match] = []
    inner = [match for match in ordered if match.rule == INNER]
    for match in ordered:
        if match.rule == INNER:
            continue
        while kept and match.start < kept[-1].end and _weighs(match) > _weighs(kept[-1]):
            kept.pop()
        if not kept or match.start >= kept[-1].end:
            kept.append(match)
    kept = sorted(kept + inner, key=_place) if inner else kept
    if len(kept) > MOST_MATCHES:
        kept = nlargest(MOST_MATCHES, kept, key=lambda match: (match.score, -match.start))
        kept.sort(key=_place)
    return kept


def _place(match: Match) -> tuple[int, int]:
    return match.start, match.end


def _weighs(match: Match) -> tuple[float, int, int]:
    return match.score, match.end - match.start, _RANK[match.kind]
