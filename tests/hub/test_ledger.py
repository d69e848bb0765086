from __future__ import annotations

import threading

import pytest

from penstock.hub.redis.ledger import SHIFT, Ledger, Place, Told
from tests.hub.clock_model import BOUNDS, bound, try_out

BASE = 10**8
PLACE = Place(epoch="e", clock=1000, floor=1000, position=5, oldest=1, sent=0)


@pytest.mark.parametrize(("shift", "pending"), BOUNDS, ids=["roomy", "few-names", "few-numbers"])
def test_what_was_made_invalid_is_used_by_nobody_who_heard_of_it(
    redis, monkeypatch, shift: int, pending: int
):
    """The long form is in tests/drills."""
    bound(monkeypatch, shift, pending)

    try_out(redis.url, examples=10, steps=25)


def joined() -> Ledger:
    ledger = Ledger("me", base=BASE)
    ledger.join(PLACE, "run", [("old", 900)])
    return ledger


def test_before_the_first_connection_nothing_from_before_is_valid():
    ledger = Ledger("me", base=BASE)

    assert ledger.generation("any") == ledger.sequence() == ledger.heard() == BASE


def test_whoever_joins_knows_what_was_bumped_before():
    ledger = joined()

    assert ledger.generation("old") == 1000 << SHIFT  # the floor is above it
    assert ledger.sequence() == 1000 << SHIFT


def test_bumps_between_a_restart_of_redis_and_the_next_bump_never_take_the_clock_back():
    """Found by the model: what was handed out for the second bump of a name came again."""
    ledger = joined()
    for name in ("a", "b", "a"):
        ledger.bump(name)
    before = ledger.sequence()

    ledger.join(PLACE, "another run", [])

    assert ledger.sequence() >= before
    assert ledger.bump("c") > before


def test_the_same_name_waits_only_once():
    ledger = joined()
    for _ in range(1000):
        ledger.bump("a")

    assert ledger.waiting == 1


def test_what_is_on_its_way_is_told_again_when_it_is_bumped_again():
    ledger = joined()
    ledger.bump("a")
    ledger.parcel(10)
    ledger.bump("a")
    ledger.bump("a")

    assert [item.name for item in ledger.parcel(10)] == ["a", "a"]


def test_a_hole_in_the_log_is_noticed():
    ledger = joined()

    assert ledger.apply([Told(6, "m", 1000, "you", 1, "t", b"x")])
    assert not ledger.apply([Told(8, "m", 1000, "you", 3, "t", b"x")])


def test_a_reader_in_another_thread_never_sees_a_clock_ahead_of_the_generations():
    """As the cache reads: what it found valid at a moment must not have been bumped before it."""
    ledger = joined()
    wrong: list[tuple[int, int]] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            moment = ledger.sequence()
            generation = ledger.generation("a")
            if generation < moment:  # only "a" is ever bumped, each time to the present
                wrong.append((generation, moment))

    thread = threading.Thread(target=read)
    thread.start()
    for clock in range(1001, 4000):
        ledger.apply([Told(clock - 995, "b", clock, "you", clock, "a")])
    ended.set()
    thread.join()
    assert not wrong


def test_too_many_names_become_one_bump_of_everything_that_stays_above_what_is_heard(monkeypatch):
    monkeypatch.setattr("penstock.hub.redis.ledger.MAX_PENDING", 2)
    ledger = joined()
    for name in ("a", "b", "c", "d"):
        ledger.bump(name)

    ledger.apply([Told(6, "b", 2000, "you", 1, "theirs")])

    for name in ("a", "b", "c", "d", "never bumped"):
        assert ledger.generation(name) > ledger.heard()
    told = ledger.parcel(10)
    assert [item.kind for item in told] == ["f", "b"]
    ledger.apply(
        [
            Told(position, item.kind, 2000 + position, "me", item.number, item.name)
            for position, item in enumerate(told, start=7)
        ]
    )
    assert ledger.sequence() == ledger.heard() >= ledger.generation("never bumped")


def test_a_bump_stays_above_what_is_heard_until_it_comes_back():
    ledger = joined()
    ledger.bump("mine")
    (item,) = ledger.parcel(10)
    for position in range(6, 9):
        ledger.apply([Told(position, "b", 1000 + position, "you", position, "theirs")])
        assert ledger.generation("mine") > ledger.heard()

    ledger.apply([Told(9, "b", 2000, "me", item.number, "mine")])

    assert ledger.generation("mine") == ledger.heard() == ledger.sequence() == 2000 << SHIFT


def test_what_was_told_and_did_not_survive_is_told_again():
    ledger = joined()
    ledger.bump("a")
    ledger.publish("t", b"gone with the data")
    ledger.delivered(ledger.parcel(10)[-1].number)
    assert ledger.waiting == 0

    lost = PLACE._replace(epoch="another", clock=5000, floor=5000)
    ledger.join(lost, "another run", [])

    assert [(item.kind, item.name) for item in ledger.parcel(10)] == [("b", "a")]
