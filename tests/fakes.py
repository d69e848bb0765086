"""Hand-written stand-ins for what is not ours: a provider that says what it is told to say."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.errors import ProviderError
from penstock.providers.provider import Scores


class FakeProvider:
    """Answers each call with the next of `script`, the last one for ever; errors are raised."""

    name = "fake"

    def __init__(self, *script: Scores | ProviderError) -> None:
        self.script = list(script) or [Scores({})]
        self.models: Mapping[str, str] = {"fake-model": "1"}
        self.texts: list[str] = []

    async def moderate(self, text: str, *, deadline: float | None = None) -> Scores:
        self.texts.append(text)
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(said, ProviderError):
            raise said
        return said

    async def aclose(self) -> None:
        """Nothing to close."""
