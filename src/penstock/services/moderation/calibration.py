"""Maps our scores to the scale of scores that somebody logged elsewhere, and says how well.

The map of one attribute is monotone, so it moves thresholds and never the order of two texts. It is
fitted by isotonic regression (pool adjacent violators) and runs in straight lines between the
centres of the pools, which keeps texts apart that a step function would make equal. The error is
measured on rows that the map was not fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from penstock.errors import InvalidInput

Numbers: TypeAlias = npt.NDArray[np.float64]

LEAST_ROWS: Final = 50
MOST_POINTS: Final = 64  # of a stored curve
FOLDS: Final = 5
THRESHOLDS: Final = (0.5, 0.7, 0.8, 0.9)


class Agreement(msgspec.Struct, frozen=True):
    """How often both sides of one threshold are the same."""

    threshold: float
    agree: float  # share of rows that both put on the same side, 0..1
    theirs_above: float  # share of rows that their scores put at or above it
    ours_above: float  # the same for our scores, mapped


class Fit(msgspec.Struct, frozen=True):
    """How well a curve does on rows that it was not fitted on."""

    rows: int
    mean_error: float  # mean absolute difference to their scores
    mean_error_before: float  # the same without the curve
    rank_correlation: float  # Spearman's, of our scores and theirs: no curve can better it
    agreement: tuple[Agreement, ...]


class Curve(msgspec.Struct, frozen=True):
    """A monotone map from our scores to theirs: straight lines through points, flat beyond them."""

    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    fit: Fit

    def apply(self, score: float) -> float:
        """Their score for one of ours."""
        return float(np.interp(score, self.ours, self.theirs))


def calibrate(ours: Sequence[float] | Numbers, theirs: Sequence[float] | Numbers) -> Curve:
    """Fit a curve to pairs of scores, with its error by cross-validation.

    Raises InvalidInput where there are too few pairs, or all scores of a side are the same.
    """
    x, y = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if len(x) < LEAST_ROWS:
        raise InvalidInput(f"{len(x)} usable rows; at least {LEAST_ROWS} are needed")
    for name, side in (("our", x), ("the logged", y)):
        if np.ptp(side) < 1e-9:
            raise InvalidInput(f"{name} scores are all {side[0]:g}: nothing can be learnt of them")
    points = _points(x, y)
    return Curve(tuple(points[0].tolist()), tuple(points[1].tolist()), _measure(x, y))


def isotonic(values: Numbers, weights: Numbers) -> tuple[Numbers, npt.NDArray[np.int64]]:
    """Pools of neighbours whose weighted means rise: their means, and where each begins.

    The least squares answer under the constraint that it never falls, by pooling adjacent
    violators; one pass, each value pooled once.
    """
    means: list[float] = []
    sizes: list[float] = []
    starts: list[int] = []
    for at, (value, weight) in enumerate(zip(values.tolist(), weights.tolist(), strict=True)):
        start = at
        while means and means[-1] >= value:
            size = sizes.pop()
            value = (means.pop() * size + value * weight) / (size + weight)
            weight += size
            start = starts.pop()
        means.append(value)
        sizes.append(weight)
        starts.append(start)
    return np.array(means), np.array(starts)


def rank_correlation(first: Numbers, second: Numbers) -> float:
    """Spearman's rank correlation; equal scores share their mean rank. 0 where one side is flat."""
    ranks = _ranks(first), _ranks(second)
    if np.ptp(ranks[0]) == 0 or np.ptp(ranks[1]) == 0:
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def _points(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """The centres of the pools, thinned out to MOST_POINTS."""
    places, group, counts = np.unique(x, return_inverse=True, return_counts=True)
    weights = counts.astype(np.float64)
    means = np.bincount(group, weights=y) / weights
    levels, starts = isotonic(means, weights)
    totals = np.add.reduceat(weights, starts)
    centres = np.add.reduceat(places * weights, starts) / totals
    if len(centres) > MOST_POINTS:
        kept = np.unique(np.linspace(0, len(centres) - 1, MOST_POINTS).round().astype(int))
        centres, levels = centres[kept], levels[kept]
    return centres.round(6), np.clip(levels, 0.0, 1.0).round(6)


def _measure(x: Numbers, y: Numbers) -> Fit:
    """Cross-validation in folds that are the same for the same rows."""
    folds = np.random.default_rng(0).permutation(len(x)) % FOLDS
    mapped = np.empty(len(x))
    for fold in range(FOLDS):
        held = folds == fold
        mapped[held] = np.interp(x[held], *_points(x[~held], y[~held]))
    return Fit(
        rows=len(x),
        mean_error=_round(np.abs(mapped - y).mean()),
        mean_error_before=_round(np.abs(x - y).mean()),
        rank_correlation=_round(rank_correlation(x, y)),
        agreement=tuple(_agreement(mapped, y, threshold) for threshold in THRESHOLDS),
    )


def _agreement(mapped: Numbers, y: Numbers, threshold: float) -> Agreement:
    ours, theirs = mapped >= threshold, y >= threshold
    return Agreement(
        threshold,
        agree=_round((ours == theirs).mean()),
        theirs_above=_round(theirs.mean()),
        ours_above=_round(ours.mean()),
    )


def _ranks(values: Numbers) -> Numbers:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Numbers = (counts.cumsum() - (counts - 1) / 2)[group]
    return ranks


def _round(value: float | np.floating) -> float:
    return round(float(value), 4)
