from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from benchmarks.rigs.upstream import Upstream
from penstock.observe.metrics import Metrics
from penstock.providers.openai import ChatProvider, Endpoint, ModerationsProvider
from penstock.providers.provider import Provider
from penstock.providers.terms import Prices, Timeouts
from tests.providers.scripted import (
    KEY,
    Open,
    PlainImagePrompt,
    PlainPrompt,
    ScriptedProvider,
    SkippingClock,
)


@pytest.fixture(scope="session")
def served() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(served: Upstream) -> Upstream:
    served.settle()
    served.reset()
    return served


@pytest.fixture
def clock() -> SkippingClock:
    return SkippingClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def scripted() -> ScriptedProvider:
    return ScriptedProvider()


@pytest.fixture
async def remote(upstream: Upstream, clock: SkippingClock, metrics: Metrics) -> AsyncIterator[Open]:
    """Opens a provider on the rig: `remote("chat" | "moderations", timeouts=..., prices=...)`."""
    opened: list[Provider] = []

    def open_(
        api: str = "chat",
        *,
        url: str = upstream.url,
        timeouts: Timeouts | None = None,
        prices: Prices | None = None,
        sees: bool = False,
    ) -> Provider:
        endpoint = Endpoint(
            url,
            key=KEY,
            clock=clock,
            timeouts=timeouts or Timeouts(),
            prices=prices or Prices(),
            metrics=metrics,
        )
        provider: Provider
        if api == "chat":
            provider = ChatProvider(
                endpoint,
                model="stub",
                prompt=PlainPrompt(),
                image_prompt=PlainImagePrompt() if sees else None,
            )
        else:
            provider = ModerationsProvider(endpoint, model="stub", sees=sees)
        opened.append(provider)
        return provider

    yield open_

    for provider in opened:
        await provider.aclose()
