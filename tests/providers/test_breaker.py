from __future__ import annotations

import pytest

from penstock.clock import ManualClock
from penstock.providers.breaker import Breaker


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> Breaker:
    return Breaker(clock=clock, threshold=3, cooldown=10.0)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.enter() == 0
        breaker.failed()


def test_it_opens_after_the_threshold_of_failures_in_a_row(breaker: Breaker) -> None:
    fail(breaker, 3)

    assert breaker.state == "open"
    assert breaker.enter() == 10.0


def test_a_success_starts_the_count_again(breaker: Breaker) -> None:
    fail(breaker, 2)

    breaker.succeeded()

    fail(breaker, 2)
    assert breaker.state == "closed"


def test_after_the_cooldown_one_call_probes(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker, 3)

    clock.advance(10)

    assert breaker.state == "half_open"
    assert breaker.enter() == 0
    assert breaker.enter() > 0


def test_a_probe_that_succeeds_closes_it(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker, 3)
    clock.advance(10)

    breaker.enter()
    breaker.succeeded()

    assert breaker.state == "closed"


def test_a_probe_that_fails_opens_it_again(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker, 3)
    clock.advance(10)

    breaker.enter()
    breaker.failed()

    assert breaker.enter() == 10.0


def test_a_probe_that_was_cancelled_makes_room_for_another(
    breaker: Breaker, clock: ManualClock
) -> None:
    fail(breaker, 3)
    clock.advance(10)

    breaker.enter()
    breaker.left()

    assert breaker.enter() == 0


def test_late_failures_do_not_put_off_the_probe(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker, 3)
    clock.advance(9)

    breaker.failed()

    assert breaker.enter() == 1.0
