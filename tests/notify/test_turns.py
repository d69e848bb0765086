from __future__ import annotations

import asyncio

import pytest

from penstock.clock import ManualClock
from penstock.notify.turns import LONGEST_TICKET, SHORTEST_REST, Later, Resting, Turns


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def turns(clock: ManualClock) -> Turns:
    return Turns(clock)


async def test_two_are_called_at_once_and_a_third_waits_for_a_place(turns: Turns) -> None:
    first, _ = await turns.take("a"), await turns.take("a")
    third = asyncio.ensure_future(turns.take("a"))
    await asyncio.sleep(0)
    assert not third.done()

    turns.give("a", first, answered=True)

    assert await third == first


async def test_others_do_not_wait(turns: Turns) -> None:
    for name in ("a", "a", "b", "b"):
        await turns.take(name)


async def test_places_of_slow_calls_are_not_waited_for(turns: Turns, clock: ManualClock) -> None:
    await turns.take("a")
    await turns.take("a")
    clock.advance(4.0)

    tickets = []
    for _ in range(3):
        with pytest.raises(Later) as caught:
            await turns.take("a")
        tickets.append(caught.value.seconds)

    assert tickets == [2.0, 4.0, 6.0]


async def test_a_ticket_is_never_for_much_later(turns: Turns, clock: ManualClock) -> None:
    await turns.take("a")
    await turns.take("a")
    clock.advance(14.0)

    for _ in range(100):
        with pytest.raises(Later) as caught:
            await turns.take("a")

    assert caught.value.seconds == LONGEST_TICKET


async def test_who_does_not_answer_rests_for_longer_each_time(turns: Turns) -> None:
    rests = []
    for _ in range(7):
        turns.give("a", await turns.take("a", last=True), answered=False)
        rests.append(turns._receivers["a"].rests_until)

    assert rests == [15, 30, 60, 120, 240, 300, 300]
    with pytest.raises(Resting):
        await turns.take("a")


async def test_one_call_finds_out_whether_it_answers_again(
    turns: Turns, clock: ManualClock
) -> None:
    turns.give("a", await turns.take("a"), answered=False)
    clock.advance(SHORTEST_REST)

    probe = await turns.take("a")
    with pytest.raises(Resting):
        await turns.take("a")
    turns.give("a", probe, answered=True)

    await turns.take("a")


async def test_the_last_attempt_is_made_even_so(turns: Turns) -> None:
    turns.give("a", await turns.take("a"), answered=False)

    await turns.take("a", last=True)


async def test_who_is_not_called_is_forgotten(turns: Turns, clock: ManualClock) -> None:
    for number in range(100):
        turns.give(str(number), await turns.take(str(number)), answered=number % 2 == 0)
    clock.advance(2 * 3600)

    turns.give("a", await turns.take("a"), answered=True)

    assert not turns._receivers


async def test_who_waits_is_not_forgotten(turns: Turns) -> None:
    first, second = await turns.take("a"), await turns.take("a")
    third = asyncio.ensure_future(turns.take("a"))
    await asyncio.sleep(0)

    turns.give("a", first, answered=True)
    turns.give("a", second, answered=True)

    turns.give("a", await third, answered=True)
