from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from penstock.audit import AuditLog
from penstock.clock import ManualClock
from penstock.db import Database, open_database
from penstock.errors import Conflict, InvalidInput, NotFound, StorageUnavailable
from penstock.hub import LocalHub
from penstock.server.keys import KeyRing
from penstock.web.principal import Limits, Principal
from tests.databases import DATABASES, address_for_test

OpenRing = Callable[..., KeyRing]
SOON = 60.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=DATABASES)
async def address(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Where the database is, of all servers of the test."""
    async with address_for_test(request.param, request, tmp_path) as url:
        yield url


@pytest.fixture
async def open_ring(tmp_path: Path, address: str, clock: ManualClock) -> AsyncIterator[OpenRing]:
    """Opens a ring as another process would: own connections to the database, own hub."""
    async with AsyncExitStack() as stack:

        def opened(*, admin_key: str | None = None) -> KeyRing:
            database = open_database(address, folder=tmp_path)
            stack.push_async_callback(database.aclose)
            hub = LocalHub(tmp_path)
            stack.callback(hub.close)
            return KeyRing(database, hub, clock, admin_key=admin_key)

        yield opened


@pytest.fixture
def ring(open_ring: OpenRing) -> KeyRing:
    return open_ring()


def database_of(ring: KeyRing) -> Database:
    return ring._store._database


async def ask(ring: KeyRing, token: str | bytes) -> Principal | None:
    """As the middleware does."""
    if ring.stale:
        await ring.refresh()
    return ring.verify(token)


async def test_a_key_opens_what_it_was_made_for(ring: KeyRing) -> None:
    new = await ring.create("app", actor="test", role="operator", owner="team", rate_limit=60)

    assert await ask(ring, new.token) == Principal(
        new.record.id, "team", "operator", Limits(requests_per_minute=60)
    )
    assert await ask(ring, new.token.encode()) is not None


@pytest.mark.parametrize("prefix", ["psk_", "fist_"])
async def test_a_token_has_43_random_characters_after_its_prefix(
    ring: KeyRing, prefix: str
) -> None:
    new = await ring.create("app", actor="test", role="viewer", prefix=prefix)

    assert new.token.startswith(prefix)
    assert len(new.token) == len(prefix) + 43
    assert new.record.prefix == new.token[: len(prefix) + 4]


@pytest.mark.parametrize("prefix", ["", "psk", "PSK_", "a_", "psk_x_", "x" * 17 + "_", "ä_b_"])
async def test_an_unusable_prefix_is_refused(ring: KeyRing, prefix: str) -> None:
    with pytest.raises(InvalidInput, match="prefix"):
        await ring.create("app", actor="test", role="viewer", prefix=prefix)


async def test_a_token_is_kept_nowhere(ring: KeyRing, tmp_path: Path) -> None:
    new = await ring.create("app", actor="test", role="viewer")

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(new.token[4:].encode() in path.read_bytes() for path in files)
    stored = await database_of(ring).rows("SELECT * FROM auth_keys")
    assert new.record.id in str(stored)
    assert new.token[4:] not in str(stored)


@pytest.mark.parametrize(
    "token", ["", "psk_", "psk_" + "A" * 43, "x" * 10_000, "\ud800", b"\xff\x00", "é" * 200]
)
async def test_anything_else_opens_nothing(ring: KeyRing, token: str | bytes) -> None:
    await ring.ensure_admin()

    assert await ask(ring, token) is None


async def test_a_key_expires_to_the_moment(ring: KeyRing, clock: ManualClock) -> None:
    new = await ring.create("app", actor="test", role="viewer", expires_in=10)

    clock.advance(9.9)
    assert await ask(ring, new.token) is not None
    clock.advance(0.1)
    assert await ask(ring, new.token) is None


async def test_a_key_cannot_expire_in_the_past(ring: KeyRing) -> None:
    with pytest.raises(InvalidInput, match="cannot expire"):
        await ring.create("app", actor="test", role="viewer", expires_in=0)


async def test_a_revoked_key_is_refused_at_once(ring: KeyRing) -> None:
    new = await ring.create("app", actor="test", role="viewer")
    assert await ask(ring, new.token) is not None

    revoked = await ring.revoke(new.record.id, actor="test")

    assert revoked.revoked_at is not None
    assert await ask(ring, new.token) is None
    assert (await ring.revoke(new.record.id, actor="test")).revoked_at == revoked.revoked_at


async def test_what_one_process_does_another_sees_at_once(open_ring: OpenRing) -> None:
    here, there = open_ring(), open_ring()
    assert await ask(there, "psk_unknown") is None

    new = await here.create("app", actor="test", role="viewer")
    assert await ask(there, new.token) is not None

    await here.revoke(new.record.id, actor="test")
    assert await ask(there, new.token) is None


CHILD = """
import asyncio, sys
from pathlib import Path
from penstock.clock import SystemClock
from penstock.db import open_database
from penstock.hub import LocalHub
from penstock.server.keys import KeyRing

async def main(address, folder, id):
    database = open_database(address, folder=folder)
    ring = KeyRing(database, LocalHub(folder), SystemClock())
    await ring.revoke(id, actor="test")
    print((await ring.create("made there", actor="test", role="viewer")).token)
    await database.aclose()

asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
"""


async def test_a_real_second_process_revokes_and_makes_keys(
    ring: KeyRing, address: str, tmp_path: Path
) -> None:
    new = await ring.create("app", actor="test", role="viewer")
    assert await ask(ring, new.token) is not None
    command = [sys.executable, "-c", CHILD, address, str(tmp_path), new.record.id]

    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=True
    )

    assert await ask(ring, new.token) is None
    assert await ask(ring, done.stdout.strip()) is not None


async def test_a_revocation_among_lost_messages_is_not_missed(open_ring: OpenRing) -> None:
    here, there = open_ring(), open_ring()
    new = await here.create("app", actor="test", role="viewer")
    kept = await here.create("other", actor="test", role="viewer")
    assert await ask(there, new.token) is not None

    await here.revoke(new.record.id, actor="test")
    for _ in range(100):
        here._hub.publish("noise", b"x" * 8000)

    assert await ask(there, new.token) is None
    assert await ask(there, kept.token) is not None


async def test_what_is_done_to_keys_is_on_the_audit_log_without_their_tokens(
    ring: KeyRing, clock: ManualClock
) -> None:
    token = await ring.ensure_admin() or ""
    new = await ring.create("app", actor="key_1", role="viewer", owner="team", rate_limit=5)
    await ring.revoke(new.record.id, actor="cli")

    entries = (await AuditLog(database_of(ring), clock=clock).page())[::-1]

    id = new.record.id
    assert [(each.actor, each.action, each.subject) for each in entries[1:]] == [
        ("key_1", "key.created", id),
        ("cli", "key.revoked", id),
    ]
    assert (entries[0].actor, entries[0].action) == ("cli", "key.created")
    told = {"name": "app", "owner": "team", "role": "viewer", "rate_limit": 5, "expires_at": None}
    assert json.loads(entries[1].detail) == told
    written = b"".join(each.detail for each in entries)
    assert not any(secret[4:12].encode() in written for secret in (token, new.token))


async def test_what_changes_no_key_is_not_on_the_audit_log(
    ring: KeyRing, clock: ManualClock
) -> None:
    token = await ring.ensure_admin()
    admin = await ask(ring, token or "")
    assert admin is not None
    await ring.ensure_admin()
    with pytest.raises(Conflict):
        await ring.revoke(admin.key_id, actor="cli")
    with pytest.raises(NotFound):
        await ring.revoke("key_none", actor="cli")

    entries = await AuditLog(database_of(ring), clock=clock).page()

    assert [each.action for each in entries] == ["key.created"]


async def test_an_unknown_key_cannot_be_revoked(ring: KeyRing) -> None:
    with pytest.raises(NotFound, match="key_none"):
        await ring.revoke("key_none", actor="test")


async def test_the_last_admin_key_stays(ring: KeyRing, clock: ManualClock) -> None:
    token = await ring.ensure_admin()
    assert token is not None
    await ring.create("viewer", actor="test", role="viewer")
    expiring = await ring.create("second", actor="test", role="admin", expires_in=60)
    clock.advance(61)
    admin = await ask(ring, token)
    assert admin is not None

    with pytest.raises(Conflict, match="last admin key; make another one first"):
        await ring.revoke(admin.key_id, actor="test")

    assert await ask(ring, token) is not None
    await ring.revoke(expiring.record.id, actor="test")
    await ring.create("third", actor="test", role="admin")
    await ring.revoke(admin.key_id, actor="test")
    assert await ask(ring, token) is None


async def test_of_two_last_admin_keys_revoked_at_once_one_stays(open_ring: OpenRing) -> None:
    here, there = open_ring(), open_ring()
    keys = [(await here.create(name, actor="test", role="admin")).record.id for name in "ab"]

    outcomes = await asyncio.gather(
        here.revoke(keys[0], actor="test"),
        there.revoke(keys[1], actor="test"),
        return_exceptions=True,
    )

    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1


async def test_a_key_from_the_environment_is_admin_and_stored_nowhere(open_ring: OpenRing) -> None:
    ring = open_ring(admin_key="psk_from_the_environment")
    only = await ring.create("only", actor="test", role="admin")

    assert await ask(ring, "psk_from_the_environment") == Principal("env", "admin", "admin")
    assert await ring.ensure_admin() is None
    await ring.revoke(only.record.id, actor="test")
    assert [record.id for record in await ring.page()] == [only.record.id]


async def test_the_first_start_makes_one_admin_key(open_ring: OpenRing) -> None:
    rings = [open_ring() for _ in range(3)]

    tokens = await asyncio.gather(*(ring.ensure_admin() for ring in rings))

    (token,) = [token for token in tokens if token is not None]
    assert all([await ask(ring, token) for ring in rings])
    assert await rings[0].ensure_admin() is None


async def test_the_last_use_is_written_once_a_minute(
    open_ring: OpenRing, clock: ManualClock
) -> None:
    ring, other = open_ring(), open_ring()
    new = await ring.create("app", actor="test", role="viewer")
    assert (await ring.get(new.record.id)).last_used_at is None
    start = new.record.created_at

    for seconds, written in ((0, 0), (30, 0), (29, 0), (1, 60), (59, 60)):
        clock.advance(seconds)
        await ask(ring, new.token)
        async with asyncio.timeout(SOON):
            used = None
            while used != start + written * 1000:
                await asyncio.sleep(0)
                used = (await other.get(new.record.id)).last_used_at

    await database_of(ring).aclose()  # and nothing was left to be written
    assert (await other.get(new.record.id)).last_used_at == start + 60_000


async def test_keys_are_listed_newest_first_in_pages(ring: KeyRing, clock: ManualClock) -> None:
    made = []
    for name in "abcde":
        made.append((await ring.create(name, actor="test", role="viewer")).record)
        clock.advance(1)

    first = await ring.page(limit=3)
    rest = await ring.page(after=(first[-1].created_at, first[-1].id), limit=3)

    assert [*first, *rest] == made[::-1]


async def test_while_the_database_is_gone_known_keys_stay_and_others_are_an_error(
    open_ring: OpenRing, clock: ManualClock
) -> None:
    here, there = open_ring(admin_key="env-key"), open_ring()
    known = await there.create("known", actor="test", role="viewer")
    revoked = await there.create("revoked", actor="test", role="viewer")
    assert await ask(here, known.token) is not None
    await database_of(here).aclose()

    await there.revoke(revoked.record.id, actor="test")
    fresh = await there.create("fresh", actor="test", role="viewer")

    assert await ask(here, known.token) is not None
    assert await ask(here, "env-key") is not None
    for token in (revoked.token, fresh.token, "psk_unknown"):
        with pytest.raises(StorageUnavailable):
            await ask(here, token)


async def test_keys_are_read_again_when_the_database_is_back(
    open_ring: OpenRing, clock: ManualClock
) -> None:
    here, there = open_ring(), open_ring()
    gone, back = database_of(open_ring()), database_of(here)
    await gone.aclose()
    here._store._database = gone
    new = await there.create("app", actor="test", role="viewer")
    with pytest.raises(StorageUnavailable):
        await ask(here, new.token)

    here._store._database = back
    clock.advance(1)

    assert await ask(here, new.token) is not None
    assert await ask(here, "psk_unknown") is None


async def test_a_revocation_is_seen_although_the_hub_s_file_was_replaced(
    open_ring: OpenRing, tmp_path: Path, clock: ManualClock
) -> None:
    ring = open_ring()
    new = await ring.create("app", actor="test", role="viewer")
    assert await ask(ring, new.token) is not None

    (tmp_path / "hub-1.bin").unlink()
    await open_ring().revoke(new.record.id, actor="test")
    clock.advance(1)

    assert await ask(ring, new.token) is None
