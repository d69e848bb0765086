"""A long text in steps of bounded work, for callers that have others waiting.

A step looks at a piece and at what lies around it, in the reading: however many invisible
characters stand in between. Steps need no cap on matches: there is no room for too many in one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from penstock.pii.match import Match
from penstock.pii.reading import Looks, Reading
from penstock.pii.settle import INNER, settled

INLINE = 800
"""Characters that take less than 1.5 ms to look through, whatever they say."""

MARGIN = 160  # characters that are read on either side of a piece
PIECE = INLINE - 2 * MARGIN


class _Window:
    """The part of a reading that is looked at, and where each character of it stands."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self.cased = ""
        self.places: list[int] = []

    def read(self, text: str, start: int) -> None:
        reading = Reading(text, self._looks)
        self.cased += reading.cased
        self.places += [start + at for at in reading.origins()]

    def leave(self, count: int) -> None:
        self.cased, self.places = self.cased[count:], self.places[count:]


def in_steps(
    text: str,
    looks: Looks,
    look: Callable[[str], list[Match]],
    *,
    before: Sequence[Match] = (),
) -> Iterator[list[Match]]:
    """What `look` finds, piece by piece, by place; `before` is settled with the first piece.

    `look` is handed a piece of the reading, at most `INLINE` characters.
    """
    window = _Window(looks)
    next_at = done = 0  # where the next piece begins in the window; where the last match ends
    for start in range(0, len(text), PIECE):
        window.read(text[start : start + PIECE], start)
        is_last = start + PIECE >= len(text)
        yield []
        while next_at < len(window.cased):
            left = len(window.cased) - next_at
            if left < PIECE + MARGIN and not is_last:
                break
            end = next_at + (left if is_last and left <= PIECE + MARGIN else PIECE)
            found = _placed(look(window.cased[: end + MARGIN]), window.places, next_at, end)
            if before:
                found, before = settled([*found, *before]), ()
            kept = [match for match in found if match.start >= done or match.rule == INNER]
            done = max((match.end for match in kept), default=done)
            yield kept
            gone = max(0, end - MARGIN)
            window.leave(gone)
            next_at = end - gone


def _placed(found: list[Match], places: list[int], first: int, last: int) -> list[Match]:
    """Those that begin in a piece of the window, where they stand in the text."""
    return [
        match._replace(start=places[match.start], end=places[match.end - 1] + 1)
        for match in found
        if first <= match.start < last
    ]
