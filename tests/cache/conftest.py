from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.rigs.servers import RedisServer
from benchmarks.rigs.slow_proxy import SlowProxy
from penstock.cache import Cache, MemoryStore, Store, open_store
from penstock.clock import Clock, ManualClock
from penstock.hub import LocalHub
from penstock.hub.redis import RedisHub

PATIENCE = 60.0
# Where silence is not the subject: the machine may be busy.
PATIENT = "?socket_timeout=10&socket_connect_timeout=10"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def make_cache(clock: ManualClock) -> AsyncIterator[Callable[..., Cache]]:
    """Makes caches without jitter, on memory unless told otherwise, and closes them."""
    made: list[Cache] = []
    hubs: list[LocalHub] = []

    def make(*stores: Store, hub: LocalHub | None = None, **options: object) -> Cache:
        if hub is None:
            hub = LocalHub(None)
            hubs.append(hub)
        options = {"clock": clock, "jitter": 0.0, **options}
        made.append(Cache(stores or (MemoryStore(clock=clock),), hub=hub, **options))
        return made[-1]

    yield make
    for cache in made:
        await cache.aclose()
    for hub in hubs:
        hub.close()


@pytest.fixture
def cache(make_cache: Callable[..., Cache]) -> Cache:
    return make_cache()


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[SlowProxy]:
    """Another way to Redis, which can be cut and be slow."""
    with SlowProxy(redis.port) as proxy:
        yield proxy


@pytest.fixture
async def start(redis: RedisServer) -> AsyncIterator[Callable[..., Awaitable[Cache]]]:
    """Starts "servers": caches on hubs of their own, all on the loop of the test."""
    caches: list[Cache] = []

    async def started(url: str = redis.url + PATIENT, clock: Clock | None = None) -> Cache:
        hub = RedisHub(url)
        await hub.start(wait=PATIENCE)
        patient = url + "&timeout=10s" if "?" in url else url
        stores = [MemoryStore(clock=clock), open_store(patient, clock=clock)]
        caches.append(Cache(stores, hub=hub, jitter=0.0, clock=clock))
        return caches[-1]

    yield started
    for cache in caches:
        await cache.aclose()
        await cache.hub.aclose()


@pytest.fixture
def disk(tmp_path: Path, clock: ManualClock) -> Callable[..., Store]:
    """Opens a disk store in the test's folder."""
    return lambda: open_store(f"disk://{tmp_path}/cache.db", clock=clock)


@pytest.fixture
def tiered(
    make_cache: Callable[..., Cache], disk: Callable[..., Store], clock: ManualClock
) -> Callable[..., Cache]:
    """Makes caches of a memory and a disk tier on one file."""
    return lambda **options: make_cache(MemoryStore(clock=clock), disk(), **options)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the cache has logged from warnings up, and about its tiers: events with their fields."""
    caplog.set_level("INFO", logger="penstock.cache")
    return lambda: [
        record.getMessage() for record in caplog.records if record.name == "penstock.cache"
    ]
