"""How far a batch is, and how long it will take."""

from __future__ import annotations

from penstock.batch.progress import Meter, Progress
from penstock.clock import ManualClock


def test_the_rate_is_that_of_the_last_seconds():
    clock = ManualClock()
    meter = Meter(clock, total=1000)
    for _ in range(10):
        clock.advance(10.0)
        meter.add()
    for _ in range(60):
        clock.advance(0.5)
        meter.add()

    assert meter.rate == 2.0
    assert meter.progress.eta_seconds == (1000 - 70) / 2


def test_nobody_knows_the_time_before_anything_is_done():
    progress = Meter(ManualClock(), total=10).progress

    assert (progress.percent, progress.eta_seconds) == (0.0, None)


def test_an_interrupted_batch_counts_on_and_its_rate_begins_anew():
    clock = ManualClock()
    meter = Meter(clock, total=100, done=50, failed=2, cached=3)
    clock.advance(1.0)

    meter.add(cached=True)

    assert meter.progress == Progress(51, 100, 2, 4, 1.0, 49.0)


def test_a_hundred_percent_means_everything():
    assert Progress(9999, 10_000).percent == 99.9
    assert Progress(10_000, 10_000).percent == 100.0
    assert Progress().percent == 0.0
