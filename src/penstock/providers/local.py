"""The model of this machine as a provider: free, at once, English only.

It is triage. It judges eight of the categories; the others are absent from its scores.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Protocol

from penstock.clock import Clock
from penstock.errors import ProviderTimeout
from penstock.providers.provider import Scores

NAME = "local"

# What the model reads in one go: 0.7 ms of English on a slow core, and more than two of its
# windows of 128 tokens. The loop serves others in between.
SLICE_CHARACTERS = 1600
# Neighbours share this much, so that no sentence is seen only in halves.
OVERLAP_CHARACTERS = 500


class TextModel(Protocol):
    """What is asked of `penstock.models.linear.LinearModel`."""

    version: str

    def scores(self, text: str) -> Mapping[str, float]:
        """Probability of each head."""


class LocalProvider:
    """Scores texts with a sparse linear model, on the event loop, a millisecond at a time."""

    name = NAME

    def __init__(self, model: TextModel, *, clock: Clock) -> None:
        self.models = {"penstock-local": model.version}
        self._model = model
        self._clock = clock

    async def moderate(self, text: str, *, deadline: float | None = None) -> Scores:
        if len(text) <= SLICE_CHARACTERS and len(_as_read(text)) <= SLICE_CHARACTERS:
            heads: Mapping[str, float] = self._model.scores(text)
        else:
            heads = await self._highest(text, deadline)
        return Scores(
            scores=_categories(heads),
            models=self.models,
            other_language=heads["other_language"],
            provider=NAME,
        )

    async def aclose(self) -> None:
        """Nothing to close."""

    async def _highest(self, text: str, deadline: float | None) -> dict[str, float]:
        """Each head's highest probability over all slices: one bad passage makes a bad text."""
        started = self._clock.monotonic()
        highest: dict[str, float] = {}
        for part in slices(text):
            for head, probability in self._model.scores(part).items():
                highest[head] = max(highest.get(head, 0.0), probability)
            await asyncio.sleep(0)
            if deadline is not None and self._clock.monotonic() - started > deadline:
                raise ProviderTimeout(
                    f"the local model needs more than {deadline:g} s for {len(text)} characters"
                )
        return highest


def slices(text: str) -> Iterator[str]:
    """Cut a long text into overlapping parts that begin and end between words.

    Scripts without spaces are cut anywhere: the overlap holds what a cut would tear. Parts are in
    the form that the model reads, and as long as that; the whole text is never brought into it at
    once, because the time for a run of accents grows with its square.
    """
    for part in _cut(text):
        yield from _cut(_as_read(part))


def _as_read(text: str) -> str:
    """The form of `features.normalise`, in which one character may become 18."""
    return unicodedata.normalize("NFKC", text)


def _cut(text: str) -> Iterator[str]:
    start = 0
    while start + SLICE_CHARACTERS < len(text):
        end = _between_words(text, start + SLICE_CHARACTERS)
        yield text[start:end]
        start = _between_words(text, end - OVERLAP_CHARACTERS)
    yield text[start:]


def _between_words(text: str, at: int) -> int:
    """The last place at or before `at` that follows a space; `at` if none is near."""
    space = text.rfind(" ", at - OVERLAP_CHARACTERS // 2, at)
    return at if space < 0 else space + 1


def _categories(heads: Mapping[str, float]) -> dict[str, float]:
    hate, threat = heads["hate"], heads["threat"]
    return {
        "harassment": heads["abuse"],
        "harassment/threatening": threat,
        "hate": hate,
        # Both must be there; their product would assume that they are independent.
        "hate/threatening": min(hate, threat),
        "self-harm": heads["self_harm"],
        "sexual": heads["sexual"],
        "violence": heads["violence"],
        "profanity": heads["profanity"],
    }
