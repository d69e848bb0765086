"""Who stops waiting is gone, at whatever moment that is: also while Redis answers."""

from __future__ import annotations

import asyncio

from benchmarks.rigs.servers import RedisServer
from penstock.tasks import open_queue
from penstock.tasks.celery.address import parse
from penstock.tasks.celery.remote import Remote
from tests.tasks.celery.celery_jobs import echo
from tests.tasks.celery.conftest import PATIENCE, address

MOMENTS = 60  # turns of the loop, which is more than it takes to begin to wait


async def test_who_stops_waiting_for_a_job_is_gone(redis: RedisServer):
    async with open_queue(address(redis), workers=0) as jobs:
        job = await jobs.enqueue(echo, ("a",))
        for moment in range(MOMENTS):
            waiting = asyncio.ensure_future(job.result())
            for _ in range(moment):
                await asyncio.sleep(0)

            waiting.cancel()
            await asyncio.wait([waiting], timeout=PATIENCE)

            assert waiting.cancelled()


async def test_a_cancellation_that_redis_client_forgets_is_remembered(redis: RedisServer):
    remote = Remote(parse(address(redis)))

    async def forgetful() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "the answer that came at this moment"
        return ""

    asking = asyncio.ensure_future(remote._tried(forgetful))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])

    assert asking.cancelled()
    await remote.aclose()
