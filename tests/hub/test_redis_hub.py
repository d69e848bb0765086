"""What only the hub over Redis has: servers that do not share a machine, and Redis on a bad day."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.rigs.slow_proxy import SlowProxy
from penstock.errors import ConfigurationError
from penstock.hub import LocalHub, open_hub
from penstock.hub.hub import Grant
from penstock.net.redis import connect_sync
from penstock.observe.metrics import Metrics
from tests.hub.conftest import PATIENCE, granted, until

# --- Redis killed and restarted ------------------------------------------------------------------


async def test_without_redis_a_hub_starts_degraded_and_connects_when_it_comes(own_redis, connect):
    redis = own_redis()
    redis.stop()

    hub = await connect(redis.url)

    assert not hub.is_current
    status = await hub.status()
    assert not status.connected
    assert "cannot be reached" in status.detail
    hub.publish("t", b"kept")
    bumped = hub.bump("n")
    assert hub.generation("n") == bumped == hub.sequence()
    redis.start()
    await until(lambda: hub.is_current)
    other = await connect(redis.url)
    assert other.generation("n") > bumped


async def test_what_was_told_meanwhile_arrives_after_a_restart(own_redis, connect):
    redis = own_redis()
    first, second = await connect(redis.url), await connect(redis.url)
    redis.kill()
    await until(lambda: not first.is_current and not second.is_current)
    began = second.sequence()
    first.bump("n")
    first.publish("t", b"kept")

    redis.start()

    await until(lambda: first.is_current and second.is_current)
    position = second.heads[0]
    await until(lambda: second.generation("n") > began)
    assert first.generation("n") > began
    first.publish("t", b"later")
    await until(lambda: any(m.body == b"later" for m in second.since(position)[1]))


async def test_when_redis_lost_its_data_everything_from_before_is_invalid_and_forgotten(
    own_redis, connect
):
    redis = own_redis()
    hub = await connect(redis.url)
    hub.bump("known")
    await until(lambda: hub.heard() == hub.sequence())
    before, position = hub.sequence(), hub.heads[0]

    redis.kill()
    redis.start()

    await until(lambda: hub.generation("anything") > before)
    assert hub.since(position) is None
    assert hub.sequence() >= hub.generation("anything")


async def test_a_redis_that_kept_its_data_keeps_the_caches_valid(own_redis, connect):
    redis = own_redis("--appendonly", "yes", "--appendfsync", "always")
    first, second = await connect(redis.url), await connect(redis.url)
    first.bump("n")
    await until(lambda: first.heard() == second.heard() == first.sequence())
    valid, position = first.sequence(), second.heads[0]

    redis.kill()
    redis.start()

    # Messages may have been lost all the same.
    await until(lambda: second.since(position) is None)
    assert first.generation("n") <= valid
    assert second.generation("other") <= valid


async def test_data_that_lacks_only_messages_is_older_data_all_the_same(own_redis, connect):
    """What was set and deleted is published, and ticks no clock; it came back on every server."""
    redis = own_redis("--save", "3600 1")
    first, second = await connect(redis.url), await connect(redis.url)
    first.bump("n")
    await until(lambda: first.heard() == second.heard() == first.sequence())
    valid, position = first.sequence(), second.heads[0]
    client = connect_sync(redis.url, timeout=5)
    client.save()
    client.close()
    first.publish("t", b"deleted")
    await until(lambda: second.heads[0] > position)

    redis.kill()
    redis.start()

    await until(lambda: min(h.generation("anything") for h in (first, second)) > valid)


async def test_a_log_that_went_back_under_a_living_connection_is_noticed(own_redis, connect):
    redis = own_redis()
    hub = await connect(redis.url)
    before = hub.sequence()
    client = connect_sync(redis.url, timeout=5)
    older = {name: client.dump(f"penstock:hub:{name}") for name in ("meta", "log")}
    hub.publish("t", b"x")
    await hub.settled()

    for name, data in older.items():
        client.restore(f"penstock:hub:{name}", 0, data, replace=True)

    await until(lambda: hub.generation("anything") > before)
    client.close()


async def test_generations_that_were_lost_are_missed_before_a_bump_makes_new_ones(redis, connect):
    hub = await connect(redis.url)
    hub.bump("gone")
    await until(lambda: hub.heard() == hub.sequence())
    before = hub.sequence()
    client = connect_sync(redis.url, timeout=5)

    client.delete("penstock:hub:generations")
    hub.bump("other")
    await hub.settled()

    late = await connect(redis.url)
    assert late.generation("gone") > before
    client.close()


async def test_a_primary_that_lives_on_as_a_replica_is_left(own_redis, connect):
    old, new = own_redis(), own_redis("--repl-diskless-sync-delay", "0")
    with SlowProxy(old.port) as proxy:
        hub = await connect(f"redis://127.0.0.1:{proxy.port}/0")
        there, here = connect_sync(new.url, timeout=5), connect_sync(old.url, timeout=5)
        lease = await hub.acquire("a", seconds=30)
        await hub.add({"counts": {"x": 1}})
        assert lease.shared
        # Not yet read-only: or the blocking read would be ended, and the link leave with it.
        here.config_set("replica-read-only", "no")
        here.replicaof("127.0.0.1", new.port)
        await until(lambda: here.info("replication")["master_link_status"] == "up")
        await until(lambda: hub.is_current and hub.heard())
        proxy._target = ("127.0.0.1", new.port)  # the name leads to the new primary
        here.config_set("replica-read-only", "yes")

        await hub.add({"counts": {"x": 2}})
        await until(lambda: hub.is_current and there.exists("penstock:hub:meta"))
        again = await hub.acquire("b", seconds=30)

        assert again.shared
        assert there.exists("penstock:hub:lease:b")
        assert await hub.read("counts") == {"x": 2}
        there.close()
        here.close()


async def test_data_thrown_away_under_a_living_connection_is_noticed(own_redis, connect):
    redis = own_redis()
    hub = await connect(redis.url)
    before = hub.sequence()

    redis.empty()

    await until(lambda: hub.generation("anything") > before)
    other = await connect(redis.url)
    hub.bump("n")
    await until(lambda: other.generation("n") == hub.generation("n"))


# --- Redis slow, frozen, full, foreign -----------------------------------------------------------


async def test_a_frozen_redis_is_noticed_and_costs_nobody_a_wait(own_redis, connect):
    redis = own_redis()
    hub = await connect(redis.url, lease_timeout=10 * PATIENCE, rate_timeout=10 * PATIENCE)
    redis.freeze()
    try:
        await until(lambda: not hub.is_current)
        hub.publish("t", b"x")
        hub.bump("n")
        grant = hub.take("k", limit=5, window=60, at=time.monotonic())
        async with asyncio.timeout(PATIENCE):  # who asked Redis would wait longer
            lease = await hub.acquire("flight", seconds=5)
        assert isinstance(grant, Grant)
        assert grant.allowed
        assert lease
        assert not lease.shared
        assert "not answer" in (await hub.status()).detail
    finally:
        redis.thaw()
    await until(lambda: hub.is_current)
    await until(lambda: hub.heard() == hub.sequence())


async def test_a_redis_that_is_well_is_not_told_away_by_a_process_that_was_held_up(
    redis, connect, caplog
):
    """As every start is, while models load and routes are made."""
    hub = await connect(redis.url)

    for _ in range(2):
        threading.Event().wait(1.2)  # longer than Redis may take to answer
        hub.bump("n")
        await until(lambda: hub.heard() == hub.sequence())

    assert "hub.disconnected" not in caplog.text
    assert hub.is_current


async def test_a_slow_redis_delays_what_others_hear_and_nothing_else(redis, connect):
    with SlowProxy(redis.port, round_trip=0.1) as proxy:
        slow = await connect(f"redis://127.0.0.1:{proxy.port}/0")
        quick = await connect(redis.url)
        await until(lambda: slow.is_current)
        began = quick.sequence()

        started = time.monotonic()
        grants = [slow.take_at_once("k", limit=3, window=60, at=started) for _ in range(5)]
        waited = await granted(slow.take("other", limit=1, window=60, at=started))
        slow.bump("n")

        assert sum(grant.allowed for grant in grants) == 3
        assert waited.allowed
        await until(lambda: quick.generation("n") > began)
        again = quick.sequence()
        quick.bump("m")
        await until(lambda: slow.generation("m") > again)
        assert (await slow.status()).latency_seconds >= 0.09


async def test_a_connection_cut_again_and_again_loses_nothing(redis, connect):
    with SlowProxy(redis.port) as proxy:
        first = await connect(f"redis://127.0.0.1:{proxy.port}/0")
        second = await connect(redis.url)
        start = second.heads[0]
        for number in range(60):
            first.publish("t", b"%d" % number)
            first.bump(f"n{number}")
            if number % 20 == 10:
                proxy.reset()
            await asyncio.sleep(0)

        await until(lambda: first.heard() == first.sequence() == second.sequence())

        bodies = [m.body for m in second.since(start)[1] if m.topic == "t"]
        assert bodies == [b"%d" % n for n in range(60)]


async def test_a_full_redis_is_told_and_nobody_relies_on_being_told(own_redis, connect):
    redis = own_redis("--maxmemory-policy", "noeviction")
    first, second = await connect(redis.url), await connect(redis.url)
    client = connect_sync(redis.url, timeout=5)
    client.config_set("maxmemory", "1mb")

    await until(lambda: not first.is_current and not second.is_current)

    assert "full (maxmemory)" in (await first.status()).detail
    began = first.sequence()
    first.bump("n")
    assert first.generation("n") > began
    client.config_set("maxmemory", "0")
    await until(lambda: second.generation("n") > began)
    await until(lambda: second.is_current)
    client.close()


async def test_a_wrong_password_is_said_and_not_shown(own_redis, connect):
    redis = own_redis(password="right")

    hub = await connect(f"redis://:wrong@127.0.0.1:{redis.port}/0")

    status = await hub.status()
    assert not status.connected
    assert "password" in status.detail
    assert "wrong" not in f"{status.detail} {status.url}"


@pytest.mark.parametrize(
    ("version", "said"),
    [("5.0.7", "is older than Redis 6; install 6.2"), ("6.0.9", "is Redis 6.0.9; install 6.2")],
)
async def test_a_server_that_is_too_old_is_named(connect, version: str, said: str):
    with _old_server(version) as port:
        hub = await connect(f"redis://127.0.0.1:{port}/0")

        status = await hub.status()

    assert not status.connected
    assert said in status.detail


async def test_an_address_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="no address of Redis"):
        await open_hub("http://x", None)


async def test_without_an_address_the_folder_is_shared(tmp_path):
    hub = await open_hub(None, tmp_path)

    assert isinstance(hub, LocalHub)
    assert (await hub.status()).kind == "local"
    await hub.aclose()


# --- the clock -----------------------------------------------------------------------------------


async def test_a_value_computed_before_a_bump_was_heard_is_invalid_when_it_is(redis, connect):
    """The order of the issue: B computes while A's bump is on its way to it."""
    with SlowProxy(redis.port) as proxy:
        second = await connect(f"redis://127.0.0.1:{proxy.port}/0")
        first = await connect(redis.url)
        await until(lambda: first.sequence() == second.sequence())
        proxy.freeze()
        before = second.sequence()
        first.bump("tag")
        await until(lambda: first.heard() == first.sequence())

        computed = second.sequence()

        assert second.generation("tag") <= computed  # not heard: still good here
        assert first.generation("tag") > computed  # where it was heard, it never is
        assert first.generation("tag") <= first.heard()
        proxy.thaw()
        await until(lambda: second.generation("tag") > computed)
        assert before == computed


