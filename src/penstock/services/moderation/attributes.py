"""Perspective's attributes, computed from the scores of our categories.

Every formula is monotone: no category can rise and an attribute fall. The numbers are ours, not
Google's; `calibration` maps them to the scale that an installation is used to.

    INSULT             harassment
    IDENTITY_ATTACK    max(hate, hate/threatening)
    THREAT             max(harassment/threatening, hate/threatening)
    PROFANITY          profanity
    SEXUALLY_EXPLICIT  max(sexual, sexual/minors)
    TOXICITY           max(INSULT, IDENTITY_ATTACK, THREAT, 0.8 PROFANITY)
    SEVERE_TOXICITY    TOXICITY x (0.35 + 0.65 x the second highest of those four)

Coarse words alone are milder than an insult in the same words, so they count less. Severe is what
is toxic in more than one way: an insult in coarse words, a threat against a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from penstock.providers.provider import CATEGORIES

ATTRIBUTES: Final = (
    "TOXICITY",
    "SEVERE_TOXICITY",
    "IDENTITY_ATTACK",
    "INSULT",
    "PROFANITY",
    "THREAT",
    "SEXUALLY_EXPLICIT",
)
"""What is served."""

_EXPERIMENTAL: Final = (
    *(f"{name}_EXPERIMENTAL" for name in ATTRIBUTES[:6]),
    *("TOXICITY_FAST", "FLIRTATION"),
    *("AFFINITY_EXPERIMENTAL", "COMPASSION_EXPERIMENTAL", "CURIOSITY_EXPERIMENTAL"),
    *("NUANCE_EXPERIMENTAL", "PERSONAL_STORY_EXPERIMENTAL", "REASONING_EXPERIMENTAL"),
    "RESPECT_EXPERIMENTAL",
)
_NEWS: Final = (
    *("ATTACK_ON_AUTHOR", "ATTACK_ON_COMMENTER", "INCOHERENT", "INFLAMMATORY"),
    *("LIKELY_TO_REJECT", "OBSCENE", "SPAM", "UNSUBSTANTIAL"),
)
NOT_SERVED: Final = frozenset((*_EXPERIMENTAL, *_NEWS))
"""Names that Perspective knew and nothing here can judge."""

FORMULAS: Final = "1"  # changes with any formula: part of what an answer says of its models
COARSE: Final = 0.8  # weight of bad language in TOXICITY
ALONE: Final = 0.35  # what of TOXICITY is severe where it is toxic in one way only

_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "INSULT": ("harassment",),
    "IDENTITY_ATTACK": ("hate", "hate/threatening"),
    "THREAT": ("harassment/threatening", "hate/threatening"),
    "PROFANITY": ("profanity",),
    "SEXUALLY_EXPLICIT": ("sexual", "sexual/minors"),
}
NEEDED: Final = frozenset(
    # The local model judges these; it knows nothing of minors.
    ("harassment", "harassment/threatening", "hate", "hate/threatening", "profanity", "sexual")
)
"""Categories without which an attribute is not known."""


def by_category(scores: Sequence[float | None]) -> dict[str, float]:
    """The scores of a judgement that are known, by category."""
    return {
        name: score for name, score in zip(CATEGORIES, scores, strict=True) if score is not None
    }


def attributes_of(scores: Mapping[str, float]) -> dict[str, float]:
    """Every attribute in [0, 1], of scores by category; a missing category counts as 0."""
    found = {
        name: max(scores.get(category, 0.0) for category in categories)
        for name, categories in _PARTS.items()
    }
    ways = sorted(
        (
            found["INSULT"],
            found["IDENTITY_ATTACK"],
            found["THREAT"],
            COARSE * found["PROFANITY"],
        )
    )
    found["TOXICITY"] = ways[-1]
    found["SEVERE_TOXICITY"] = ways[-1] * (ALONE + (1.0 - ALONE) * ways[-2])
    return {name: found[name] for name in ATTRIBUTES}
