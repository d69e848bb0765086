"""Parts that tests of providers script: a provider, a prompt and a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from penstock.clock import ManualClock
from penstock.errors import ProviderGarbage
from penstock.providers.provider import Provider, Scores

KEY = "sk-secret-0123456789abcdef"

Open = Callable[..., Provider]


class SkippingClock(ManualClock):
    """A clock on which sleeping takes no time of ours: it records the wait and moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)


class ScriptedProvider:
    """Raises what it is told to, one a call, then answers. `gate` holds its answers back."""

    def __init__(self, name: str = "scripted") -> None:
        self.name = name
        self.models = {f"model-of-{name}": "1"}
        self.calls = 0
        self.open = 0
        self.most_at_once = 0
        self.failures: list[BaseException] = []
        self.always: Callable[[], BaseException] | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.closed = False

    async def moderate(self, text: str, *, deadline: float | None = None) -> Scores:
        self.calls += 1
        self.open += 1
        self.most_at_once = max(self.most_at_once, self.open)
        try:
            await self.gate.wait()
        finally:
            self.open -= 1
        if self.failures:
            raise self.failures.pop(0)
        if self.always is not None:
            raise self.always()
        return Scores(scores={"harassment": 0.5}, models=self.models)

    async def aclose(self) -> None:
        self.closed = True


class SeeingProvider(ScriptedProvider):
    """One that looks at images too, in the same manner."""

    sees = True

    def __init__(self, name: str = "seeing") -> None:
        super().__init__(name)
        self.sights = {f"eye-of-{name}": "1"}
        self.shown: list[tuple[bytes, str]] = []

    async def look(
        self, picture: bytes, media_type: str, *, deadline: float | None = None
    ) -> Scores:
        self.shown.append((picture, media_type))
        scores = await self.moderate("", deadline=deadline)
        return Scores(scores=scores.scores, models=self.sights)


class PlainPrompt:
    """The smallest prompt: the text is the message, the answer an object of scores."""

    version = "plain-1"

    def __init__(self) -> None:
        scores = {"properties": {"harassment": {"type": "number"}}}
        self.schema = {"type": "object", "properties": {"scores": scores}}

    def messages(self, text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    def read(self, answer: str, *, text: str) -> Scores:
        try:
            return Scores(scores=msgspec.json.decode(answer, type=dict[str, Any])["scores"])
        except (msgspec.DecodeError, KeyError) as error:
            raise ProviderGarbage from error


class PlainImagePrompt:
    """The smallest prompt for images."""

    version = "plain-image-1"
    schema = PlainPrompt().schema

    def messages(self, url: str) -> list[dict[str, object]]:
        return [
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]},
        ]

    def read(self, answer: str) -> Scores:
        return PlainPrompt().read(answer, text="")
