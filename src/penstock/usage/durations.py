"""Durations as counters: a bucket per duration, eight to the octave, that any server may add to.

What is added up over servers and days cannot be sorted any more, but its buckets can: a percentile
of them is at most a twelfth too high.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log2
from typing import Final

PER_OCTAVE: Final = 8
LOWEST: Final = 0.0001  # seconds; what is shorter counts as this
HIGHEST: Final = 3600.0

_NAMES: Final = tuple(f"b{n}" for n in range(int(log2(HIGHEST / LOWEST) * PER_OCTAVE) + 1))


def bucket(seconds: float) -> str:
    """The name of the bucket of a duration.

    >>> bucket(0.25), upper(bucket(0.25)) >= 0.25
    ('b90', True)
    """
    if seconds <= LOWEST:
        return _NAMES[0]
    return _NAMES[int(log2(min(seconds, HIGHEST) / LOWEST) * PER_OCTAVE)]


def upper(name: str) -> float:
    """The longest duration of a bucket, in seconds."""
    return float(LOWEST * 2.0 ** ((int(name[1:]) + 1) / PER_OCTAVE))


def percentile(counts: Mapping[str, int], share: float) -> float:
    """The duration in seconds that `share` of all do not exceed; 0 where there is none.

    Names that are no buckets are passed over.
    """
    ordered = sorted((int(name[1:]), count) for name, count in counts.items() if name[:1] == "b")
    wanted = ceil(share * sum(count for _, count in ordered))
    reached = 0
    for number, count in ordered:
        reached += count
        if reached >= max(1, wanted):
            return upper(f"b{number}")
    return 0.0
