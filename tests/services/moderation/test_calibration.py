from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.services.moderation.calibration import (
    LEAST_ROWS,
    MOST_POINTS,
    Numbers,
    calibrate,
    isotonic,
    rank_correlation,
)

SEED = np.random.default_rng(20261122)


def mapping(ours: Numbers) -> Numbers:
    """What the made data knows and the fit does not."""
    return 0.05 + 0.9 * ours**0.6


def made(rows: int, *, noise: float = 0.05) -> tuple[Numbers, Numbers]:
    """Scores as texts have them, most of them low, and what another judge says of them."""
    random = np.random.default_rng(rows)
    ours = random.beta(0.4, 1.5, rows)
    return ours, np.clip(mapping(ours) + random.normal(0.0, noise, rows), 0.0, 1.0)


def test_a_known_mapping_is_recovered() -> None:
    curve = calibrate(*made(2_000))

    places = np.linspace(0.02, 0.95, 60)
    errors = [abs(curve.apply(place) - mapping(np.array(place))) for place in places]
    assert max(errors) < 0.04


def test_the_fit_tells_its_error_on_rows_it_has_not_seen() -> None:
    noise = 0.05

    fit = calibrate(*made(2_000, noise=noise)).fit

    # The mean of a normal's absolute value: nobody can do better on these data.
    assert fit.mean_error == pytest.approx(noise * np.sqrt(2 / np.pi), rel=0.1)
    assert fit.mean_error_before > 2 * fit.mean_error
    assert fit.rank_correlation > 0.95
    assert [each.threshold for each in fit.agreement] == [0.5, 0.7, 0.8, 0.9]
    assert all(each.agree > 0.95 for each in fit.agreement)
    assert all(abs(each.ours_above - each.theirs_above) < 0.02 for each in fit.agreement)


def test_a_threshold_keeps_its_meaning() -> None:
    ours, theirs = made(2_000)
    curve = calibrate(ours, theirs)

    mapped = np.array([curve.apply(score) for score in ours])

    assert (mapped >= 0.7).mean() == pytest.approx((theirs >= 0.7).mean(), abs=0.02)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=LEAST_ROWS, max_size=120))
def test_a_curve_never_falls_and_stays_a_probability(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    if np.ptp(ours) < 1e-9 or np.ptp(theirs) < 1e-9:
        return

    curve = calibrate(ours, theirs)

    values = [curve.apply(place) for place in np.linspace(0, 1, 101)]
    assert values == sorted(values)
    assert 0.0 <= values[0] <= values[-1] <= 1.0
    assert len(curve.ours) == len(curve.theirs) <= MOST_POINTS


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40))
def test_pools_are_the_least_squares_answer(values: list[float]) -> None:
    """Against the definition: the highest over starts of the lowest mean over ends (min-max)."""
    means, starts = isotonic(np.array(values), np.ones(len(values)))

    fitted = np.repeat(means, np.diff([*starts, len(values)]))
    for at in range(len(values)):
        best = max(
            min(np.mean(values[first : last + 1]) for last in range(at, len(values)))
            for first in range(at + 1)
        )
        assert fitted[at] == pytest.approx(best, abs=1e-9)


def test_weights_count() -> None:
    means, _ = isotonic(np.array([1.0, 0.0]), np.array([3.0, 1.0]))

    assert means.tolist() == [0.75]


def test_too_few_rows_are_refused() -> None:
    ours, theirs = made(LEAST_ROWS - 1)

    with pytest.raises(InvalidInput, match="49 usable rows"):
        calibrate(ours, theirs)


def test_scores_that_are_all_the_same_are_refused() -> None:
    ours, theirs = made(200)

    with pytest.raises(InvalidInput, match="the logged scores are all"):
        calibrate(ours, np.full_like(theirs, 0.4))
    with pytest.raises(InvalidInput, match="our scores are all"):
        calibrate(np.full_like(ours, 0.4), theirs)


def test_scores_that_have_nothing_to_do_with_ours_show_in_the_fit() -> None:
    ours, _ = made(500)

    fit = calibrate(ours, SEED.random(500)).fit

    assert abs(fit.rank_correlation) < 0.15
    assert fit.mean_error > 0.2


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3], [10, 20, 30], 1.0),
        ([1, 2, 3], [9, 8, 1], -1.0),
        ([1, 1, 1], [1, 2, 3], 0.0),
        ([1, 2, 2, 3], [1, 3, 2, 4], 0.9487),
    ],
)
def test_ranks_are_compared(first: list[float], second: list[float], expected: float) -> None:
    found = rank_correlation(np.array(first, float), np.array(second, float))

    assert found == pytest.approx(expected, abs=1e-4)
