"""Composes sentences about groups from patterns: hateful ones, and harmless ones of the same words.

Our written sentences show how people put things; these show that it does not matter which group is
named, and that quoting, denying, answering, or aiming at a thing or a single person is not hate.
Every choice follows from a hash of the pattern, so the rows are the same on every machine. All of
them are for fitting, none for dev. patterns.tsv has the patterns, and sentences in other scripts.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from training.sources import HARMS, Row

PATTERNS = Path(__file__).parent / "patterns.tsv"
WEIGHT = 1.0
SCRIPT_WEIGHT = 8.0
PER_PATTERN = 36
_SLOT = re.compile(r"\{(\w+)\}")

# What a sentence of each kind says about which heads; about the others it says nothing.
_KNOWN: dict[str, tuple[dict[int, tuple[str, ...]], float]] = {
    "hateful": ({1: ("hate",), 0: ("sexual", "self_harm", "other_language")}, WEIGHT),
    "harmless": ({0: (*HARMS, "other_language")}, WEIGHT),
    "unkind": ({0: ("hate", "sexual", "self_harm", "other_language")}, WEIGHT),
    "script": ({1: ("other_language",)}, SCRIPT_WEIGHT),
}


def composed() -> Iterator[Row]:
    """Rows of all patterns."""
    patterns = _read()
    slots = {
        kind.removeprefix("slot "): [word.strip() for word in texts[0].split(",")]
        for kind, texts in patterns.items()
        if kind.startswith("slot ")
    }
    for kind, (known, weight) in _KNOWN.items():
        for pattern in patterns[kind]:
            for text in dict.fromkeys(_fill(pattern, slots)):
                row = Row(text, "composed", dev=False)
                for label, heads in known.items():
                    row.mark(label, weight, *heads)
                yield row


def _read() -> dict[str, list[str]]:
    patterns = defaultdict(list)
    for line in PATTERNS.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            kind, _, text = line.partition("\t")
            patterns[kind].append(text)
    return patterns


def _fill(pattern: str, slots: dict[str, list[str]]) -> Iterator[str]:
    """The pattern with words in its slots, PER_PATTERN times."""
    for turn in range(PER_PATTERN):
        seed = hashlib.sha256(f"{pattern} {turn}".encode()).digest()
        picks = iter(seed[n] << 8 | seed[n + 1] for n in range(0, 30, 2))
        words = [_pick(slots[name], next(picks)) for name in _SLOT.findall(pattern)]
        yield _SLOT.sub("{}", pattern).format(*words)


def _pick(words: list[str], number: int) -> str:
    return words[number % len(words)]
