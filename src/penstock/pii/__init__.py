"""Finds what leads to a person: addresses, numbers and names of every kind, hidden or not.

    text ─ Reading (look-alikes, other digits, invisible characters undone; offsets kept)
         ─ triggers: digits, @, a few hundred words in one automaton ─ nothing: done
         ─ detectors of the kinds that the triggers allow ─ one match per place

Rules only, no model: the same text gives the same matches, in time linear in its length whatever
it says. It knows neither thresholds nor what is allowed, only how sure a rule is.
What is found and what is not: docs/discussions/pii.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from penstock.pii.match import KINDS, Kind, Match, Span, mask
from penstock.pii.stepwise import INLINE

__all__ = ["INLINE", "KINDS", "Kind", "Match", "Span", "find", "mask", "steps", "warm"]

VERSION = "2"
"""Part of the keys of cached findings: counts up whenever some text gives other matches."""


def find(text: str, *, history: Sequence[str] = (), kinds: Collection[Kind] = KINDS) -> list[Match]:
    """Give what stands in `text`, by place: one match at any place, the surest.

    `history` holds earlier messages of the same author, oldest first: what began there and ends
    in `text` counts, with the part that stands in `text`. At most `settle.MOST_MATCHES` are kept,
    the strongest.

    Prose costs 0.03 us per character, text made to be slow 1.3 us, 1.8 at the very worst; a history
    as much as 3,000 characters more. So up to `INLINE` characters may be looked at between two
    turns of an event loop; longer texts belong in a thread, or are read in `steps`.
    """
    from penstock.pii.finder import finder  # patterns: compiled when first needed

    return finder().find(text, history=history, kinds=kinds)


def steps(
    text: str, *, history: Sequence[str] = (), kinds: Collection[Kind] = KINDS
) -> Iterator[list[Match]]:
    """Give the same in steps that cost no more than `find` of `INLINE` characters.

    Each gives what begins in its piece of the text, often nothing, and all of it: no number is too
    many. A match longer than `stepwise.MARGIN` may be cut short.

        for found in steps(text):
            matches += found
            await asyncio.sleep(0)
    """
    from penstock.pii.finder import finder

    return finder().steps(text, history=history, kinds=kinds)


def warm() -> None:
    """Compile the patterns and read the numbering plans now, not at the first texts: 0.4 s."""
    from penstock.pii.finder import finder

    finder().warm()
