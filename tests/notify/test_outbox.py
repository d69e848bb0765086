from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from benchmarks.rigs.servers import RedisServer
from penstock.clock import SystemClock
from penstock.hub.factory import open_hub
from penstock.notify.outbox import LEFT, LEFT_TOGETHER
from penstock.notify.store import Delivery
from penstock.observe.metrics import Metrics
from tests.notify.conftest import Rig, on_both

Open = Callable[..., Any]
# A busy machine shall not look like a Redis that is away.
PATIENT = "?socket_timeout=10&socket_connect_timeout=10"


async def leave(rig: Rig, count: int) -> list[Delivery]:
    """What a process that stopped left behind: an event for each of so many webhooks."""
    event = rig.event()
    left = [Delivery(f"hook_{number}", "team", event) for number in range(count)]
    await rig.webhooks._store.leave(left)
    return left


@on_both
async def test_what_was_left_is_taken_over_a_few_at_a_time_and_forgotten(opened: Open) -> None:
    async with opened(workers=0) as rig:
        await leave(rig, 2 * LEFT_TOGETHER + 1)

        await rig.webhooks._outbox._recover()

        jobs = await rig.jobs()
        assert len({job.key for job in jobs}) == len(jobs) == 2 * LEFT_TOGETHER + 1
        assert {job.owner for job in jobs} == {"team"}
        assert await rig.webhooks._store.left() == []


async def test_what_is_a_job_already_becomes_no_second_one(opened: Open) -> None:
    """A process was killed before it forgot what it took over, or two did so at once."""
    async with opened(workers=0) as rig:
        left = await leave(rig, 3)
        await rig.webhooks._outbox._recover()
        await rig.webhooks._store.leave(left)

        await rig.webhooks._outbox._recover()

        assert len(await rig.jobs()) == 3
        assert await rig.webhooks._store.left() == []


async def test_of_two_that_start_together_one_takes_over(
    opened: Open, redis: RedisServer, tmp_path: Path
) -> None:
    clock, url = SystemClock(), redis.url + PATIENT
    async with (
        opened(workers=0) as rig,
        aclosing(await open_hub(url, tmp_path, clock=clock, metrics=Metrics())) as hub,
        aclosing(await open_hub(url, tmp_path, clock=clock, metrics=Metrics())) as theirs,
    ):
        rig.webhooks._outbox._hub = hub
        await leave(rig, 3)
        lease = await theirs.acquire(LEFT, seconds=60)
        assert lease is not None

        recovering = asyncio.ensure_future(rig.webhooks._outbox._recover())
        async with asyncio.timeout(60):
            while not (recovering.done() or LEFT.encode() in await channels(redis)):
                pass

        assert not recovering.done()
        assert await rig.jobs() == []
        await lease.release()  # it died of it: everything is still there
        await recovering
        assert len(await rig.jobs()) == 3


async def channels(redis: RedisServer) -> bytes:
    """What is listened to."""
    return await asyncio.to_thread(redis.ask, b"PUBSUB CHANNELS *\r\n")
