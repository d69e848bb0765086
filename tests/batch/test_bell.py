"""Who watches a batch is woken by that batch."""

from __future__ import annotations

import asyncio

from penstock.batch.bell import Bell

SOON = 60.0


async def test_a_batch_wakes_those_who_wait_for_it_and_nobody_else():
    bell = Bell()
    mine, others = [asyncio.ensure_future(bell.wait(name, 3600.0)) for name in ("mine", "other")]
    await asyncio.sleep(0)

    bell.ring("mine")

    await asyncio.wait_for(mine, SOON)
    assert not others.done()
    others.cancel()
