from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.hub import LocalHub
from penstock.hub.local import GENERATIONS, RING


@pytest.fixture(params=["private", "shared"])
def hub(request: pytest.FixtureRequest, tmp_path: Path):
    hub = LocalHub(tmp_path if request.param == "shared" else None)
    yield hub
    hub.close()


@pytest.fixture
def pair(tmp_path: Path):
    first, second = LocalHub(tmp_path), LocalHub(tmp_path)
    yield first, second
    first.close()
    second.close()


def test_a_message_reaches_every_process_of_the_folder(pair):
    first, second = pair
    start = second.heads[0]

    first.publish("cache", b"drop a")

    assert second.heads[0] != start
    assert second.since(start)[1] == [("cache", b"drop a")]


def test_messages_come_in_order_and_only_once(hub):
    start = hub.heads[0]
    for number in range(10):
        hub.publish("t", str(number).encode())

    position, messages = hub.since(start)

    assert [m.body for m in messages] == [str(n).encode() for n in range(10)]
    assert hub.since(position) == (position, [])


def test_a_reader_that_slept_through_the_ring_is_told_to_forget(hub):
    start = hub.heads[0]
    for _ in range(RING // 8000 + 1):
        hub.publish("t", b"x" * 8000)

    assert hub.since(start) is None


@given(st.lists(st.binary(max_size=3000), max_size=300))
def test_what_is_published_is_read_back_whole_across_the_end_of_the_ring(bodies):
    hub = LocalHub()
    position = hub.heads[0]
    for body in bodies:
        hub.publish("t", body)
        position, messages = hub.since(position)
        assert messages == [("t", body)]
    hub.close()


def test_a_body_beyond_the_bound_is_refused(hub):
    with pytest.raises(ValueError, match="at most 8192 bytes"):
        hub.publish("t", b"x" * 9000)


def test_a_bump_is_after_everything_that_started_before_it(pair):
    first, second = pair
    started = second.sequence()

    first.bump("user:1")

    assert second.generation("user:1") > started
    assert second.generation("user:1") <= second.sequence()
    assert second.generation("user:2") <= started


def test_generations_survive_a_restart(tmp_path: Path):
    hub = LocalHub(tmp_path)
    bumped = hub.bump("ns:answers")
    hub.close()

    again = LocalHub(tmp_path)

    assert again.generation("ns:answers") == bumped
    again.close()


def test_a_lost_file_invalidates_what_was_cached_before(tmp_path: Path):
    hub = LocalHub(tmp_path / "a")
    entry_sequence = hub.bump("x")
    hub.close()

    fresh = LocalHub(tmp_path / "b")

    assert fresh.generation("x") > entry_sequence
    fresh.close()


def test_forgotten_names_count_as_bumped_when_they_were_forgotten(hub):
    first = hub.bump("tag:0")
    for number in range(1, GENERATIONS):
        hub.bump(f"tag:{number}")

    assert hub.generation("tag:0") >= first
    assert hub.generation(f"tag:{GENERATIONS - 1}") == hub.sequence()


def test_a_limit_is_exact_within_a_window(hub):
    grants = [hub.take("key", limit=5, window=60, at=100.0) for _ in range(7)]

    assert [g.allowed for g in grants] == [True] * 5 + [False] * 2
    assert [g.remaining for g in grants[:5]] == [4, 3, 2, 1, 0]
    assert grants[5].retry_after == pytest.approx(12)


def test_tokens_come_back_one_by_one(hub):
    for _ in range(5):
        hub.take("key", limit=5, window=60, at=100.0)

    assert not hub.take("key", limit=5, window=60, at=111.9).allowed
    assert hub.take("key", limit=5, window=60, at=112.1).allowed
    assert hub.take("key", limit=5, window=60, at=400.0).remaining == 4


def test_a_limit_is_shared_by_the_processes_of_the_folder(pair):
    first, second = pair
    allowed = [hub.take("k", limit=10, window=60, at=5.0).allowed for hub in (first, second) * 10]

    assert allowed.count(True) == 10


def test_two_names_do_not_share_a_limit(hub):
    hub.take("a", limit=1, window=60, at=5.0)

    assert hub.take("b", limit=1, window=60, at=5.0).allowed


def test_a_bucket_from_before_a_reboot_does_not_block(hub):
    for _ in range(3):
        hub.take("k", limit=3, window=60, at=9_000_000.0)

    assert hub.take("k", limit=3, window=60, at=10.0).allowed


def test_real_processes_share_bumps_and_messages(tmp_path: Path):
    hub = LocalHub(tmp_path)
    start, before = hub.heads[0], hub.sequence()
    code = (
        "import sys; from pathlib import Path; from penstock.hub import LocalHub\n"
        "hub = LocalHub(Path(sys.argv[1]))\n"
        "for n in range(200): hub.bump('n'); hub.publish('t', b'%d' % n)\n"
    )

    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]

    assert hub.sequence() - before == 600
    bodies = [m.body for m in hub.since(start)[1] if m.topic == "t"]
    assert sorted(bodies) == sorted(b"%d" % n for n in range(200) for _ in range(3))
    hub.close()
