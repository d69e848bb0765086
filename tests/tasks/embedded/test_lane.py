"""The order of one queue in memory, against a sorted list."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.observe.metrics import Metrics
from penstock.tasks.embedded.candidate import Candidate
from penstock.tasks.embedded.lane import AGEING_AFTER, AGEING_SHARE, Lane
from penstock.tasks.meters import Meters
from tests.tasks.embedded.embedded_jobs import declare


async def nothing() -> None: ...


TASK = declare(nothing)
METERS = Meters(Metrics(), queue="default", task="nothing")


def candidate(lane: Lane, priority: int, number: int, *, run_at: int = 0) -> Candidate:
    return Candidate(
        number=number,
        job_id="",
        task=TASK,
        arguments=b"",
        attempt=0,
        done=lambda run, outcome: None,
        lane=lane,
        meters=METERS,
        priority=priority,
        max_attempts=1,
        run_at=run_at,
    )


def read(lane: Lane, disk: dict[int, int], limit: int) -> None:
    """What `Backlog.read` does, on a disk that is a mapping of numbers to priorities."""
    lane.begin_read()
    places = sorted((priority, number) for number, priority in disk.items())[:limit]
    lane.end_read(
        [candidate(lane, *place) for place in places],
        up_to=places[-1] if len(places) == limit else None,
    )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 9)),
        st.tuples(st.just("elsewhere"), st.integers(0, 9)),
        st.tuples(st.just("move"), st.integers(0, 9)),
        st.tuples(st.just("discard"), st.integers(0, 9)),
        st.tuples(st.just("clear"), st.just(0)),
        st.tuples(st.just("pop"), st.just(0)),
    ),
    max_size=120,
)


@settings(deadline=None, max_examples=200)
@given(STEPS, st.integers(1, 6))
def test_jobs_leave_in_order_of_priority_then_age_whatever_lies_on_disk(steps, bound):
    lane = Lane("default", limit=1, bound=bound)
    disk: dict[int, int] = {}
    number = 0
    for step, value in steps:
        if step in ("push", "elsewhere"):
            number += 1
            disk[number] = value
            if step == "push":
                lane.push(candidate(lane, value, number))
            else:
                lane.look()
        elif step == "clear":
            lane.clear()
        elif step == "pop":
            if lane.should_read:
                read(lane, disk, 3)
            taken = lane.pop(0)
            expected = min(((priority, n) for n, priority in disk.items()), default=None)
            assert (taken and taken.place) == expected
            if taken is not None:
                del disk[taken.number]
        elif disk:
            chosen = sorted(disk)[value % len(disk)]
            if step == "discard":
                del disk[chosen]
                lane.discard(chosen)
            else:
                disk[chosen] = value
                held = lane.discard(chosen)
                if held is None:
                    lane.look()
                else:
                    held.priority = value
                    lane.push(held)
        assert len(lane.waiting) <= 2 * bound + 3


def test_what_is_left_on_disk_while_it_is_read_is_read_next_time():
    lane = Lane("default", limit=1, bound=2)
    disk = dict.fromkeys(range(1, 6), 5)
    read(lane, disk, 2)
    lane.begin_read()
    found = [candidate(lane, 5, number) for number in range(1, 6)]

    lane.push(candidate(lane, 5, 9))
    lane.end_read(found, up_to=None)

    assert lane.horizon == (5, 9)


def test_one_start_in_sixteen_goes_to_the_job_that_waits_longest():
    lane = Lane("default", limit=1)
    lane.begin_read()
    lane.end_read([], up_to=None)
    now = 10 * AGEING_AFTER
    old = [candidate(lane, 9, number, run_at=0) for number in range(1, 4)]
    for each in old:
        lane.push(each)
    lane.elders.extend(old)
    for number in range(100, 200):
        lane.push(candidate(lane, 0, number, run_at=now))

    taken = [lane.pop(now) for _ in range(2 * AGEING_SHARE)]

    assert [index for index, each in enumerate(taken) if each in old] == [15, 31]
    assert [each.number for each in taken if each in old] == [1, 2]


def test_a_job_that_waits_only_a_little_does_not_overtake():
    lane = Lane("default", limit=1)
    lane.begin_read()
    lane.end_read([], up_to=None)
    young: Any = candidate(lane, 9, 1, run_at=0)
    lane.push(young)
    lane.elders.append(young)
    for number in range(100, 130):
        lane.push(candidate(lane, 0, number))

    taken = [lane.pop(AGEING_AFTER - 1) for _ in range(31)]

    assert taken[-1] is young
