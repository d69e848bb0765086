"""Redis killed, emptied and frozen under load: nothing invalid is used, nothing told is missing."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from penstock.errors import StorageUnavailable
from penstock.hub.redis import RedisHub
from tests.hub.clock_model import BOUNDS, bound, try_out
from tests.hub.conftest import granted, until

pytestmark = [pytest.mark.drill, pytest.mark.slow]

SERVERS = 3
ROUNDS = 6
NAMES = [f"tag:{number}" for number in range(20)]


@pytest.mark.parametrize(("shift", "pending"), BOUNDS, ids=["roomy", "few-names", "few-numbers"])
def test_the_law_of_the_clock_at_length(redis, monkeypatch, shift: int, pending: int):
    bound(monkeypatch, shift, pending)

    try_out(redis.url, examples=300, steps=60)


async def test_redis_is_killed_again_and_again_under_load(own_redis):
    """Bumps, limits and counters go on; afterwards all agree and the sums are right."""
    redis = own_redis("--appendonly", "yes", "--appendfsync", "always")
    hubs = [RedisHub(redis.url) for _ in range(SERVERS)]
    for hub in hubs:
        await hub.start()
    ended = asyncio.Event()
    state = _State()
    work = [asyncio.ensure_future(_serve(hub, state, ended)) for hub in hubs]
    for number in range(ROUNDS):
        goal = state.answers + 3000
        await until(lambda goal=goal: state.answers >= goal)
        if number % 3 == 2:
            redis.freeze()
            await until(lambda: not any(hub.is_current for hub in hubs))
            redis.thaw()
        else:
            redis.kill()
            await until(lambda: not any(hub.is_current for hub in hubs))
            goal = state.answers + 1000
            await until(lambda goal=goal: state.answers >= goal)
            await asyncio.to_thread(redis.start)
        await until(lambda: all(hub.is_current for hub in hubs))
    ended.set()
    await asyncio.gather(*work)

    await until(lambda: len({hub.sequence() for hub in hubs}) == 1)
    for hub in hubs:
        assert hub.sequence() == hub.heard()
        for name, began in state.last_bump.items():
            assert hub.generation(name) > began
        assert (await hub.status()).lost == 0
    assert (await hubs[0].read("drill"))["answers"] == state.answers
    assert state.failed == 0
    for hub in hubs:
        await hub.aclose()


class _State:
    """What the servers did, as the drill knows it."""

    def __init__(self) -> None:
        self.answers = 0
        self.failed = 0
        self.batches = 0
        self.last_bump: dict[str, int] = {}


async def _serve(hub: RedisHub, state: _State, ended: asyncio.Event) -> None:
    """Requests of one server; beside them, what they count is booked."""
    waiting = [0]
    booking = asyncio.ensure_future(_book(hub, state, waiting, ended))
    while not ended.is_set():
        await granted(hub.take("key", limit=100_000, window=1.0, at=time.monotonic()))
        name = random.choice(NAMES)
        if random.random() < 0.02:
            state.last_bump[name] = max(state.last_bump.get(name, 0), hub.heard())
            bumped = hub.bump(name)
            if hub.generation(name) < bumped:
                state.failed += 1
        state.answers += 1
        waiting[0] += 1
        await asyncio.sleep(0)
    await booking


async def _book(hub: RedisHub, state: _State, waiting: list[int], ended: asyncio.Event) -> None:
    """Add what waits, each batch under one mark until it has arrived."""
    while waiting[0] or not ended.is_set():
        amount, waiting[0] = waiting[0], 0
        state.batches += 1
        mark = f"batch-{state.batches}"
        while amount:
            try:
                await hub.add({"drill": {"answers": amount}}, once=mark)
                break
            except StorageUnavailable:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)
