"""What rules find in a text: listed terms and their disguises, personal data, bulk mail.

The first stage, in one call. It reads the whole text and decides nothing.
"""

from __future__ import annotations

import msgspec

from penstock import pii
from penstock.providers.provider import RULED, Finding
from penstock.services.moderation import spam
from penstock.words.prescreen import Prescreen


class Found(msgspec.Struct, frozen=True):
    """What rules found in one text."""

    findings: tuple[Finding, ...]
    scores: dict[str, float]  # highest of each category; 0 for one that only rules judge
    certain: bool  # a rule of full severity stood there unqualified
    foreign_share: float  # share of letters outside the Latin script
    version: str


NOTHING = Found((), {}, False, 0.0, "")
_CLEAN = dict.fromkeys(RULED, 0.0)


class Rules:
    """All rules over one lexicon. Safe to share between threads."""

    def __init__(self, prescreen: Prescreen) -> None:
        self.prescreen = prescreen
        self.version = f"{prescreen.version}-{pii.VERSION}-{spam.VERSION}"

    def read(self, text: str) -> Found:
        """Look through the whole text."""
        screening = self.prescreen.screen(text)
        matches = pii.find(text)
        findings = list(screening.findings)
        for match in matches:
            place = (match.start, match.end)
            findings.append(
                Finding(f"pii/{match.kind}", match.score, *place, match.rule, "prescreen")
            )
        findings += spam.judge(text, matches)
        scores = {**_CLEAN, **screening.scores}
        for found in findings[len(screening.findings) :]:
            scores[found.category] = max(found.score, scores[found.category])
        return Found(
            findings=tuple(findings),
            scores=scores,
            certain=screening.certain is not None,
            foreign_share=screening.foreign_share,
            version=self.version,
        )
