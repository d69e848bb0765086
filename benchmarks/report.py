"""How every benchmark states its result: rows for reading, ratios for judging.

A module has `run(rounds) -> Report`. Ratios are taken within a round, from sides that took turns,
because machines are shared and noisy: only what was measured in one run is compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, TypedDict


class Ratio(TypedDict):
    """Median and spread of a ratio, and the bound it is held against."""

    median: float
    min: float
    max: float
    target: str
    ok: bool


class Report(TypedDict):
    """One claim and what was measured for it."""

    claim: str
    rows: list[dict[str, Any]]
    ratios: dict[str, Ratio]


def ratio(
    ours: Sequence[float],
    theirs: Sequence[float] | None = None,
    *,
    most: float | None = None,
    least: float | None = None,
) -> Ratio:
    """Compare round by round; without `theirs` the figures themselves are held to the bound."""
    pairs = zip(ours, theirs, strict=True) if theirs is not None else ((x, 1.0) for x in ours)
    values = [a / b for a, b in pairs]
    median = statistics.median(values)
    ok = (most is None or median <= most) and (least is None or median >= least)
    target = f"<= {most:g}" if most is not None else f">= {least:g}" if least is not None else ""
    return {
        "median": round(median, 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "target": target,
        "ok": ok,
    }


def row(name: str, values: Sequence[float], unit: str) -> dict[str, Any]:
    """One line of a table: median and spread over the rounds."""
    return {
        "name": name,
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
        "unit": unit,
    }
