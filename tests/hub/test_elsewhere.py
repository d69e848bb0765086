from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
from pathlib import Path

import pytest

from benchmarks.rigs.servers import RedisServer
from penstock.errors import ConfigurationError, StorageUnavailable
from penstock.hub.elsewhere import HubElsewhere
from penstock.hub.factory import open_hub
from tests.hub.conftest import PATIENCE

# A busy machine shall not look like a Redis that is away.
PATIENT = "?socket_timeout=10&socket_connect_timeout=10"


def test_two_threads_hubs_agree_without_a_loop_of_the_callers(redis: RedisServer):
    first = HubElsewhere(lambda: open_hub(redis.url + PATIENT, None))
    second = HubElsewhere(lambda: open_hub(redis.url + PATIENT, None))
    try:
        first.bump("a")

        async def counted() -> dict[str, int]:
            await first.add({"counts": {"x": 2}})
            return await second.read("counts")

        assert asyncio.run(counted()) == {"x": 2}
        assert first.is_current
        assert first.generation("a") >= first.generation("b")
    finally:
        first.close()
        second.close()


async def test_a_lease_taken_on_another_loop_keeps_others_out_until_it_is_released(
    redis: RedisServer,
):
    hub = await asyncio.to_thread(HubElsewhere, lambda: open_hub(redis.url + PATIENT, None))
    try:
        lease = await hub.acquire("work", seconds=30)
        assert lease is not None
        assert await hub.acquire("work", seconds=30) is None
        waiting = asyncio.ensure_future(hub.wait_released("work", seconds=30))
        assert await lease.extend(30)
        assert await lease.release()
        assert await waiting
    finally:
        await hub.aclose()


def test_what_cannot_be_opened_leaves_no_thread(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no address of Redis"):
        HubElsewhere(lambda: open_hub("http://nowhere", tmp_path))


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_in_a_forked_child_it_is_a_hub_that_is_away(redis: RedisServer):
    hub = HubElsewhere(lambda: open_hub(redis.url + PATIENT, None))
    mine, theirs = os.pipe()
    hub._hub._ledger._lock.acquire()  # as if its thread had held it at this moment
    child = os.fork()
    if child == 0:
        try:
            os.write(theirs, repr(asyncio.run(asked(hub))).encode())
        finally:
            os._exit(0)
    hub._hub._ledger._lock.release()
    try:
        os.close(theirs)
        with os.fdopen(mine, "rb") as told:
            assert select.select([mine], [], [], PATIENCE)[0], "it hangs"
            said = told.read().decode()
        assert said == "(False, False, False, True, 'StorageUnavailable', False)"
        assert hub.is_current  # and the parent's goes on
        assert hub.generation("a") == hub.generation("b")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        hub.close()


async def asked(hub: HubElsewhere) -> tuple[object, ...]:
    """What it answers, each at once."""
    before = hub.sequence()
    bumped = hub.bump("a") == hub.generation("a") > before
    hub.publish("t", b"x")
    hub.since(0)
    lease = await hub.acquire("work", seconds=30)
    assert lease is not None
    came = await hub.wait_released("work", seconds=30)
    try:
        said = str(await hub.add({"counts": {"x": 1}}))
    except StorageUnavailable as error:
        said = type(error).__name__
    await hub.settled()
    await hub.aclose()
    return hub.is_current, lease.shared, came, bumped, said, (await hub.status()).connected


async def test_a_loop_that_does_not_answer_is_not_waited_for_longer_than_that(
    redis: RedisServer, monkeypatch
):
    hub = await asyncio.to_thread(HubElsewhere, lambda: open_hub(redis.url + PATIENT, None))
    go_on = threading.Event()
    try:
        hub._loop.call_soon_threadsafe(go_on.wait)
        monkeypatch.setattr("penstock.hub.elsewhere.PATIENCE", 0.01)

        lease = await hub.acquire("work", seconds=30)

        assert lease is not None
        assert not lease.shared
        assert not await hub.wait_released("work", seconds=0)
    finally:
        go_on.set()
        monkeypatch.undo()
        await hub.aclose()
