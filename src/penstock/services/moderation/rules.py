"""What rules find in a text: listed terms and their disguises, personal data, bulk mail.

The first stage, in one call. It reads the whole text and decides nothing.
"""

from __future__ import annotations

import msgspec

from penstock import pii
from penstock.providers.provider import RULED, Finding
from penstock.services.moderation import spam
from penstock.words.prescreen import CERTAIN, MOST_FINDINGS, Prescreen

Spans = tuple[tuple[int, int], ...]
"""Places in a text, from and up to."""


class Found(msgspec.Struct, frozen=True):
    """What rules found in one text."""

    findings: tuple[Finding, ...]
    scores: dict[str, float]  # highest of each category; 0 for one that only rules judge
    certain: bool  # a rule of full severity stood there unqualified
    foreign_share: float  # share of letters outside the Latin script
    version: str
    complete: bool = True  # whether every finding is here, not the strongest alone

    def without(self, spans: Spans) -> Found:
        """What is left when nothing counts that lies wholly inside one of the spans.

        Nothing is left out of what is incomplete: what was cut off would go with it.
        """
        if not spans or not self.complete:
            return self
        kept = tuple(found for found in self.findings if not inside(found, spans))
        scores = {**_CLEAN}
        for found in kept:
            scores[found.category] = max(found.score, scores.get(found.category, 0.0))
        certain = self.certain and any(f.score >= CERTAIN and _is_term(f) for f in kept)
        return msgspec.structs.replace(self, findings=kept, scores=scores, certain=certain)


NOTHING = Found((), {}, False, 0.0, "")
_CLEAN = dict.fromkeys(RULED, 0.0)


def inside(found: Finding, spans: Spans) -> bool:
    """Whether a finding lies wholly inside one of the spans."""
    return any(start <= found.start and found.end <= end for start, end in spans)


def _is_term(found: Finding) -> bool:
    return found.category not in _CLEAN


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
            complete=len(screening.findings) < MOST_FINDINGS,
        )
