"""What every judge of texts has in common.

A provider reads a text and gives scores; deciding what they mean is the policy's work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, cast

import msgspec

JUDGED: tuple[str, ...] = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
    "profanity",
)
"""OpenAI's 13 categories in their order, and profanity: what models are asked about."""

RULED: tuple[str, ...] = (
    "pii/email",
    "pii/phone",
    "pii/card",
    "pii/iban",
    "pii/ip",
    "pii/social",
    "pii/address",
    "spam",
)
"""What is found by rules alone."""

CATEGORIES: tuple[str, ...] = JUDGED + RULED
"""Every category, in the order of all scores; later versions add behind the last."""


class Finding(msgspec.Struct, frozen=True):
    """One place in a text that speaks for one category."""

    category: str
    score: float  # severity, 0..1
    start: int  # offsets in the original text, in code points
    end: int
    rule: str  # what found it, never the text itself
    stage: Literal["prescreen", "local", "provider"]


class Scores(msgspec.Struct, frozen=True):
    """What a provider thinks of one text.

    `scores` holds only the categories that the provider judges; an absent one is unknown, not 0.
    `other_language` is how likely the text is in a language that the provider cannot judge: a
    local model's scores mean little where it is high, and 0 says the provider reads any language.
    """

    scores: dict[str, float]
    findings: tuple[Finding, ...] = ()
    models: dict[str, str] = {}
    tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0
    currency: str = "USD"
    other_language: float = 0.0
    rationale: str = ""  # in the provider's own words, at most 200 characters
    provider: str = ""  # the name of the one that answered, where several stand behind one


class Provider(Protocol):
    """Reads texts and scores them."""

    @property
    def name(self) -> str:
        """Short and stable: a label of metrics and of receipts."""

    @property
    def models(self) -> Mapping[str, str]:
        """Which models answer (name -> version): part of the key of a cached answer."""

    async def moderate(self, text: str, *, deadline: float | None = None) -> Scores:
        """Score one text, or raise a ProviderError: a failure is never a score.

        `deadline` is how many seconds the caller will wait; None leaves it to the provider.
        """

    async def aclose(self) -> None:
        """Close connections."""


class Seer(Protocol):
    """Looks at images and scores them. A provider may be one as well, and says so by `sees`."""

    @property
    def name(self) -> str:
        """Short and stable: a label of metrics and of receipts."""

    @property
    def sees(self) -> bool:
        """Whether it looks at images at all."""

    @property
    def sights(self) -> Mapping[str, str]:
        """Which models look (name -> version): part of the key of a cached answer."""

    async def look(
        self, picture: bytes, media_type: str, *, deadline: float | None = None
    ) -> Scores:
        """Score one image, or raise a ProviderError: a failure is never a score."""


def seer(provider: object) -> Seer | None:
    """The provider as one that looks at images; None if it does not."""
    return cast(Seer, provider) if getattr(provider, "sees", False) else None


class Prompt(Protocol):
    """What a chat model is told, and how its answer is read. Belongs to the service that asks."""

    @property
    def version(self) -> str:
        """Changes with every change of words or schema: part of the key of a cached answer."""

    @property
    def schema(self) -> Mapping[str, object]:
        """JSON schema of the answer, in the strict form of OpenAI's structured outputs."""

    def messages(self, text: str) -> Sequence[Mapping[str, str]]:
        """Return the messages (role, content) that ask about `text`."""

    def read(self, answer: str, *, text: str) -> Scores:
        """Return what the answer says: scores, findings and rationale.

        Raises ProviderGarbage when it says nothing that fits the schema.
        """


class ImagePrompt(Protocol):
    """What a chat model is told about an image, and how its answer is read."""

    @property
    def version(self) -> str:
        """Changes with every change of words or schema: part of the key of a cached answer."""

    @property
    def schema(self) -> Mapping[str, object]:
        """JSON schema of the answer, in the strict form of OpenAI's structured outputs."""

    def messages(self, url: str) -> Sequence[Mapping[str, object]]:
        """Return the messages that ask about the image of this data URL."""

    def read(self, answer: str) -> Scores:
        """Return what the answer says. Raises ProviderGarbage when it does not fit the schema."""
