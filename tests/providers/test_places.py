"""Servers that share a hub share the limit of a provider's calls at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.clock import SystemClock
from penstock.errors import ProviderTimeout
from penstock.hub import Hub, LocalHub
from penstock.hub.redis import RedisHub
from penstock.providers.resilience import Limits, Resilient
from tests.hub.conftest import until
from tests.providers.scripted import ScriptedProvider


@pytest.fixture
async def hubs(redis) -> AsyncIterator[list[RedisHub]]:
    """Those of two servers."""
    hubs = [RedisHub(redis.url, lease_timeout=5.0) for _ in range(2)]
    for hub in hubs:
        await hub.start(wait=5.0)
    yield hubs
    for hub in hubs:
        await hub.aclose()


def server(hub: Hub, provider: ScriptedProvider, **limits: float) -> Resilient:
    return Resilient(provider, clock=SystemClock(), hub=hub, limits=Limits(**limits))  # type: ignore[arg-type]


async def test_all_servers_together_make_no_more_calls_than_one_may(hubs: list[RedisHub]):
    provider = ScriptedProvider()
    provider.gate.clear()
    servers = [server(hub, provider, concurrency=3) for hub in hubs]
    calls = [asyncio.ensure_future(servers[n % 2].moderate("text")) for n in range(12)]
    await until(lambda: provider.open == 3)

    provider.gate.set()
    await asyncio.gather(*calls)

    assert provider.calls == 12
    assert provider.most_at_once == 3
    for one in servers:
        await one.aclose()
    again = [await hubs[0].slot("provider:scripted", limit=3, seconds=5) for _ in range(3)]
    assert all(again)


async def test_who_finds_no_place_in_time_hears_why(hubs: list[RedisHub]):
    provider = ScriptedProvider()
    await hubs[1].slot("provider:scripted", limit=1, seconds=60)

    with pytest.raises(ProviderTimeout, match="1 calls at once over all servers"):
        await server(hubs[0], provider, concurrency=1, deadline=0.2).moderate("text")

    assert provider.calls == 0


async def test_a_caller_who_leaves_while_waiting_takes_no_place_with_him(hubs: list[RedisHub]):
    provider = ScriptedProvider()
    held = await hubs[1].slot("provider:scripted", limit=1, seconds=60)
    one = server(hubs[0], provider, concurrency=1)
    call = asyncio.ensure_future(one.moderate("text"))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)

    await held.release()

    await one.moderate("text")
    await one.aclose()


async def test_without_redis_each_server_goes_on_with_its_own_limit(own_redis):
    redis = own_redis()
    hub = RedisHub(redis.url)
    await hub.start()
    redis.kill()
    provider = ScriptedProvider()

    await server(hub, provider, concurrency=1).moderate("text")

    assert provider.calls == 1
    await hub.aclose()


async def test_a_local_hub_keeps_the_limit_too():
    provider = ScriptedProvider()
    one = server(LocalHub(), provider, concurrency=2)

    await asyncio.gather(*(one.moderate("text") for _ in range(10)))

    assert provider.most_at_once <= 2
    await one.aclose()
