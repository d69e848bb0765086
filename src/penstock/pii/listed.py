"""Lists of words as a block of text: one word per item is a page of quotes."""

from __future__ import annotations


def listed(block: str) -> frozenset[str]:
    """Give the words of a block."""
    return frozenset(block.split())
