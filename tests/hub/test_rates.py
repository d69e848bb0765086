"""Limits over servers: exact when small, within a share of each server when large, kept while Redis
is away."""

from __future__ import annotations

import asyncio

import pytest

from penstock.clock import ManualClock
from penstock.hub.hub import Grant
from penstock.hub.redis import RedisHub
from tests.hub.conftest import granted, until

LARGE = {"limit": 6000, "window": 60.0}  # a hundred a second: a share is ten


class Server:
    """A hub whose own time stands still, so that no token comes back during a test."""

    def __init__(self, hub: RedisHub, clock: ManualClock) -> None:
        self.hub = hub
        self.clock = clock

    def ask(self, name: str = "k", **limit: float) -> Grant | asyncio.Future[Grant]:
        return self.hub.take(name, at=self.clock.monotonic(), **limit)

    async def answers(self, count: int, name: str = "k", **limit: float) -> list[Grant]:
        asked = [self.ask(name, **limit) for _ in range(count)]
        return [await granted(one) for one in asked]

    @property
    def round_trips(self) -> int:
        return self.hub.round_trips


@pytest.fixture
async def servers(redis, connect):
    return [await serve(connect, redis.url) for _ in range(2)]


async def serve(connect, url: str) -> Server:
    clock = ManualClock()
    clock.advance(1000.0)
    return Server(await connect(url, clock=clock), clock)


def allowed(grants: list[Grant]) -> int:
    return sum(grant.allowed for grant in grants)


async def test_forty_at_once_on_two_servers_get_ten(servers):
    answers = await asyncio.gather(*(one.answers(20, limit=10, window=60) for one in servers))

    assert allowed([grant for some in answers for grant in some]) == 10


async def test_those_who_ask_at_once_share_a_round_trip(servers):
    first = servers[0]

    await asyncio.gather(*(first.answers(1, f"k{n}", limit=10, window=60) for n in range(100)))

    assert first.round_trips <= 3


async def test_a_refusal_is_remembered_until_it_ends(servers):
    first = servers[0]
    await first.answers(11, limit=10, window=60)
    trips = first.round_trips

    refused = first.ask(limit=10, window=60)

    assert isinstance(refused, Grant)
    assert not refused.allowed
    assert 5 < refused.retry_after <= 6
    assert first.round_trips == trips


async def test_a_large_limit_answers_at_once_and_asks_once_for_a_share(servers):
    first = servers[0]

    cold = first.ask(**LARGE)

    assert isinstance(cold, Grant)
    assert cold.allowed
    assert cold.remaining == 5999
    await until(lambda: first.round_trips == 1)
    for expected in range(5998, 5990, -1):
        grant = first.ask(**LARGE)
        assert isinstance(grant, Grant)
        assert (grant.allowed, grant.remaining) == (True, expected)
    assert first.round_trips == 1


async def test_a_burst_beyond_the_share_waits_and_is_not_refused(servers):
    answers = await servers[0].answers(300, **LARGE)

    assert allowed(answers) == 300
    assert servers[0].round_trips < 30


async def test_a_large_limit_is_kept_over_servers_within_one_share_of_each(servers):
    limit = {"limit": 600, "window": 60.0}  # ten a second: a share is one

    answers = await asyncio.gather(*(one.answers(500, **limit) for one in servers))

    count = allowed([grant for some in answers for grant in some])
    assert 600 - 2 <= count <= 600 + 2 + 20  # 20: what comes back in two seconds of Redis' clock


async def test_tokens_that_nobody_uses_go_back(servers):
    first = servers[0]
    first.ask(**LARGE)
    await until(lambda: first.round_trips == 1)

    first.clock.advance(1.5)

    await until(lambda: first.round_trips == 2)
    assert not first.hub._rates._leased


async def test_another_server_sees_what_was_used(servers):
    first, second = servers
    await first.answers(2, limit=5, window=60)

    answers = await second.answers(1, limit=5, window=60)

    assert answers[0].remaining == 2


async def test_without_redis_a_server_goes_on_from_what_it_knows(own_redis, connect):
    redis = own_redis()
    one = await serve(connect, redis.url)
    await one.answers(4, limit=10, window=60)
    redis.kill()
    await until(lambda: not one.hub.is_current)

    answers = [one.ask(limit=10, window=60) for _ in range(10)]

    assert all(isinstance(grant, Grant) for grant in answers)
    assert allowed(answers) == 6


async def test_what_was_granted_meanwhile_counts_when_redis_is_back_without_its_memory(
    own_redis, connect
):
    redis = own_redis()
    first, second = await serve(connect, redis.url), await serve(connect, redis.url)
    await first.answers(4, limit=10, window=60)
    redis.kill()
    await until(lambda: not first.hub.is_current and not second.hub.is_current)
    assert allowed([first.ask(limit=10, window=60) for _ in range(3)]) == 3

    redis.start()
    await until(lambda: first.hub.is_current and second.hub.is_current)
    await until(lambda: not first.hub._rates._due)
    first_answers = await first.answers(10, limit=10, window=60)
    second_answers = await second.answers(10, limit=10, window=60)

    assert allowed(first_answers) == 3
    assert allowed(second_answers) == 0


async def test_a_limit_forgets_with_time_while_redis_is_away(own_redis, connect):
    redis = own_redis()
    one = await serve(connect, redis.url)
    redis.kill()
    await until(lambda: not one.hub.is_current)
    assert allowed([one.ask(limit=10, window=60) for _ in range(12)]) == 10

    one.clock.advance(30.0)

    assert allowed([one.ask(limit=10, window=60) for _ in range(12)]) == 5


async def test_a_request_waits_no_longer_than_its_patience(own_redis, connect):
    redis = own_redis()
    clock = ManualClock()
    hub = await connect(redis.url, clock=clock, rate_timeout=0.05)
    redis.freeze()

    grant = await granted(hub.take("k", limit=5, window=60, at=clock.monotonic()))

    redis.thaw()
    assert grant.allowed
    assert grant.remaining == 4


async def test_one_who_left_gets_no_token(servers):
    first = servers[0]
    gone = asyncio.ensure_future(granted(first.ask(limit=3, window=60)))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)

    assert allowed(await first.answers(5, limit=3, window=60)) == 3


async def test_a_changed_limit_holds_at_once(servers):
    first = servers[0]
    await first.answers(3, limit=3, window=60)

    # What was used is a share of the limit's time, however large the limit is: all of it.
    assert allowed(await first.answers(10, limit=6, window=60)) == 0
    assert allowed(await first.answers(10, limit=6, window=120)) == 3


async def test_names_are_bounded(servers, monkeypatch):
    monkeypatch.setattr("penstock.hub.redis.rates.MAX_NAMES", 10)
    first = servers[0]

    for number in range(50):
        await first.answers(1, f"k{number}", limit=10, window=60)

    assert len(first.hub._rates._shares) <= 11