async def test_a_bump_waits_above_what_others_bump_until_it_is_confirmed(redis, connect):
    with SlowProxy(redis.port) as proxy:
        slow = await connect(f"redis://127.0.0.1:{proxy.port}/0")
        quick = await connect(redis.url)
        proxy.up = 0.3
        slow.bump("mine")
        quick.bump("other")
        await until(lambda: quick.heard() == quick.sequence())
        theirs = quick.sequence()  # computed by somebody who has not heard of "mine"

        await until(lambda: slow.heard() >= theirs)

        assert slow.generation("mine") > theirs
        await until(lambda: quick.generation("mine") > theirs)


async def test_moving_to_redis_invalidates_what_another_clock_kept(redis, tmp_path):
    local = LocalHub(tmp_path)
    local.bump("n")
    local.close()
    first = await open_hub(redis.url, tmp_path)
    before = first.sequence()
    assert not list(tmp_path.iterdir())
    await first.aclose()
    local = LocalHub(tmp_path)  # somebody goes back for a day
    local.bump("n")
    local.close()

    again = await open_hub(redis.url, tmp_path)

    assert again.generation("anything") > before
    await again.aclose()


async def test_generations_that_redis_forgets_count_as_bumped(redis, connect, monkeypatch):
    monkeypatch.setattr("penstock.hub.redis.wire.NAMES", 20)
    first, second = await connect(redis.url), await connect(redis.url)
    began = second.sequence()
    for number in range(60):
        first.bump(f"tag:{number}")

    await until(lambda: first.heard() == first.sequence() == second.sequence())
    late = await connect(redis.url)

    for hub in (first, second, late):
        assert hub.generation("tag:0") > began
        assert hub.generation("tag:59") == hub.generation("tag:59") <= hub.sequence()
        assert hub.generation("never") > began


