from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.rigs.servers import RedisServer
from penstock.errors import ConfigurationError
from penstock.hub.elsewhere import HubElsewhere
from penstock.hub.factory import open_hub


def test_two_threads_hubs_agree_without_a_loop_of_the_callers(redis: RedisServer):
    first = HubElsewhere(lambda: open_hub(redis.url, None))
    second = HubElsewhere(lambda: open_hub(redis.url, None))
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
    hub = await asyncio.to_thread(HubElsewhere, lambda: open_hub(redis.url, None))
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
