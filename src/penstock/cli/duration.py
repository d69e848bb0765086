"""Lengths of time as people type them: 90s, 15m, 12h, 30d, 4w."""

from __future__ import annotations

import re

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def in_seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """The callback of an option; None stays None. Raises BadParameter.

    >>> in_seconds(None, None, "15m")
    900.0
    """
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", value.strip().lower())
    if not found or float(found[1]) <= 0:
        raise click.BadParameter(f"{value!r} is no length of time; write 90s, 15m, 12h, 30d or 4w")
    return float(found[1]) * _UNITS[found[2]]
