"""API keys of several servers on one database: what one does, another knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rigs.servers import PostgresServer
from penstock.clock import ManualClock
from penstock.db import open_database
from penstock.errors import StorageUnavailable
from penstock.hub import LocalHub
from penstock.server.keys import LOOK_SECONDS, KeyRing
from penstock.server.limits import kept_routes, limits_of
from penstock.server.store import KeyRecord, KeyStore
from penstock.usage import Budget
from penstock.web.principal import Principal
from tests.databases import DATABASES, address_for_test
from tests.plans import plan_of

OpenRing = Callable[..., KeyRing]


class HeldStore(KeyStore):
    """A store whose answers, once read, are held back while the gate is shut."""

    def __init__(self, store: KeyStore) -> None:
        super().__init__(store._database)
        self.gate = asyncio.Event()
        self.read = asyncio.Event()

    async def find(self, id: str) -> KeyRecord | None:
        record = await super().find(id)
        self.read.set()
        await self.gate.wait()
        return record


@pytest.fixture(params=DATABASES)
async def address(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with address_for_test(request.param, request, tmp_path) as url:
        yield url


@pytest.fixture
async def server(tmp_path: Path, address: str, clock: ManualClock) -> AsyncIterator[OpenRing]:
    """Opens the ring of one more server; `deaf` ones hear of nobody, as when Redis is away."""
    async with AsyncExitStack() as stack:

        def opened(*, deaf: bool = False) -> KeyRing:
            database = open_database(address, folder=tmp_path)
            stack.push_async_callback(database.aclose)
            hub = LocalHub(None if deaf else tmp_path)
            stack.callback(hub.close)
            ring = KeyRing(database, hub, clock)
            stack.push_async_callback(ring.aclose)
            return ring

        yield opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def ask(ring: KeyRing, token: str) -> Principal | None:
    """As the middleware does."""
    if ring.stale:
        await ring.refresh()
    return ring.verify(token)


async def test_of_many_servers_that_start_at_once_one_makes_the_admin_key(
    server: OpenRing,
) -> None:
    rings = [server(deaf=True) for _ in range(8)]

    tokens = await asyncio.gather(*(ring.ensure_admin() for ring in rings))

    (token,) = [token for token in tokens if token is not None]
    assert all([await ask(ring, token) for ring in rings])
    assert len(await rings[0].page()) == 1


async def test_a_revoked_key_is_refused_within_a_second_although_nobody_tells(
    server: OpenRing, clock: ManualClock
) -> None:
    here, there = server(deaf=True), server(deaf=True)
    new = await here.create("app", actor="test", role="viewer")
    clock.advance(LOOK_SECONDS)
    who = await ask(there, new.token)
    assert who is not None
    assert await there.accepts(who)

    await here.revoke(new.record.id, actor="test")
    clock.advance(LOOK_SECONDS)

    assert await ask(there, new.token) is None
    assert not await there.accepts(who)


ROUTES = {"POST /v1/moderations": "600/m"}


@pytest.mark.parametrize(
    "change",
    [
        {"route_limits": kept_routes({"POST /v1/moderations": "100/m"})},  # as long as before
        {"budget_period": "day"},
        {"rate_limit": None},
    ],
)
async def test_a_limit_lowered_elsewhere_is_known_within_a_second_although_nobody_tells(
    server: OpenRing, clock: ManualClock, change: dict[str, Any]
) -> None:
    here, there = server(deaf=True), server(deaf=True)
    limits = {"rate_limit": 0, "route_limits": ROUTES, "budget": Budget(1000)}
    new = await here.create("app", actor="test", role="operator", **limits)
    for _ in range(3):
        clock.advance(LOOK_SECONDS)
        before = await ask(there, new.token)

    after = await here.change(new.record.id, change, actor="test")
    clock.advance(LOOK_SECONDS)
    who = await ask(there, new.token)

    assert before is not None
    assert who is not None
    assert before.limits != who.limits == limits_of(after)


async def test_a_key_revoked_while_its_row_was_being_read_is_refused(server: OpenRing) -> None:
    here, there = server(), server()
    await there.refresh()
    there._store = held = HeldStore(there._store)
    new = await here.create("app", actor="test", role="viewer")
    first = asyncio.ensure_future(ask(there, new.token))
    await held.read.wait()  # as it was before it is revoked

    await here.revoke(new.record.id, actor="test")
    second = asyncio.ensure_future(ask(there, new.token))
    await asyncio.sleep(0)
    held.gate.set()

    assert await asyncio.gather(first, second) == [None, None]


async def test_many_requests_at_once_share_one_look(server: OpenRing) -> None:
    here, there = server(), server()
    await there.refresh()
    there._store = held = HeldStore(there._store)
    new = await here.create("app", actor="test", role="viewer")

    asking = [asyncio.ensure_future(ask(there, new.token)) for _ in range(50)]
    await held.read.wait()
    held.gate.set()
    found = await asyncio.gather(*asking)

    assert all(found)


async def test_a_key_is_found_by_an_index(server: OpenRing) -> None:
    database = server()._store._database

    plan = await plan_of(database, "SELECT * FROM auth_keys WHERE id = ?", ("key_1",))

    assert "Index Scan" in plan or "USING INDEX" in plan


async def test_a_database_that_hangs_holds_up_no_known_key(
    own_postgres: Callable[..., PostgresServer], clock: ManualClock
) -> None:
    cluster = own_postgres("fsync=off")
    database = open_database(cluster.database(), folder=Path())
    ring = KeyRing(database, LocalHub(), clock)
    ring._look._patience = 0.1
    try:
        known = await ring.create("known", actor="test", role="viewer")
        revoked = await ring.create("revoked", actor="test", role="viewer")
        assert await ask(ring, known.token)
        assert await ask(ring, revoked.token)

        cluster.freeze()
        clock.advance(LOOK_SECONDS)
        assert await ask(ring, known.token)
        ring._hub.publish("auth", revoked.record.id.encode())  # as another server would say
        for token in (revoked.token, "psk_unknown"):
            with pytest.raises(StorageUnavailable):
                await ask(ring, token)
        assert await ask(ring, known.token)

        cluster.thaw()
        ring._look._patience = 60.0  # the machine may be busy
        async with asyncio.timeout(60):
            while ring._failure is not None:
                clock.advance(LOOK_SECONDS)
                await ring.refresh()
                await asyncio.sleep(0)
        assert await ask(ring, revoked.token)
        assert await ask(ring, "psk_unknown") is None
    finally:
        cluster.thaw()
        await ring.aclose()
        await database.aclose()
