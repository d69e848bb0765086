"""The pieces of a text that are worth a look: what lies around places, each of it once."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable


def around(
    places: Iterable[tuple[int, int]], *, before: int, after: int, length: int
) -> list[tuple[int, int]]:
    """Pieces around places that come in order of their ends; those that overlap are one."""
    pieces: list[tuple[int, int]] = []
    for start, end in places:
        first, last = max(0, start - before), min(length, end + after)
        while pieces and first <= pieces[-1][1]:
            earlier = pieces.pop()
            first, last = min(earlier[0], first), max(earlier[1], last)
        pieces.append((first, last))
    return pieces


class Nearby:
    """Where a pattern is found near places: the text between them is read once, not per place."""

    def __init__(
        self,
        pattern: re.Pattern[str],
        lower: str,
        pieces: Iterable[tuple[int, int]],
        *,
        only: Collection[str] = (),
    ) -> None:
        self._found = [
            found.span()
            for first, last in pieces
            for found in pattern.finditer(lower, first, last)
            if not only or found[0] in only
        ]

    def is_within(self, start: int, end: int) -> bool:
        """Whether some of it lies between `start` and `end`."""
        at = bisect_left(self._found, (start, 0))
        return at < len(self._found) and self._found[at][1] <= end
