"""What every hub promises, over each of them."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from penstock.hub import Hub
from tests.hub.conftest import granted, until

Pair = tuple[Hub, Hub]


async def test_a_message_reaches_the_other_and_its_publisher_at_once(pair: Pair):
    first, second = pair
    here, there = first.heads[0], second.heads[0]

    first.publish("cache", b"drop \xff a")

    assert first.since(here)[1] == [("cache", b"drop \xff a")]
    await until(lambda: second.heads[0] != there)
    assert second.since(there)[1] == [("cache", b"drop \xff a")]


async def test_messages_come_in_order_and_only_once(pair: Pair):
    first, second = pair
    start = second.heads[0]
    for number in range(300):
        first.publish("t", b"%d" % number)

    await until(lambda: second.heads[0] >= start + 300 and len(second.since(start)[1]) == 300)

    position, messages = second.since(start)
    assert [message.body for message in messages] == [b"%d" % n for n in range(300)]
    assert second.since(position) == (position, [])


async def test_a_position_of_the_future_is_answered_with_forget(pair: Pair):
    assert pair[0].since(pair[0].heads[0] + 10**6) is None


async def test_a_body_beyond_the_bound_is_refused(pair: Pair):
    with pytest.raises(ValueError, match="at most 8192 bytes"):
        pair[0].publish("t", b"x" * 9000)


async def test_a_bump_counts_at_once_where_it_was_made(pair: Pair):
    hub = pair[0]
    began = hub.sequence()
    head = hub.heads[0]

    bumped = hub.bump("user:1")

    assert hub.generation("user:1") == bumped > began
    assert hub.generation("user:2") <= began
    assert hub.sequence() >= bumped
    assert hub.heads[0] != head


async def test_what_began_before_a_bump_is_older_than_it_on_the_other_server_too(pair: Pair):
    first, second = pair
    began = second.sequence()

    first.bump("user:1")

    await until(lambda: second.generation("user:1") > began)
    assert second.generation("user:2") <= began
    assert second.sequence() >= second.generation("user:1")


async def test_what_begins_after_a_bump_is_valid_everywhere(pair: Pair):
    first, second = pair
    first.bump("tag")
    await until(lambda: first.heard() == first.sequence() == second.sequence())

    began = second.sequence()

    assert first.generation("tag") <= began
    assert began <= first.heard()


async def test_names_may_hold_anything(pair: Pair):
    first, second = pair
    name = "t/\ud800 \0 ü" + "x" * 1000
    began = second.sequence()

    first.bump(name)

    await until(lambda: second.generation(name) > began)


async def test_any_thread_may_tell(pair: Pair):
    first, second = pair
    start, began = second.heads[0], second.sequence()

    def tell() -> None:
        for number in range(50):
            first.publish("t", b"%d" % number)
            first.bump("n")

    threads = [threading.Thread(target=tell) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)

    await until(lambda: len([m for m in second.since(start)[1] if m.topic == "t"]) == 200)
    await until(lambda: second.generation("n") > began)


async def test_a_small_limit_is_exact_over_all(pair: Pair):
    at = time.monotonic()
    asked = [pair[n % 2].take("key", limit=10, window=60, at=at) for n in range(40)]

    grants = [await granted(one) for one in asked]

    assert sum(grant.allowed for grant in grants) == 10
    assert sorted(grant.remaining for grant in grants if grant.allowed)[0] == 0
    for grant in grants:
        if not grant.allowed:
            assert grant.remaining == 0
            assert 5 < grant.retry_after <= 6
            assert 59 < grant.reset_after <= 60


async def test_the_numbers_of_a_limit_count_down(pair: Pair):
    at = time.monotonic()

    grants = [await granted(pair[0].take("key", limit=5, window=60, at=at)) for _ in range(6)]

    assert [grant.allowed for grant in grants] == [True] * 5 + [False]
    assert [grant.remaining for grant in grants] == [4, 3, 2, 1, 0, 0]
    assert [round(grant.reset_after) for grant in grants] == [12, 24, 36, 48, 60, 60]


async def test_two_names_do_not_share_a_limit(pair: Pair):
    at = time.monotonic()
    await granted(pair[0].take("a", limit=1, window=60, at=at))

    assert (await granted(pair[0].take("b", limit=1, window=60, at=at))).allowed


async def test_who_cannot_wait_is_answered_too(pair: Pair):
    at = time.monotonic()

    grants = [pair[0].take_at_once("k", limit=3, window=60, at=at) for _ in range(5)]

    assert [grant.allowed for grant in grants] == [True] * 3 + [False] * 2


async def test_a_slot_is_free_again_when_it_was_given_back(pair: Pair):
    hub = pair[0]
    first = await hub.slot("p", limit=2, seconds=30)
    second = await hub.slot("p", limit=2, seconds=30)
    assert first
    assert second
    assert await hub.slot("p", limit=2, seconds=30) is None
    waiting = asyncio.ensure_future(hub.slot("p", limit=2, seconds=30, wait=10))
    await asyncio.sleep(0)

    assert await first.release()

    third = await waiting
    assert third is not None
    assert not await first.release()
    assert await second.extend(30)


async def test_who_waits_for_a_slot_in_vain_hears_it_in_time(pair: Pair):
    assert await pair[0].slot("p", limit=1, seconds=30)

    assert await pair[0].slot("p", limit=1, seconds=30, wait=0.05) is None


async def test_counters_add_up(pair: Pair):
    hub = pair[0]
    await hub.add({"usage": {"calls": 1, "tokens": 20}, "other": {"calls": 5}})
    await hub.add({"usage": {"calls": 2}})

    assert await hub.read("usage") == {"calls": 3, "tokens": 20}
    assert await hub.read("other") == {"calls": 5}
    assert await hub.read("none") == {}


async def test_a_lease_can_be_given_back_once(pair: Pair):
    lease = await pair[0].acquire("flight", seconds=30)
    assert lease
    assert await lease.extend(30)

    assert await lease.release()

    assert not await lease.release()
    assert await pair[1].wait_released("flight", seconds=5)


async def test_many_leases_are_asked_for_at_once(pair: Pair):
    leases = await pair[0].acquire_many(["a", "b"], seconds=30)

    assert [lease and lease.name for lease in leases.values()] == ["a", "b"]
    assert await leases["a"].release()


async def test_what_is_settled_others_can_hear(pair: Pair):
    first, second = pair
    start = second.heads[0]
    for number in range(250):
        first.publish("t", b"%d" % number)

    await first.settled()

    await until(lambda: len(second.since(start)[1]) == 250)


async def test_a_hub_says_how_it_is(pair: Pair):
    status = await pair[0].status()

    assert status.connected
    assert status.detail == ""
    assert status.memory_bytes > 0
    assert pair[0].is_current


async def test_closing_twice_is_fine(pair: Pair):
    await pair[0].aclose()
    await pair[0].aclose()
    pair[0].close()