async def test_many_generations_are_read_at_a_start(redis, connect):
    first = await connect(redis.url)
    for number in range(1200):
        first.bump(f"tag:{number}")
    await until(lambda: first.heard() == first.sequence())

    late = await connect(redis.url)

    assert late.generation("tag:7") == first.generation("tag:7")
    assert late.generation("tag:1199") == late.sequence()


# --- the log -------------------------------------------------------------------------------------


async def test_what_finds_no_room_is_counted_and_everybody_forgets(own_redis, connect, monkeypatch):
    monkeypatch.setattr("penstock.hub.redis.ledger.MAX_OUTBOX_BYTES", 20_000)
    redis = own_redis()
    metrics = Metrics()
    first = await connect(redis.url, metrics=metrics)
    second = await connect(redis.url)
    position = second.heads[0]
    redis.freeze()
    await until(lambda: not first.is_current and not second.is_current)
    for number in range(30):
        first.publish("t", b"%d" % number + b"x" * 1000)
    status = await first.status()
    assert (status.waiting, status.lost) == (19, 11)

    redis.thaw()

    await until(lambda: second.since(position) is None)
    assert metrics.total("penstock_hub_lost_total") == 11


async def test_a_reader_that_fell_behind_the_log_forgets_and_goes_on(redis, connect, monkeypatch):
    monkeypatch.setattr("penstock.hub.redis.wire.LOG_LENGTH", 100)
    with SlowProxy(redis.port) as proxy:
        slow = await connect(f"redis://127.0.0.1:{proxy.port}/0")
        quick = await connect(redis.url)
        await until(lambda: slow.is_current)
        position = slow.heads[0]
        proxy.refuse()
        await until(lambda: not slow.is_current)
        for number in range(1000):
            quick.publish("t", b"%d" % number)
        await quick._link.told()

        proxy.accept()

        await until(lambda: slow.is_current)
        assert slow.since(position) is None
        position = slow.heads[0]
        quick.publish("t", b"last")
        await until(lambda: slow.since(position)[1])


