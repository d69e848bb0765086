"""The hub and the cache over TLS, with a password and a certificate of the client's own."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from benchmarks.rigs.servers import Tls
from penstock.cache import Cache, open_store
from penstock.hub import open_hub
from penstock.net.redis import connect as connect_client
from tests.hub.conftest import granted, until

SECRET = "open-sesame"


async def test_hubs_hear_one_another_over_tls_and_again_after_a_kill(own_redis, authority, connect):
    redis = own_redis(password=SECRET, tls=Tls.of(authority, clients=True))
    first, second = await connect(redis.url), await connect(redis.url)
    position = second.heads[0]
    began = second.sequence()

    first.bump("n")
    first.publish("t", b"told")
    lease = await first.acquire("turn", seconds=30)
    waiting = asyncio.ensure_future(second.wait_released("turn", seconds=30))
    taken = await granted(first.take("limit", limit=1, window=60, at=1e9))
    await until(lambda: any(m.body == b"told" for m in second.since(position)[1]))
    await until(lambda: second.generation("n") > began)
    refused = await granted(second.take("limit", limit=1, window=60, at=1e9))
    await lease.release()

    assert await waiting
    assert (taken.allowed, refused.allowed) == (True, False)

    redis.kill()
    await until(lambda: not first.is_current and not second.is_current)
    redis.start()
    await until(lambda: first.is_current and second.is_current)
    position = second.heads[0]
    first.publish("t", b"later")
    await until(lambda: any(m.body == b"later" for m in second.since(position)[1]))


async def test_a_redis_that_froze_is_left_and_taken_up_again_over_tls(
    own_redis, authority, connect
):
    redis = own_redis(tls=Tls.of(authority))
    hub = await connect(redis.url)

    redis.freeze()
    await until(lambda: "or speaks no TLS" in hub._link.detail)  # it was tried anew
    redis.thaw()

    await until(lambda: hub.is_current)
    assert (await hub.status()).connected


async def test_a_client_of_a_redis_that_froze_is_closed_without_waiting_for_it(
    own_redis, authority
):
    redis = own_redis(tls=Tls.of(authority))
    client = connect_client(redis.url)
    assert await client.ping()

    redis.freeze()

    await client.aclose()


async def test_a_hub_that_does_not_trust_its_redis_says_so_and_works_alone(
    own_redis, authority, stranger, connect
):
    redis = own_redis(password=SECRET, tls=Tls.of(authority))

    hub = await connect(redis.url.replace(str(authority.ca), str(stranger.ca)))

    status = await hub.status()
    assert not status.connected
    assert "shows a certificate that is not trusted" in status.detail
    assert "?ssl_ca_certs=/path/ca.pem" in status.detail
    assert SECRET not in status.detail
    assert hub.bump("n") == hub.generation("n")


async def test_the_cache_reads_and_writes_over_tls_with_options_of_its_own(
    own_redis, authority, tmp_path
):
    redis = own_redis(password=SECRET, tls=Tls.of(authority, clients=True))

    async with aclosing(await open_hub(redis.url, tmp_path)) as hub:
        url = f"{redis.url}&timeout=5s"
        async with (
            aclosing(Cache([open_store(url)], hub=hub)) as one,
            aclosing(Cache([open_store(url)], hub=hub)) as two,
        ):
            await one.set("k", {"a": 1})
            assert await two.get("k") == {"a": 1}
