"""What the lists of an installation say about one text or image.

    block hit ─► rejected     review hit ─► at least review     allow hit over all ─► approved

A block or review hit that lies wholly inside an allow hit does not count: `scunthorpe` may be
allowed where a part of it is blocked. What people decided about exactly this content stands above
everything else. Of an image, an exact hash says more than a near one; where only near ones speak,
block wins over review over allow, because near is not the same.

A text that lists could not be searched to their end is at least left to a human: the `cut` is told
as a hit of entry 0.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from penstock.cache.keys import fingerprint
from penstock.lists.allowed import is_whole

ListKind = Literal["block", "allow", "review"]
Outcome = Literal["rejected", "review", "approved"]

MOST_HITS = 64  # told of one text; all of them count
MOST_EXEMPT = 1000  # pieces told; more would cost more than they spare

_OUTCOMES: dict[ListKind, Outcome] = {
    "block": "rejected",
    "review": "review",
    "allow": "approved",
}


class ListHit(msgspec.Struct, frozen=True):
    """An entry that was found, and where: offsets in code points, 0..0 in an image."""

    list_id: str
    list_name: str
    list_kind: ListKind
    entry_id: int  # 0: the text was too much to be searched for all of them
    start: int
    end: int


class Listed(msgspec.Struct, frozen=True):
    """What lists make of one text or image; the first hit is one that decided."""

    decision: Outcome | None = None  # None: no list has the last word
    hits: tuple[ListHit, ...] = ()
    exempt: tuple[tuple[int, int], ...] = ()  # what lies wholly inside does not count
    whole: bool = False  # the decision is about all of it: an exact hash, or a whole text allowed
    digest: str = ""  # tells what was found apart; empty without hits


NOTHING = Listed()
"""No list knows it."""


class Match(NamedTuple):
    """A hit, and how much it says."""

    hit: ListHit
    exact: bool = False  # of the content's own hash
    decided: int = 0  # by people, about exactly this: 1 for everyone, 2 for the key that asks


def weigh_text(found: Sequence[Match], text: str, cut: ListHit | None = None) -> Listed:
    """What hits in a text come to; `cut` is a review hit for what was not searched to its end."""
    if not found and cut is None:
        return NOTHING
    if found and (decided := _decided(found)):
        return decided
    hits = [each.hit for each in found]
    allowed = [hit for hit in hits if hit.list_kind == "allow"]
    counting = [hit for hit in hits if hit.list_kind != "allow"]
    spans = outermost(allowed)
    if spans:
        counting = [hit for hit in counting if not inside(hit.start, hit.end, spans)]
    if cut is not None:
        counting.append(cut)
    for kind in ("block", "review"):
        if deciding := [hit for hit in counting if hit.list_kind == kind]:
            rest = [hit for hit in (*counting, *allowed) if hit.list_kind != kind]
            return _listed(_OUTCOMES[kind], [*deciding, *rest], spans)
    whole = any(is_whole(start, end, text) for start, end in spans)
    return _listed("approved" if whole else None, allowed, spans, whole=whole)


def weigh_image(found: Sequence[Match]) -> Listed:
    """What hits of an image's hashes come to."""
    if not found:
        return NOTHING
    if decided := _decided(found):
        return decided
    exact = [each.hit for each in found if each.exact]
    order: tuple[ListKind, ...] = ("allow", "block", "review") if exact else _STERNEST_FIRST
    hits = exact or [each.hit for each in found]
    for kind in order:
        if deciding := [hit for hit in hits if hit.list_kind == kind]:
            rest = [hit for hit in hits if hit.list_kind != kind]
            return _listed(_OUTCOMES[kind], [*deciding, *rest], [], whole=bool(exact))
    return NOTHING


_STERNEST_FIRST: tuple[ListKind, ...] = ("block", "review", "allow")


def _decided(found: Iterable[Match]) -> Listed | None:
    """What people decided about exactly this content; the key's own decision first."""
    best = max(found, key=lambda each: each.decided)
    if not best.decided:
        return None
    hit = best.hit
    spans = [(hit.start, hit.end)] if hit.list_kind == "allow" else []
    return _listed(_OUTCOMES[hit.list_kind], [hit], spans, whole=True)


def _listed(
    decision: Outcome | None,
    hits: Sequence[ListHit],
    spans: Sequence[tuple[int, int]],
    *,
    whole: bool = False,
) -> Listed:
    kept = tuple(hits[:MOST_HITS])
    exempt = tuple(spans[:MOST_EXEMPT])
    facts = [(hit.list_id, hit.entry_id, hit.start, hit.end) for hit in kept]
    digest = fingerprint(decision or "", str(facts), str(exempt), str(whole))
    return Listed(decision, kept, exempt, whole, digest)


def outermost(allowed: Iterable[ListHit]) -> list[tuple[int, int]]:
    """Where allow hits are, in order, without those inside another."""
    kept: list[tuple[int, int]] = []
    for start, end in sorted({(h.start, h.end) for h in allowed}, key=lambda s: (s[0], -s[1])):
        if not kept or end > kept[-1][1]:
            kept.append((start, end))
    return kept


def inside(start: int, end: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a piece lies in one of the outermost spans: begins and ends of these both ascend."""
    at = bisect_right(spans, start, key=lambda span: span[0]) - 1
    return at >= 0 and end <= spans[at][1]