@pytest.mark.slow
async def test_other_processes_are_heard(redis, connect):
    hub = await connect(redis.url)
    start, before = hub.heads[0], hub.sequence()
    code = (
        "import asyncio, sys\n"
        "from penstock.hub import open_hub\n"
        "async def main():\n"
        "    hub = await open_hub(sys.argv[1], None)\n"
        "    for n in range(100):\n"
        "        hub.bump('n'); hub.publish('t', b'%d' % n)\n"
        "    await hub.aclose()\n"
        "asyncio.run(main())\n"
    )

    running = [
        await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", code, redis.url)
        for _ in range(2)
    ]
    assert [await process.wait() for process in running] == [0, 0]

    await until(lambda: len([m for m in hub.since(start)[1] if m.topic == "t"]) == 200)
    assert hub.generation("n") > before


# --- what is counted, and the end ----------------------------------------------------------------


async def test_the_hub_counts_what_it_does(own_redis, connect):
    redis = own_redis()
    metrics = Metrics()
    hub = await connect(redis.url, metrics=metrics)
    hub.publish("t", b"x")
    await until(lambda: metrics.summary("penstock_hub_round_trip_seconds").count > 1)
    assert metrics.total("penstock_hub_connected") == 1

    redis.kill()

    await until(lambda: metrics.total("penstock_hub_connected") == 0)


async def test_a_hub_that_was_closed_asks_nobody(redis, connect):
    hub = await connect(redis.url)
    hub.publish("t", b"last words")
    client = connect_sync(redis.url, timeout=5)

    await hub.aclose()

    assert client.xlen("penstock:hub:log") == 2  # how this life began, and the last words
    assert not (await hub.acquire("x", seconds=5)).shared
    assert hub.take("k", limit=1, window=60, at=time.monotonic()).allowed
    client.close()


@contextmanager
def _old_server(version: str) -> Iterator[int]:
    """The port of something that says what an old Redis says to who asks."""
    info = f"# Server\r\nredis_version:{version}\r\nrun_id:0\r\n".encode()
    answers = {
        b"HELLO": b"-ERR unknown command `HELLO`, with args\r\n"
        if version < "6"
        else b"%1\r\n$5\r\nproto\r\n:3\r\n",
        b"INFO": b"$%d\r\n%s\r\n" % (len(info), info),
    }

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                while asked := connection.recv(4096):
                    for part in asked.split(b"*")[1:]:
                        named = [answer for name, answer in answers.items() if name in part]
                        connection.sendall(named[0] if named else b"+OK\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()
