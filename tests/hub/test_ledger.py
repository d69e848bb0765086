from __future__ import annotations

import threading

import pytest

from penstock.hub.redis.ledger import SHIFT, Ledger, Place, Told
from penstock.net.redis import connect_sync
from tests.hub.clock_model import BOUNDS, Servers, Trouble, bound, try_out

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


def test_the_first_of_two_bumps_that_comes_back_does_not_confirm_the_second():
    ledger = joined()
    ledger.bump("a")
    (first,) = ledger.parcel(10)
    ledger.bump("a")

    ledger.apply([Told(6, "b", 2000, "me", first.number, "a")])

    assert ledger.generation("a") > ledger.heard()


def test_a_log_on_another_server_process_is_not_the_same_log():
    ledger = joined()

    assert ledger.is_continued_by(PLACE, "run")
    assert not ledger.is_continued_by(PLACE, "another run")
    assert not ledger.is_continued_by(PLACE._replace(oldest=8, position=9), "run")
    assert not ledger.is_continued_by(PLACE._replace(epoch="another"), "run")


@pytest.fixture
def servers(redis):
    """Three servers that heard all there was, and Redis' data from before the last bump."""
    client = connect_sync(redis.url, timeout=5)
    servers = Trouble(client)
    for place in (0, 1, 2):
        servers.join(place)
    servers.compute(0, "a")
    servers.redis_saves()
    servers.bump(0, "a")
    servers.send(0, lost=False)
    yield servers
    client.close()


def test_data_that_went_back_is_not_trusted_if_nobody_vouches_for_it(servers):
    servers.hear(0, 10)
    servers.redis_restarts(old=True)
    servers.process_dies(1)

    servers.join(1)

    node = servers.nodes[1]
    assert not node.is_valid(servers.shared[0])


def test_who_heard_more_than_the_data_knows_objects(servers):
    servers.hear(0, 10)
    servers.redis_restarts(old=True)
    servers.join(1)  # heard nothing of the bump, and says that all is there
    assert servers.nodes[1].is_valid(servers.shared[0])
    servers.settle(1)
    servers.bump(1, "b")  # so that the clock is ahead of all that was lost
    servers.settle(1)

    servers.join(0)

    servers.hear(1, 10)
    assert not servers.nodes[1].connected  # it was told of another life
    servers.join(1)
    assert not servers.nodes[1].is_valid(servers.shared[0])
    servers.nobody_uses_what_it_heard_to_be_invalid()


def test_who_told_something_that_the_data_lacks_objects(servers):
    """A message ticks no clock; that it was told and heard by nobody is enough."""
    for place in (0, 1, 2):
        servers.hear(place, 10)
    servers.compute(1, "a")
    servers.redis_saves()
    servers.publish(0)
    servers.send(0, lost=False)
    servers.redis_restarts(old=True)
    servers.join(1)
    assert servers.nodes[1].is_valid(servers.shared[1])
    servers.publish(1)
    servers.send(1, lost=False)  # the log is as long as it was

    servers.join(0)

    servers.hear(1, 10)
    servers.join(1)
    assert not any(servers.nodes[place].is_valid(servers.shared[1]) for place in (0, 1))


def test_data_that_is_whole_is_trusted_when_somebody_says_so(servers):
    for place in (0, 1, 2):
        servers.hear(place, 10)
    servers.compute(1, "a")
    servers.redis_restarts(old=False)

    for place in (0, 1, 2):
        servers.join(place)

    assert all(node.is_valid(servers.shared[1]) for node in servers.nodes)
    assert not any(node.is_valid(servers.shared[0]) for node in servers.nodes)


def test_generations_that_were_evicted_count_as_lost_data(servers):
    servers.redis_evicts_the_generations()
    servers.process_dies(1)

    servers.join(1)

    assert not servers.nodes[1].is_valid(servers.shared[0])


def test_what_arrives_twice_is_told_once(servers):
    for _ in range(3):
        servers.publish(0)
        servers.send(0, lost=True)
        servers.nodes[0].connected = True

    servers.listen(1)
    position = servers.nodes[1].read
    servers.hear(1, 100)

    told = servers.nodes[1].ledger.since(position)[1]
    bodies = [message.body for message in told if message.topic == "t"]
    assert bodies == [body for _, body in servers.published]


def test_so_many_unheard_bumps_that_numbers_run_out_invalidate_everything(redis, monkeypatch):
    bound(monkeypatch, 1, 2000)
    client = connect_sync(redis.url, timeout=5)
    servers = Servers(client)
    for place in (0, 1, 2):
        servers.join(place)
        servers.hear(place, 10)
    node = servers.nodes[1]
    for _ in range(20):
        node.ledger.bump("b")
    assert node.ledger.is_overrun
    servers.compute(1, "a")

    servers.bump(0, "a")
    servers.settle(0)
    servers.hear(1, 10)
    assert not node.connected
    servers.settle(1)

    assert not node.ledger.is_overrun
    assert not node.is_valid(servers.shared[-1])
    servers.settle(0)
    servers.nobody_uses_what_it_heard_to_be_invalid()
    client.close()
