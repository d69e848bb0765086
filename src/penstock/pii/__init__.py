"""Finds what leads to a person: addresses, numbers and names of every kind, hidden or not.

    text ─ Reading (look-alikes, other digits, invisible characters undone; offsets kept)
         ─ triggers: digits, @, a few hundred words in one automaton ─ nothing: done
         ─ detectors of the kinds that the triggers allow ─ one match per place

Rules only, no model: the same text gives the same matches, in time linear in its length whatever
it says. It knows neither thresholds nor what is allowed, only how sure a rule is.
What is found and what is not: docs/discussions/pii.md.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from penstock.pii.match import KINDS, Kind, Match, Span, mask

__all__ = ["KINDS", "Kind", "Match", "Span", "find", "mask", "warm"]

VERSION = "1"
"""Part of the keys of cached findings: counts up whenever some text gives other matches."""


def find(text: str, *, history: Sequence[str] = (), kinds: Collection[Kind] = KINDS) -> list[Match]:
    """Give what stands in `text`, by place: one match at any place, the surest.

    `history` holds earlier messages of the same author, oldest first: what began there and ends
    in `text` counts, with the part that stands in `text`. At most `finder.MOST_MATCHES` are kept,
    the strongest.
    """
    from penstock.pii.finder import finder  # patterns: compiled when first needed

    return finder().find(text, history=history, kinds=kinds)


def warm() -> None:
    """Compile the patterns and read the numbering plans now, not at the first texts: 0.4 s."""
    from penstock.pii.finder import finder

    finder().warm()
