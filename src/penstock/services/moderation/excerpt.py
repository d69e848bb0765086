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
LETTERS = 5  # that stand for a word where there are no spaces
SPACELESS = 20  # letters a word from which on that is so
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


def count_words(text: str) -> int:
    """Words, or what would be as many letters where there are hardly any spaces."""
    words = len(text.split())
    return len(text) // LETTERS if words * SPACELESS < len(text) else words


def windows(text: str) -> list[str]:
    """The text in consecutive windows, ten or more, of at most WINDOW words.

    A text with hardly any spaces (a script without them, one long token) is cut by characters.
    """
    words = text.split()
    if len(words) * SPACELESS < len(text):
        size = _size(len(text), WINDOW * LETTERS)
        return [text[at : at + size] for at in range(0, len(text), size)]
    size = _size(len(words), WINDOW)
    return [" ".join(words[at : at + size]) for at in range(0, len(words), size)]


def _size(length: int, most: int) -> int:
    return max(1, min(most, length // 10))


def excerpt(parts: Sequence[str], risks: Sequence[float], share: float) -> str:
    """Head, tail and the riskiest of `parts` between, about `share` of them; at least one.

    `risks` are aligned with `parts`; equal risks are taken from the front.
    """
    return join(parts, choose(risks, share))


def choose(risks: Sequence[float], share: float) -> list[int]:
    """Which parts `excerpt` takes, in their order."""
    wanted = max(1, round(len(risks) * share))
    if wanted >= len(risks):
        return list(range(len(risks)))
    ends = [0, len(risks) - 1][:wanted]
    between = sorted(range(1, len(risks) - 1), key=lambda at: (-risks[at], at))
    return sorted({*ends, *between[: wanted - len(ends)]})


def join(parts: Sequence[str], chosen: Sequence[int]) -> str:
    """The chosen parts as one text that shows where something is left out."""
    text = parts[chosen[0]]
    for before, at in pairwise(chosen):
        text += (" " if at == before + 1 else GAP) + parts[at]
    return text
