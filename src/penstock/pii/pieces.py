"""The pieces of a text that are worth a look: what lies around places, each of it once."""

from __future__ import annotations

from collections.abc import Iterable


def around(
    places: Iterable[tuple[int, int]], *, before: int, after: int, length: int
) -> list[tuple[int, int]]:
    """Pieces around places that come in order of their ends; those that overlap are one."""
    pieces: list[tuple[int, int]] = []
    for start, end in places:
        first, last = max(0, start - before), min(length, end + after)
        if pieces and first <= pieces[-1][1]:
            earlier = pieces[-1]
            pieces[-1] = (min(earlier[0], first), max(earlier[1], last))
        else:
            pieces.append((first, last))
    return pieces
