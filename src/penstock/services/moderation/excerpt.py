"""Which part of a long text a paid provider reads.

The prescreen and the local model read everything; a provider is paid by the token. It gets the
head, the tail and the riskiest windows between, in their order. The same text always gives the
same excerpt, so that a verdict can be repeated and audited.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

WINDOW = 50  # words
GAP = " […] "

FIST_PERCENTAGES = (0.8, 0.6, 0.4, 0.2)
FIST_LIMITS = (500, 1000, 3000)


class ExcerptRule(msgspec.Struct, frozen=True):
    """How many words of a text may be sent: a share by length, and a bound."""

    max_words: int = 600
    percentages: tuple[float, ...] = (1.0,)
    limits: tuple[int, ...] = ()  # word counts at which the next percentage begins

    @property
    def key(self) -> str:
        """Part of the cache key: another excerpt is another question."""
        shares = ",".join(f"{share:g}" for share in self.percentages)
        return f"{self.max_words}/{shares}/{','.join(map(str, self.limits))}"

    def share(self, words: int) -> float:
        """The share of a text of that many words."""
        index = sum(words >= limit for limit in self.limits)
        return self.percentages[min(index, len(self.percentages) - 1)]


def windows(text: str) -> list[str]:
    """The text in consecutive windows, ten or more, of at most WINDOW words.

    A text with hardly any spaces (a script without them, one long token) is cut by characters.
    """
    words = text.split()
    if len(words) * 20 < len(text):
        size = _size(len(text), WINDOW * 5)
        return [text[at : at + size] for at in range(0, len(text), size)]
    size = _size(len(words), WINDOW)
    return [" ".join(words[at : at + size]) for at in range(0, len(words), size)]


def _size(length: int, most: int) -> int:
    return max(1, min(most, length // 10))


def excerpt(parts: Sequence[str], risks: Sequence[float], share: float) -> str:
    """Head, tail and the riskiest of `parts` between, about `share` of them; at least one.

    `risks` are aligned with `parts`; equal risks are taken from the front.
    """
    wanted = max(1, round(len(parts) * share))
    if wanted >= len(parts):
        return " ".join(parts)
    ends = [0, len(parts) - 1][:wanted]
    between = sorted(range(1, len(parts) - 1), key=lambda at: (-risks[at], at))
    chosen = sorted({*ends, *between[: wanted - len(ends)]})
    text = parts[chosen[0]]
    for before, at in pairwise(chosen):
        text += (" " if at == before + 1 else GAP) + parts[at]
    return text
