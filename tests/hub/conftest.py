"""Hubs of each kind, in twos: two processes of one installation, as far as a hub can tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penstock.hub import Hub, LocalHub
from penstock.hub.hub import Grant
from penstock.hub.redis import RedisHub

PATIENCE = 60.0


async def until(is_so: Callable[[], object]) -> None:
    """Return when it is so; fail when that takes too long."""
    ends = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < ends, "it did not happen in time"
        await asyncio.sleep(0.002)


async def granted(grant: Grant | Awaitable[Grant]) -> Grant:
    """The answer of `take`, whether or not it came at once."""
    return grant if isinstance(grant, Grant) else await grant


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[RedisHub]]]:
    """`await connect(url)` is a hub of this test; all are closed at its end."""
    async with AsyncExitStack() as stack:

        async def start(url: str, **options: object) -> RedisHub:
            # A busy machine shall not look like a Redis that is away.
            patient = {"lease_timeout": 5.0, "rate_timeout": 5.0, **options}
            hub = RedisHub(url, **patient)
            stack.push_async_callback(hub.aclose)
            await hub.start(wait=5.0)
            return hub

        yield start


@pytest.fixture(params=["local", "redis"])
async def pair(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    connect: Callable[..., Awaitable[RedisHub]],
) -> AsyncIterator[tuple[Hub, Hub]]:
    """Two hubs of one installation."""
    if request.param == "local":
        first, second = LocalHub(tmp_path), LocalHub(tmp_path)
        yield first, second
        await first.aclose()
        await second.aclose()
        return
    url = request.getfixturevalue("redis").url  # started only if it is needed
    yield await connect(url), await connect(url)
